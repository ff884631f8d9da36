/// KvmVcpu: one vCPU of a KVM virtual machine.
#pragma once

#include <linux/kvm.h>

#include <atomic>
#include <memory>
#include <optional>

#include "accel/guest_io.h"
#include "accel/kvm/kvm_cpuid.h"
#include "accel/run_entry.h"
#include "accel/vcpu.h"
#include "base/mapping.h"
#include "base/unique_fd.h"

namespace halcyon {

class KvmPartition;

/// See Vcpu. KVM_RUN is entered through the entry stub alone (accel/run_entry.h), in two ways:
/// `run` enters under the stop word; `finish_access` enters with immediate_exit set, so that the
/// kernel completes the access that was just served and returns without running the guest.
class KvmVcpu final : public Vcpu {
public:
    static Result<std::unique_ptr<KvmVcpu>> create(KvmPartition& partition, VcpuIndex index,
                                                   GuestIo& io);
    ~KvmVcpu() override;

    void attach_thread() override { kick_.attach_current_thread(); }
    void detach_thread() override { kick_.detach(); }
    RunOutcome run() override;
    void set_stop() override;
    void kick() override;
    void clear_stop() override;
    [[nodiscard]] const VcpuCounters* counters() const override { return &counters_; }
    [[nodiscard]] std::optional<CpuidRegisters> cpuid(uint32_t leaf,
                                                      uint32_t subleaf) const override;
    Result<VcpuRegisters> registers() override;
    Result<void> set_registers(const VcpuRegisters& registers) override;
    Result<void> reset() override;

    /// The rest is for KvmPartition.
    [[nodiscard]] VcpuIndex index() const { return index_; }
    /// The 8259's INTR went up: gets vCPU 0 to look at it before it enters again. Any thread.
    void notice_extint();
    /// Tells the guest's watchdogs that it was stopped (KVM_KVMCLOCK_CTRL). While parked.
    Result<void> mark_clock_stopped();

private:
    KvmVcpu(KvmPartition& partition, VcpuIndex index, GuestIo& io);
    Result<void> set_up();

    /// One entry under the stop word.
    long enter() {
        counters_.entries.increment();
        counters_.guest_time.enter();
        const long result = halcyon_run_entry(fd_.get(), KVM_RUN, 0, kick_.word());
        counters_.guest_time.leave();
        return result;
    }
    std::optional<RunOutcome> finish_access();
    std::optional<RunOutcome> handle_exit();
    std::optional<RunOutcome> handle_rare_exit();
    std::optional<RunOutcome> handle_halt();
    std::optional<RunOutcome> handle_system_event();
    void serve_pio();
    void serve_mmio();
    void offer_extint();
    void set_immediate_exit(bool wanted);
    RunOutcome internal_error();
    RunOutcome fault(const std::string& what);

    Result<void> reset_system_registers();
    Result<void> reset_fpu();
    Result<void> reset_msrs();
    Result<void> reset_events();
    Result<void> reset_local_apic();

    KvmPartition& partition_;
    const VcpuIndex index_;
    GuestIo& io_;
    UniqueFd fd_;
    Mapping run_mapping_;
    /// Shared with the kernel, which writes it only inside KVM_RUN.
    kvm_run* run_ = nullptr;
    /// The 8259's INTR, for vCPU 0; null for the others.
    const std::atomic<bool>* extint_level_ = nullptr;
    /// A vector that the 8259 gave, and KVM had no room for yet.
    std::optional<uint8_t> held_vector_;
    /// A port or memory access was served and the kernel has not been entered since.
    bool access_unfinished_ = false;
    uint32_t signature_ = 0;
    KickTarget kick_;
    VcpuCounters counters_;
};

}  // namespace halcyon
