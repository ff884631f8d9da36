#include "tools/mshv-emulator/run_state.h"

#include <cerrno>

namespace halcyon::emulator {

namespace {
constexpr uint64_t kAllSets = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS;
}

VcpuState::VcpuState(KvmVcpu& vcpu, bool has_sync)
    : vcpu_(vcpu), has_sync_(has_sync), state_(has_sync ? &vcpu.run().s.regs : &own_) {}

long VcpuState::load() {
    if (is_known_) {
        return 0;
    }
    *state_ = {};
    long result = vcpu_.ioctl(KVM_GET_REGS, &state_->regs);
    if (result == 0) {
        result = vcpu_.ioctl(KVM_GET_SREGS, &state_->sregs);
    }
    if (result == 0) {
        result = vcpu_.ioctl(KVM_GET_VCPU_EVENTS, &state_->events);
    }
    is_known_ = result == 0;
    return result;
}

long VcpuState::flush() {
    if (!regs_changed_) {
        return 0;
    }
    regs_changed_ = false;
    return vcpu_.ioctl(KVM_SET_REGS, &state_->regs);
}

long VcpuState::run() {
    if (!has_sync_) {
        const long flushed = flush();
        is_known_ = false;
        return flushed < 0 ? flushed : vcpu_.enter();
    }
    kvm_run& shared = vcpu_.run();
    const kvm_regs changed = state_->regs;
    shared.kvm_valid_regs = kAllSets;
    shared.kvm_dirty_regs = regs_changed_ ? KVM_SYNC_X86_REGS : 0;
    const long result = vcpu_.enter();
    // A vCPU that waits for its start-up IPI comes back before KVM looks at them.
    if (regs_changed_ && (shared.kvm_dirty_regs & KVM_SYNC_X86_REGS) != 0) {
        state_->regs = changed;
    } else {
        regs_changed_ = false;
    }
    shared.kvm_dirty_regs = 0;
    is_known_ = result == 0 || result == -EINTR || result == -EAGAIN;
    return result;
}

long VcpuState::run_pending(uint64_t* rip) {
    kvm_run& shared = vcpu_.run();
    const kvm_regs before = state_->regs;
    shared.kvm_valid_regs = has_sync_ && rip != nullptr ? KVM_SYNC_X86_REGS : 0;
    shared.kvm_dirty_regs = 0;
    shared.immediate_exit = 1;
    const long result = vcpu_.enter();
    shared.immediate_exit = 0;
    if (rip != nullptr) {
        if (!has_sync_) {
            vcpu_.ioctl(KVM_GET_REGS, &state_->regs);
        }
        *rip = state_->regs.rip;
        state_->regs = before;
    }
    return result;
}

}  // namespace halcyon::emulator
