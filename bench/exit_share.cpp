/// What a backend itself adds to an exit: the time of a port or memory access through accel/'s
/// Vcpu, and how much of it is spent outside of the ioctl that runs the guest.
///
/// The entry stub is wrapped (see meson.build). For the second figure the wrapper leaves the ioctl
/// out and says that the last exit happened again: what is left is the backend's own work, without
/// the cold caches that a kernel, or an emulator in this process, leaves behind.
///
///     exit_share ACCELERATOR ROUNDS EXITS
///
/// Prints one JSON object: medians over the rounds, in nanoseconds per exit. "own" is without the
/// ioctl; a memory access has no such figure, since its instruction cannot be carried out twice.

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "accel/accelerator.h"
#include "accel/run_entry.h"
#include "base/mapping.h"
#include "bench/statistics.h"

namespace {

/// How many ioctls the wrapper still makes before it leaves them out: the first of a run is real,
/// and leaves the exit that is repeated. One thread runs a vCPU here.
constexpr int kAllReal = -1;
int real_ones_left = kAllReal;

}  // namespace

// The linker gives the reference to halcyon_run_entry this name, and the stub the other.
extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier): ld's own names (--wrap)
long __real_halcyon_run_entry(int fd, unsigned long request, unsigned long argument,
                              const uint32_t* stop_word);
long __wrap_halcyon_run_entry(int fd, unsigned long request, unsigned long argument,
                              const uint32_t* stop_word);
long __wrap_halcyon_run_entry(int fd, unsigned long request, unsigned long argument,
                              const uint32_t* stop_word) {
    if (*stop_word != 0) {
        real_ones_left = kAllReal;  // what ends a run is real
    } else if (real_ones_left == 0) {
        return 0;
    } else if (real_ones_left != kAllReal) {
        --real_ones_left;
    }
    return __real_halcyon_run_entry(fd, request, argument, stop_word);
}
// NOLINTEND(bugprone-reserved-identifier)
}

namespace halcyon::bench {
namespace {

constexpr uint64_t kGuestMemory = 64_KiB;
constexpr uint64_t kEntry = 0x1000;
/// An exit that is left out is so short that more of them are timed at once.
constexpr uint64_t kReplays = 20;
/// out 80h, al; jmp to it.
constexpr std::array<uint8_t, 4> kPortLoop = {0xE6, 0x80, 0xEB, 0xFC};
/// mov [0D0000h], eax; jmp to it. In flat 32 bit mode; nothing is at that address.
constexpr std::array<uint8_t, 7> kMemoryLoop = {0xA3, 0x00, 0x00, 0x0D, 0x00, 0xEB, 0xF9};

/// Stops the vCPU at the last access wanted.
class CountingIo final : public GuestIo {
public:
    void begin(Vcpu& vcpu, uint64_t wanted) {
        vcpu_ = &vcpu;
        left_ = wanted;
    }
    void pio_read(PioPort, std::span<std::byte>) override { count(); }
    void pio_write(PioPort, std::span<const std::byte>) override { count(); }
    void mmio_read(Gpa, std::span<std::byte>) override { count(); }
    void mmio_write(Gpa, std::span<const std::byte>) override { count(); }
    std::optional<uint8_t> acknowledge_extint() override { return std::nullopt; }
    void end_of_interrupt(uint8_t) override {}

private:
    void count() {
        if (--left_ == 0) {
            vcpu_->set_stop();
        }
    }
    Vcpu* vcpu_ = nullptr;
    uint64_t left_ = 0;
};

class LoopVm {
public:
    Result<void> set_up(const Accelerator& accelerator, std::span<const uint8_t> code) {
        memory_ = TRY(Mapping::anonymous(kGuestMemory, "guest memory"));
        std::memcpy(memory_.data() + kEntry, code.data(), code.size());
        partition_ = TRY(accelerator.create_partition(PartitionConfig{}));
        TRY(partition_->map_memory({Gpa(0), kGuestMemory}, memory_.data(),
                                   MemoryAccess::kReadWrite));
        vcpu_ = TRY(partition_->create_vcpu(VcpuIndex(0), io_));
        VcpuRegisters registers = reset_registers();
        // Flat code and data: present, S, type; D/B and G (layout of SegmentRegister).
        registers.cs = {.base = 0, .limit = 0xFFFFFFFF, .selector = 8, .attributes = 0xC09B};
        const SegmentRegister data{
            .base = 0, .limit = 0xFFFFFFFF, .selector = 16, .attributes = 0xC093};
        registers.ds = registers.es = registers.fs = registers.gs = registers.ss = data;
        registers.cr0 |= 1;
        registers.rip = kEntry;
        TRY(vcpu_->set_registers(registers));
        vcpu_->attach_thread();
        return {};
    }
    Result<void> run(uint64_t exits) {
        io_.begin(*vcpu_, exits);
        const RunOutcome outcome = vcpu_->run();
        vcpu_->clear_stop();
        if (outcome.stop != RunStop::kKicked) {
            return Error(std::string("the vCPU stopped: ") + to_string(outcome.stop) + " " +
                         outcome.detail);
        }
        return {};
    }

private:
    CountingIo io_;
    Mapping memory_;
    std::unique_ptr<Partition> partition_;
    std::unique_ptr<Vcpu> vcpu_;
};

Result<double> nanoseconds_per_exit(LoopVm& vm, uint64_t exits) {
    const Clock::time_point start = Clock::now();
    TRY(vm.run(exits));
    return microseconds_since(start) * 1000 / static_cast<double>(exits);
}

/// The median over the rounds. With `without_ioctl`, of the backend's own work.
Result<double> measure(const Accelerator& accelerator, std::span<const uint8_t> code,
                       bool without_ioctl, size_t rounds, uint64_t exits) {
    LoopVm vm;
    TRY(vm.set_up(accelerator, code));
    TRY(vm.run(exits));  // warms up
    std::vector<double> samples;
    for (size_t round = 0; round < rounds; ++round) {
        real_ones_left = without_ioctl ? 1 : kAllReal;
        samples.push_back(TRY(nanoseconds_per_exit(vm, without_ioctl ? exits * kReplays : exits)));
    }
    return percentile(samples, 0.5);
}

Result<void> run(const char* name, size_t rounds, uint64_t exits) {
    TRY(install_kick_handler());
    const Accelerator* accelerator = find_accelerator(name);
    if (accelerator == nullptr) {
        return Error(std::string("this build has no accelerator '") + name + "'");
    }
    TRY(accelerator->probe());
    const double port = TRY(measure(*accelerator, kPortLoop, false, rounds, exits));
    const double own = TRY(measure(*accelerator, kPortLoop, true, rounds, exits));
    const double memory = TRY(measure(*accelerator, kMemoryLoop, false, rounds, exits));
    std::printf(R"({"pio_ns": %.1f, "pio_own_ns": %.1f, "mmio_ns": %.1f})"
                "\n",
                port, own, memory);
    return {};
}

}  // namespace
}  // namespace halcyon::bench

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: exit_share ACCELERATOR ROUNDS EXITS\n");
        return 2;
    }
    const auto result = halcyon::bench::run(argv[1], static_cast<size_t>(std::atol(argv[2])),
                                            static_cast<uint64_t>(std::atol(argv[3])));
    if (!result) {
        std::fprintf(stderr, "exit_share: %s\n", result.error().message().c_str());
        return 1;
    }
    return 0;
}
