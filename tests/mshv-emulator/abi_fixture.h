/// /dev/mshv by its ABI alone: for tests that run under the emulator's launcher, and would on a
/// Hyper-V root partition.
#pragma once

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include <gtest/gtest.h>

#include "accel/mshv/mshv_abi.h"
#include "accel/mshv/mshv_hypercalls.h"

namespace halcyon::mshv {

/// Skips without /dev/mshv. Owns the device and, once made, one partition.
class AbiTest : public ::testing::Test {
protected:
    void SetUp() override {
        device = open("/dev/mshv", O_RDWR | O_CLOEXEC);
        if (device < 0) {
            GTEST_SKIP() << "no /dev/mshv: " << std::strerror(errno);
        }
    }
    void TearDown() override {
        close(partition);
        close(device);
    }

    /// An ioctl's result, or -errno.
    static long call(int fd, unsigned long request, const void* argument = nullptr) {
        const int result = ioctl(fd, request, argument);
        return result < 0 ? -errno : result;
    }

    [[nodiscard]] long create_partition(uint64_t flags = kPartitionLapic) const {
        const CreatePartition argument{.flags = flags, .isolation = kIsolationNone};
        return call(device, kIoctlCreatePartition, &argument);
    }
    void make_partition() {
        partition = static_cast<int>(create_partition());
        ASSERT_GE(partition, 0) << std::strerror(-partition);
    }
    void make_initialized_partition() {
        make_partition();
        ASSERT_EQ(call(partition, kIoctlInitializePartition), 0);
    }
    [[nodiscard]] long create_vp(uint32_t index) const {
        const CreateVp argument{.vp_index = index};
        return call(partition, kIoctlCreateVp, &argument);
    }

    /// ROOT_HVCALL, retried as the old driver wants it. `request` keeps what came back.
    static long hypercall(int fd, RootHypercall& request) {
        while (true) {
            RootHypercall attempt = request;
            const long result = call(fd, kIoctlRootHypercall, &attempt);
            if (result != -EAGAIN) {
                request = attempt;
                return result;
            }
        }
    }
    template <typename Input>
    static RootHypercall hypercall_of(HypercallCode code, Input& input) {
        RootHypercall result{};
        result.code = static_cast<uint16_t>(code);
        result.input_size = sizeof(input);
        result.input_pointer = reinterpret_cast<uint64_t>(&input);
        return result;
    }

    /// Whether the driver is that of Linux 6.18 or before.
    [[nodiscard]] bool is_old() const {
        RootHypercall nothing{};
        return call(device, kIoctlRootHypercall, &nothing) == -ENOTTY;
    }

    int device = -1;
    int partition = -1;
};

/// Memory of whole pages, for arguments and for guests.
class Pages {
public:
    explicit Pages(size_t count, int protection = PROT_READ | PROT_WRITE)
        : size_(count * kHvPageSize),
          start_(mmap(nullptr, size_, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {}
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;
    ~Pages() { munmap(start_, size_); }
    [[nodiscard]] uint64_t address() const { return reinterpret_cast<uint64_t>(start_); }
    [[nodiscard]] uint8_t* bytes() const { return static_cast<uint8_t*>(start_); }

private:
    size_t size_;
    void* start_;
};

}  // namespace halcyon::mshv
