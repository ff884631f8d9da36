/// What KVM has begun and not ended: the instruction whose access the program is to make. KVM would
/// end it itself, with the data that it is given; the driver ends nothing. So it is either ended
/// before the guest runs on, and its effects undone, or, where the program did exactly what KVM
/// would do, KVM is given the program's data, which costs nothing.
#pragma once

#include <linux/kvm.h>

#include <optional>

#include "tools/mshv-emulator/kvm.h"
#include "tools/mshv-emulator/run_state.h"
#include "tools/mshv-emulator/undo.h"

namespace halcyon::emulator {

/// Used by whoever has the vCPU.
class PendingAccess {
public:
    /// KVM left for `access`, at `found`, if that is known, and has yet to end it.
    void begin(const GuestAccess& access, std::optional<FoundInstruction> found);
    /// KVM left for something else that it wants answered (an MSR).
    void begin_other();
    [[nodiscard]] explicit operator bool() const { return is_pending_; }

    /// Whether ending it, together with the registers `wanted`, comes out at just these; then it
    /// is left to the next KVM_RUN.
    bool leave_to_kvm(const kvm_regs& before, const kvm_regs& wanted, kvm_run& run);
    /// KVM_RUN is about to end it.
    void forget() { is_pending_ = is_left_ = false; }
    /// Ends it without a trace: registers and memory are afterwards as they were. What KVM put
    /// RIP to is in `rip`. 0 or -errno.
    long end(KvmVcpu& vcpu, VcpuState& state, InstructionSource& source, uint64_t* rip = nullptr);

private:
    void supply(kvm_run& run, const kvm_regs& regs, InstructionSource& source) const;
    long run_to_end(KvmVcpu& vcpu, VcpuState& state, uint64_t* rip) const;

    bool is_pending_ = false;
    bool is_left_ = false;  ///< KVM has its data already
    GuestAccess access_;
    std::optional<FoundInstruction> found_;
};

}  // namespace halcyon::emulator
