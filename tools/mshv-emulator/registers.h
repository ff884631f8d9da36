/// A VP's registers by the hypervisor's names, on a KVM vCPU that does not run.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "accel/mshv/mshv_hypercalls.h"
#include "accel/mshv/mshv_messages.h"
#include "tools/mshv-emulator/kvm.h"

namespace halcyon::emulator {

class Partition;
class Vp;

mshv::Segment to_segment(const kvm_segment& segment);
kvm_segment to_kvm_segment(const mshv::Segment& segment);
mshv::Table to_table(const kvm_dtable& table);
kvm_dtable to_kvm_table(const mshv::Table& table);

/// The general-purpose register of that number in instructions (0 RAX, 1 RCX, ... 15 R15).
__u64& gpr(kvm_regs& regs, unsigned number);

/// One list hypercall's worth of registers: what KVM has in one structure is read and written once.
/// Used inside Vp::with_kvm, on one thread.
class RegisterAccess {
public:
    RegisterAccess(Partition& partition, Vp& vp, KvmVcpu& vcpu)
        : partition_(partition), vp_(vp), vcpu_(vcpu) {}

    /// kInvalidParameter for a register that there is not, kInvalidRegisterValue for a value that
    /// it cannot have.
    mshv::HvStatus get(mshv::RegisterName name, mshv::RegisterValue& value);
    mshv::HvStatus set(mshv::RegisterName name, const mshv::RegisterValue& value);
    /// Gives KVM what was set. kInvalidRegisterValue where KVM refuses, except control registers
    /// and segments, which wait for the others.
    mshv::HvStatus commit();

private:
    kvm_regs* regs();
    kvm_sregs* sregs();
    kvm_vcpu_events* events();
    kvm_debugregs* debugregs();
    std::vector<uint8_t>* xsave();

    // One for each group of names: nothing when the name is none of its.
    using Status = std::optional<mshv::HvStatus>;
    Status get_basic(uint32_t name, mshv::RegisterValue& value);
    Status set_basic(uint32_t name, const mshv::RegisterValue& value);
    Status get_system(uint32_t name, mshv::RegisterValue& value);
    Status set_system(uint32_t name, const mshv::RegisterValue& value);
    Status set_control(uint32_t name, uint64_t value);
    Status get_fpu(uint32_t name, mshv::RegisterValue& value);
    Status set_fpu(uint32_t name, const mshv::RegisterValue& value);
    Status get_debug(uint32_t name, mshv::RegisterValue& value);
    Status set_debug(uint32_t name, const mshv::RegisterValue& value);
    Status get_pending(uint32_t name, mshv::RegisterValue& value);
    Status set_pending(uint32_t name, const mshv::RegisterValue& value);
    Status get_run_control(uint32_t name, mshv::RegisterValue& value);
    Status set_run_control(uint32_t name, const mshv::RegisterValue& value);
    Status get_model_specific(uint32_t name, mshv::RegisterValue& value);
    Status set_model_specific(uint32_t name, const mshv::RegisterValue& value);
    Status get_synthetic(uint32_t name, mshv::RegisterValue& value);
    Status set_synthetic(uint32_t name, const mshv::RegisterValue& value);
    mshv::HvStatus set_pending_interruption(uint64_t value);
    mshv::HvStatus set_pending_event(const mshv::RegisterValue& value);
    mshv::HvStatus get_activity(uint64_t& value);
    mshv::HvStatus set_activity(uint64_t value);
    mshv::HvStatus set_apic_id(uint64_t value);
    [[nodiscard]] bool commit_sregs();

    Partition& partition_;
    Vp& vp_;
    KvmVcpu& vcpu_;
    std::optional<kvm_regs> regs_;
    std::optional<kvm_sregs> sregs_;
    std::optional<kvm_vcpu_events> events_;
    std::optional<kvm_debugregs> debugregs_;
    std::optional<std::vector<uint8_t>> xsave_;
    bool regs_dirty_ = false;
    bool sregs_dirty_ = false;
    bool events_dirty_ = false;
    bool debugregs_dirty_ = false;
    bool xsave_dirty_ = false;
};

/// Before RUN_VP enters the guest: gives KVM what was set that it would not take then, because
/// other registers had yet to follow. False when it is still inconsistent, which is an
/// INVALID_VP_REGISTER_VALUE message.
bool load_pending_registers(Partition& partition, uint32_t vp_index, KvmVcpu& vcpu);

/// The MSR behind a register name; nothing for those that are none.
std::optional<uint32_t> msr_of_register(uint32_t name);

/// Makes #DB and #BP exit, where the partition intercepts them, with the guest's own breakpoints.
/// After a change of what is intercepted or of debug registers. 0 or -errno.
long update_guest_debug(Partition& partition, const KvmVcpu& vcpu);

/// Makes a new vCPU what a fresh VP is: CPUID, the architectural reset state, and, with local
/// APICs, VP 0 runnable and the others waiting for a start-up IPI. Vp::create calls it, before the
/// VP is known to others. 0 or -errno.
long reset_vcpu(Partition& partition, uint32_t vp_index, KvmVcpu& vcpu);

/// GET_VP_STATE and SET_VP_STATE, with the program's argument: 0 or -errno.
long get_vp_state(Partition& partition, Vp& vp, unsigned long argument);
long set_vp_state(Partition& partition, Vp& vp, unsigned long argument);

}  // namespace halcyon::emulator
