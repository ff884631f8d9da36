/// A vCPU's registers between two KVM_RUNs, fetched and put with as few calls as the kernel allows:
/// with KVM_CAP_SYNC_REGS none, since KVM_RUN takes them from the run structure and leaves them
/// there.
#pragma once

#include <linux/kvm.h>

#include "tools/mshv-emulator/kvm.h"

namespace halcyon::emulator {

/// Used by whoever has the vCPU (RunGate).
class VcpuState {
public:
    /// `has_sync`: KVM_CAP_SYNC_REGS with all three sets.
    VcpuState(KvmVcpu& vcpu, bool has_sync);

    /// The registers as the guest left them or as they were changed since. Fetches them from KVM
    /// when they are not known: 0, or -errno and zeros.
    long load();
    /// After `load` only.
    [[nodiscard]] const kvm_sync_regs& get() const { return *state_; }
    /// The general registers, to be changed: the next KVM_RUN has them. After `load` only.
    [[nodiscard]] kvm_regs& change_regs() {
        regs_changed_ = true;
        return state_->regs;
    }

    /// Gives KVM what was changed: before its own calls are used to look at it.
    long flush();
    /// Somebody changed KVM's registers with KVM's own calls.
    void forget() { is_known_ = false; }

    /// KVM_RUN, with the changed registers; afterwards they are known.
    long run();
    /// Lets KVM carry out what it has pending, without the guest running: KVM_RUN with
    /// immediate_exit. What it does to the registers is not seen here, but for RIP in `rip`:
    /// afterwards KVM is to be given the old ones with `change_regs`.
    long run_pending(uint64_t* rip = nullptr);

private:
    KvmVcpu& vcpu_;
    const bool has_sync_;
    kvm_sync_regs own_ = {};
    kvm_sync_regs* state_;
    bool is_known_ = false;
    bool regs_changed_ = false;
};

}  // namespace halcyon::emulator
