/// What a port exit costs: KVM_RUN in a bare loop, the same through accel/'s Vcpu, and through
/// machine/'s port bus as well; all in this process, in turns, so that the machine's moods hit all
/// alike.
///
///     exit_cost ROUNDS EXITS
///
/// Prints one JSON object: nanoseconds per exit (medians over the rounds), and the medians of the
/// rounds' ratios to the bare loop.

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "accel/accelerator.h"
#include "accel/run_entry.h"
#include "base/mapping.h"
#include "base/unique_fd.h"
#include "bench/statistics.h"
#include "machine/io_bus.h"

namespace halcyon::bench {
namespace {

constexpr uint64_t kGuestMemory = 64_KiB;
constexpr uint64_t kEntry = 0x1000;
/// out 80h, al; jmp to it. The same bytes in any mode; run in flat 32 bit mode, which no KVM
/// emulates.
constexpr std::array<uint8_t, 4> kCode = {0xE6, 0x80, 0xEB, 0xFC};
constexpr uint32_t kIoapicPins = 24;

Result<Mapping> make_memory() {
    Mapping memory = TRY(Mapping::anonymous(kGuestMemory, "guest memory"));
    std::memcpy(memory.data() + kEntry, kCode.data(), kCode.size());
    return memory;
}

/// A VM made with nothing between this file and the kernel.
class BareVm {
public:
    Result<void> set_up() {
        memory_ = TRY(make_memory());
        kvm_ = UniqueFd(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
        vm_ = UniqueFd(TRY(call(kvm_, KVM_CREATE_VM, 0UL, "KVM_CREATE_VM")));
        // The same interrupt controllers as the backend under comparison has.
        kvm_enable_cap split{};
        split.cap = KVM_CAP_SPLIT_IRQCHIP;
        split.args[0] = kIoapicPins;
        TRY(call(vm_, KVM_ENABLE_CAP, &split, "KVM_ENABLE_CAP"));
        kvm_userspace_memory_region region{};
        region.memory_size = kGuestMemory;
        region.userspace_addr = reinterpret_cast<uint64_t>(memory_.data());
        TRY(call(vm_, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION"));
        vcpu_ = UniqueFd(TRY(call(vm_, KVM_CREATE_VCPU, 0UL, "KVM_CREATE_VCPU")));
        const int size = TRY(call(kvm_, KVM_GET_VCPU_MMAP_SIZE, 0UL, "KVM_GET_VCPU_MMAP_SIZE"));
        run_mapping_ = TRY(Mapping::map_fd(vcpu_.get(), static_cast<size_t>(size), 0,
                                           PROT_READ | PROT_WRITE, "struct kvm_run"));
        run_ = reinterpret_cast<kvm_run*>(run_mapping_.data());
        return set_registers();
    }

    Result<void> run(uint64_t exits) {
        for (uint64_t i = 0; i < exits; ++i) {
            if (::ioctl(vcpu_.get(), KVM_RUN, 0) != 0) {
                return Error::from_errno("KVM_RUN");
            }
            if (run_->exit_reason != KVM_EXIT_IO) {
                return Error("exit reason " + std::to_string(run_->exit_reason));
            }
        }
        return {};
    }

private:
    template <typename Argument>
    static Result<int> call(const UniqueFd& fd, unsigned long request, Argument argument,
                            const char* name) {
        const int result = ::ioctl(fd.get(), request, argument);
        if (result < 0) {
            return Error::from_errno(name);
        }
        return result;
    }

    Result<void> set_registers() {
        kvm_sregs system{};
        TRY(call(vcpu_, KVM_GET_SREGS, &system, "KVM_GET_SREGS"));
        const auto flat = [](uint8_t type, uint16_t selector) {
            kvm_segment segment{};
            segment.limit = 0xFFFFFFFF;
            segment.selector = selector;
            segment.type = type;
            segment.present = segment.s = segment.db = segment.g = 1;
            return segment;
        };
        system.cs = flat(0xB, 8);
        system.ds = system.es = system.fs = system.gs = system.ss = flat(0x3, 16);
        system.cr0 |= 1;
        TRY(call(vcpu_, KVM_SET_SREGS, &system, "KVM_SET_SREGS"));
        kvm_regs general{};
        general.rip = kEntry;
        general.rflags = 2;
        TRY(call(vcpu_, KVM_SET_REGS, &general, "KVM_SET_REGS"));
        return {};
    }

    Mapping memory_;
    UniqueFd kvm_, vm_, vcpu_;
    Mapping run_mapping_;
    kvm_run* run_ = nullptr;
};

/// Counts port writes and stops the vCPU at the last one wanted; passes them on to a bus if there
/// is one.
class CountingIo final : public GuestIo {
public:
    explicit CountingIo(const IoBus* bus) : bus_(bus) {}
    void begin(Vcpu& vcpu, uint64_t wanted) {
        vcpu_ = &vcpu;
        left_ = wanted;
    }

    void pio_read(PioPort, std::span<std::byte> data) override {
        std::memset(data.data(), 0xFF, data.size());
    }
    void pio_write(PioPort port, std::span<const std::byte> data) override {
        if (bus_ != nullptr) {
            bus_->write(port.value(), data);
        }
        if (--left_ == 0) {
            vcpu_->set_stop();
        }
    }
    void mmio_read(Gpa, std::span<std::byte> data) override {
        std::memset(data.data(), 0xFF, data.size());
    }
    void mmio_write(Gpa, std::span<const std::byte>) override {}
    std::optional<uint8_t> acknowledge_extint() override { return std::nullopt; }
    void end_of_interrupt(uint8_t) override {}

private:
    const IoBus* bus_;
    Vcpu* vcpu_ = nullptr;
    uint64_t left_ = 0;
};

/// The same guest through the seam.
class SeamVm {
public:
    explicit SeamVm(const IoBus* bus) : io_(bus) {}

    Result<void> set_up(const Accelerator& accelerator) {
        memory_ = TRY(make_memory());
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

/// Takes the writes at port 80h.
class Sink final : public IoHandler {
public:
    [[nodiscard]] std::string_view name() const override { return "sink"; }
    void read(uint64_t, std::span<std::byte>) override {}
    void write(uint64_t, std::span<const std::byte>) override {}
};

template <typename Vm>
Result<double> nanoseconds_per_exit(Vm& vm, uint64_t exits) {
    const Clock::time_point start = Clock::now();
    TRY(vm.run(exits));
    return microseconds_since(start) * 1000 / static_cast<double>(exits);
}

Result<void> run(size_t rounds, uint64_t exits) {
    TRY(install_kick_handler());
    const Accelerator* kvm = find_accelerator("kvm");
    if (kvm == nullptr) {
        return Error("this build has no KVM backend");
    }
    TRY(kvm->probe());
    IoBus bus("port");
    Sink sink;
    TRY(bus.add(0x80, 1, sink));
    BareVm bare;
    TRY(bare.set_up());
    SeamVm seam(nullptr);
    TRY(seam.set_up(*kvm));
    SeamVm board(&bus);
    TRY(board.set_up(*kvm));

    std::vector<double> bare_times, seam_times, board_times, seam_ratios, board_ratios;
    for (size_t round = 0; round < rounds + 2; ++round) {
        const double before = TRY(nanoseconds_per_exit(bare, exits / 2));
        const double seam_time = TRY(nanoseconds_per_exit(seam, exits));
        const double board_time = TRY(nanoseconds_per_exit(board, exits));
        const double after = TRY(nanoseconds_per_exit(bare, exits / 2));
        if (round < 2) {
            continue;  // Warming up.
        }
        const double bare_time = (before + after) / 2;
        bare_times.push_back(bare_time);
        seam_times.push_back(seam_time);
        board_times.push_back(board_time);
        seam_ratios.push_back(seam_time / bare_time);
        board_ratios.push_back(board_time / bare_time);
    }
    std::printf(
        "{\"bare_ns\": %.1f, \"accel_ns\": %.1f, \"bus_ns\": %.1f, \"accel_ratio\": %.4f, "
        "\"bus_ratio\": %.4f, \"rounds\": %zu}\n",
        percentile(bare_times, 0.5), percentile(seam_times, 0.5), percentile(board_times, 0.5),
        percentile(seam_ratios, 0.5), percentile(board_ratios, 0.5), rounds);
    return {};
}

}  // namespace
}  // namespace halcyon::bench

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: exit_cost ROUNDS EXITS\n");
        return 2;
    }
    const auto result = halcyon::bench::run(static_cast<size_t>(std::atol(argv[1])),
                                            static_cast<uint64_t>(std::atol(argv[2])));
    if (!result) {
        std::fprintf(stderr, "exit_cost: %s\n", result.error().message().c_str());
        return 1;
    }
    return 0;
}
