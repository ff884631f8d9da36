/// The local APIC's state: the hypervisor's layout, and KVM's, which is the APIC's own page.
#pragma once

#include <linux/kvm.h>

#include <cstdint>

#include "accel/mshv/mshv_hypercalls.h"
#include "tools/mshv-emulator/kvm.h"

namespace halcyon::emulator {

// Entries of the local vector table (Intel SDM 3A 11.5.1).
inline constexpr uint32_t kLvtMasked = 1U << 16;
inline constexpr uint32_t kLvtModeMask = 7U << 8;
inline constexpr uint32_t kLvtModeFixed = 0;
inline constexpr uint32_t kLvtModeNmi = 4U << 8;
inline constexpr uint32_t kLvtModeExtInt = 7U << 8;

/// `x2apic`: KVM has the id and destinations of that mode as they are, those of xAPIC mode in the
/// upper byte; the hypervisor's id is the plain number in both.
mshv::LapicState to_hv_lapic(const kvm_lapic_state& state, bool x2apic);
/// Changes what the hypervisor's layout has; the rest of `state` stays.
void update_kvm_lapic(const mshv::LapicState& lapic, bool x2apic, kvm_lapic_state& state);

/// The local APIC page of a fresh VP (Intel SDM 3A 11.4.7.1).
kvm_lapic_state reset_lapic(uint32_t apic_id);

/// LVT LINT0 or LINT1 of a vCPU; masked when it has no local APIC.
uint32_t local_interrupt_entry(const KvmVcpu& vcpu, unsigned pin);

}  // namespace halcyon::emulator
