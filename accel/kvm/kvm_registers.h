/// Registers between the seam's form and KVM's.
#pragma once

#include <linux/kvm.h>

#include "accel/vcpu.h"

namespace halcyon {

[[nodiscard]] VcpuRegisters from_kvm(const kvm_regs& regs, const kvm_sregs& sregs);

[[nodiscard]] kvm_regs to_kvm_regs(const VcpuRegisters& registers);

/// Replaces what `registers` has in `sregs`, and leaves the rest (CR8, APIC base, pending
/// interrupt).
void update_kvm_sregs(const VcpuRegisters& registers, kvm_sregs& sregs);

}  // namespace halcyon
