/// A partition through /dev/mshv by bare ioctls, errors and statuses exposed: for tests that run
/// under the emulator's launcher, and would on a Hyper-V root partition.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include <gtest/gtest.h>

#include "accel/mshv/mshv_abi.h"
#include "accel/mshv/mshv_hypercalls.h"

namespace halcyon::mshv {

/// An anonymous mapping of whole pages.
class Pages {
public:
    explicit Pages(size_t count);
    ~Pages();
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;
    [[nodiscard]] uint8_t* data() const { return data_; }
    [[nodiscard]] uint64_t address() const { return reinterpret_cast<uint64_t>(data_); }

private:
    size_t size_;
    uint8_t* data_;
};

/// What a hypercall came to.
struct CallResult {
    int error;  ///< 0 or errno
    HvStatus status;
    uint16_t done;
    friend bool operator==(const CallResult&, const CallResult&) = default;
};
std::ostream& operator<<(std::ostream& stream, const CallResult& result);

/// Skips without /dev/mshv. The partition is initialized and has local APICs, but nothing else.
class AbiStatusTest : public testing::Test {
protected:
    void SetUp() override;
    void TearDown() override;

    /// A partition, not initialized; replaces SetUp's.
    void make_partition(uint64_t flags);
    /// ioctl(2): 0 or errno.
    int call(int fd, unsigned long request, const void* argument) const;
    /// Gives the descriptor; errors by `error`.
    int create_vp(uint32_t index, int* error = nullptr);
    int map(uint64_t first_page, const Pages& memory, size_t pages, uint8_t flags);
    int unmap(uint64_t first_page, const Pages& memory, size_t pages);

    CallResult hypercall(int fd, HypercallCode code, const void* input, size_t input_size,
                         uint16_t repetitions = 0, void* output = nullptr, size_t output_size = 0);
    CallResult set_property(PartitionProperty property, uint64_t value);
    CallResult get_property(int fd, PartitionProperty property, uint64_t& value);
    CallResult set_registers(const std::vector<RegisterAssociation>& list, uint32_t vp = 0);
    CallResult get_registers(const std::vector<RegisterName>& names,
                             std::vector<RegisterValue>& values, uint32_t vp = 0);
    CallResult set(RegisterName name, uint64_t low, uint64_t high = 0);
    RegisterValue get(RegisterName name);

    int device = -1;
    int partition = -1;
    std::vector<int> vps;
};

inline constexpr CallResult kDone{0, HvStatus::kSuccess, 0};

}  // namespace halcyon::mshv
