/// KvmPartition: one KVM virtual machine.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <vector>

#include "accel/kvm/kvm_cpuid.h"
#include "accel/kvm/kvm_eventfds.h"
#include "accel/partition.h"
#include "base/unique_fd.h"

namespace halcyon {

class KvmVcpu;

/// See Partition. With `local_apic`, KVM has the local APICs and userspace the IOAPIC, the 8259s
/// and the 8254 (the split irqchip of Documentation/virt/kvm/api.rst, 7.5), as on mshv; without,
/// KVM has no interrupt controller.
///
/// What does not stop while time is frozen: the TSC, and a local APIC timer that was armed, whose
/// interrupt then waits in the APIC. KVM has no way to hold them.
class KvmPartition final : public Partition {
public:
    /// Pins of the IOAPICs in userspace: their level-triggered routes make KVM report EOIs.
    static constexpr uint32_t kIoapicPins = 24;

    /// `kvm_fd`: an open /dev/kvm, needed only during the call. `config` has been checked.
    static Result<std::unique_ptr<KvmPartition>> create(int kvm_fd, const PartitionConfig& config);
    ~KvmPartition() override;

    Result<void> map_memory(GpaRange range, std::byte* host, MemoryAccess access) override;
    Result<void> unmap_memory(GpaRange range) override;
    Result<std::unique_ptr<Vcpu>> create_vcpu(VcpuIndex index, GuestIo& io) override;
    Result<void> signal_msi(const MsiMessage& message) override;
    Result<void> set_msi_routes(std::span<const MsiRoute> routes) override;
    void set_extint(bool level) override;
    Result<void> set_time_frozen(bool frozen) override;
    [[nodiscard]] EventfdWiring* eventfds() override { return &eventfds_; }

    /// The rest is for KvmVcpu.
    [[nodiscard]] int fd() const { return vm_.get(); }
    [[nodiscard]] const PartitionConfig& config() const { return config_; }
    [[nodiscard]] CpuidEntries cpuid_of(VcpuIndex index) const;
    /// Bytes of a vCPU's struct kvm_run and what follows it.
    [[nodiscard]] size_t run_size() const { return run_size_; }
    /// Bytes of KVM_SET_XSAVE's argument.
    [[nodiscard]] size_t xsave_size() const { return xsave_size_; }
    /// The level of the 8259's INTR output.
    [[nodiscard]] const std::atomic<bool>& extint_level() const { return extint_level_; }
    /// Called by the vCPU's destructor.
    void forget_vcpu(KvmVcpu& vcpu);

private:
    struct Slot {
        uint32_t number;
        GpaRange range;
    };

    KvmPartition(UniqueFd vm, const PartitionConfig& config);
    Result<void> set_up(int kvm_fd);
    [[nodiscard]] uint32_t free_slot_number_locked() const;

    UniqueFd vm_;
    const PartitionConfig config_;
    KvmEventfds eventfds_;
    size_t run_size_ = 0;
    size_t xsave_size_ = 0;
    size_t slot_limit_ = 0;
    bool tsc_deadline_ = false;
    bool kvmclock_control_ = false;
    CpuidEntries supported_cpuid_;
    std::atomic<bool> extint_level_{false};
    /// The guest's kvmclock while time is frozen, in ns. Main thread.
    std::optional<uint64_t> frozen_clock_;

    /// Guards slots_, and orders the changes of the VM's memory.
    std::mutex slots_mutex_;
    std::vector<Slot> slots_;
    /// Guards vcpus_. Never held with slots_mutex_.
    std::mutex vcpus_mutex_;
    std::vector<KvmVcpu*> vcpus_;
};

}  // namespace halcyon
