/// Partition: one emulated partition, on one KVM virtual machine.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "tools/mshv-emulator/cpuid.h"
#include "tools/mshv-emulator/emulated_file.h"
#include "tools/mshv-emulator/guest_memory.h"
#include "tools/mshv-emulator/interrupts.h"
#include "tools/mshv-emulator/kvm.h"
#include "tools/mshv-emulator/msr.h"
#include "tools/mshv-emulator/properties.h"
#include "tools/mshv-emulator/synic.h"

namespace halcyon::emulator {

class Vp;

/// Serves a partition's descriptor. Each ioctl holds `mutex_` from begin to end, as the driver
/// does; the parts have their own locks, for they are also used by VPs' ioctls. Lives until its own
/// descriptor and those of all its VPs are gone, whichever goes last.
class Partition final : public EmulatedFile, public std::enable_shared_from_this<Partition> {
public:
    /// CREATE_PARTITION after its arguments were checked: gives the descriptor, or -errno.
    static int create(const PartitionConfig& config);
    explicit Partition(const PartitionConfig& config);
    ~Partition() override;

    long ioctl(unsigned long request, unsigned long argument, const TrapContext& context) override;
    /// The descriptor is gone: irqfds and ioeventfds are dropped at once, VPs live on.
    void released() override;

    [[nodiscard]] bool has_local_apics() const;
    [[nodiscard]] bool initialized() const { return initialized_.load(); }
    [[nodiscard]] KvmVm& kvm() { return kvm_; }
    [[nodiscard]] GuestMemory& memory() { return memory_; }
    [[nodiscard]] Interrupts& interrupts() { return interrupts_; }
    [[nodiscard]] Properties& properties() { return properties_; }
    [[nodiscard]] Cpuid& cpuid() { return cpuid_; }
    [[nodiscard]] MsrIntercepts& msr_intercepts() { return msr_intercepts_; }
    /// `index` is below mshv::kMaxVps; exists whether or not the VP does.
    [[nodiscard]] SyntheticState& synthetic(uint32_t index) { return synthetic_[index]; }
    /// Partition-wide MSRs of the hypervisor.
    struct SharedMsrs {
        std::atomic<uint64_t> guest_os_id{0};
        std::atomic<uint64_t> hypercall{0};
        std::atomic<uint64_t> reference_tsc{0};
    };
    [[nodiscard]] SharedMsrs& shared_msrs() { return shared_msrs_; }
    /// INSTALL_INTERCEPT of exceptions: bit n is vector n; #DB and #BP can be had.
    [[nodiscard]] uint32_t intercepted_exceptions() const { return exceptions_.load(); }
    void set_intercepted_exceptions(uint32_t mask) { exceptions_.store(mask); }

    /// The VP of that index, also after its descriptor was closed; null when never created.
    [[nodiscard]] std::shared_ptr<Vp> vp(uint32_t index);
    /// Makes a VP known; Vp::create calls it once the VP is complete, before the program can have
    /// its descriptor. `remove_vp` undoes it when there is to be no descriptor after all.
    void add_vp(uint32_t index, std::shared_ptr<Vp> vp);
    void remove_vp(uint32_t index);
    /// A VP's descriptor is gone; Vp::released calls it.
    void vp_released();
    /// Calls `work` for each VP.
    template <typename Work>
    void for_each_vp(Work&& work) {
        for (uint32_t index = 0; index < mshv::kMaxVps; ++index) {
            if (const std::shared_ptr<Vp> found = vp(index)) {
                work(*found);
            }
        }
    }

    /// Counts calls for the faults of FaultPlan; see due().
    struct FaultCounters {
        std::atomic<uint32_t> hypercall_eagain{0};
        std::atomic<uint32_t> partial_reps{0};
        std::atomic<uint32_t> hypercall_error{0};
        std::atomic<uint32_t> bitmap_failure{0};
    };
    [[nodiscard]] FaultCounters& fault_counters() { return fault_counters_; }

private:
    long create_vp(unsigned long argument);
    long set_guest_memory(unsigned long argument);
    long get_access_bitmap(unsigned long argument);
    void release_vps_if_unused();

    std::mutex mutex_;
    KvmVm kvm_;
    const PartitionConfig config_;
    std::atomic<bool> initialized_{false};
    GuestMemory memory_;
    Interrupts interrupts_;
    Properties properties_;
    Cpuid cpuid_;
    MsrIntercepts msr_intercepts_;
    SharedMsrs shared_msrs_;
    std::atomic<uint32_t> exceptions_{0};
    std::array<SyntheticState, mshv::kMaxVps> synthetic_;
    FaultCounters fault_counters_;

    std::mutex vps_mutex_;
    std::array<std::shared_ptr<Vp>, mshv::kMaxVps> vps_;
    size_t open_vps_ = 0;
    bool descriptor_gone_ = false;
};

/// Whether a fault that is wanted every `every`-th time (0: never) is due at this call.
inline bool due(std::atomic<uint32_t>& counter, uint32_t every) {
    return every != 0 && counter.fetch_add(1, std::memory_order_relaxed) % every == every - 1;
}

}  // namespace halcyon::emulator
