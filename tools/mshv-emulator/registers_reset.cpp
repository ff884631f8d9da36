/// reset_vcpu: a fresh VP.
#include <cstring>

#include "tools/mshv-emulator/cpuid.h"
#include "tools/mshv-emulator/lapic.h"
#include "tools/mshv-emulator/partition.h"
#include "tools/mshv-emulator/registers.h"

namespace halcyon::emulator {

namespace {

// IA32_APIC_BASE (Intel SDM 3A 11.4.4).
constexpr uint64_t kApicBaseAddress = 0xfee00000;
constexpr uint64_t kApicBaseBootstrap = 1U << 8;
constexpr uint64_t kApicBaseEnable = 1U << 11;

constexpr uint32_t kMsrPat = 0x277;

kvm_segment segment(uint16_t selector, uint64_t base, uint8_t type, bool is_system) {
    kvm_segment result{};
    result.base = base;
    result.limit = 0xffff;
    result.selector = selector;
    result.type = type;
    result.present = 1;
    result.s = is_system ? 0 : 1;
    return result;
}

/// Intel SDM 3A table 9-1.
void set_reset_values(kvm_sregs& sregs, kvm_regs& regs) {
    constexpr uint8_t kCode = 0xb;  // execute, read, accessed
    constexpr uint8_t kData = 3;    // read, write, accessed
    constexpr uint8_t kLdt = 2;
    constexpr uint8_t kBusyTss = 0xb;
    sregs.cs = segment(0xf000, 0xffff0000, kCode, false);
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(0, 0, kData, false);
    sregs.ldt = segment(0, 0, kLdt, true);
    sregs.tr = segment(0, 0, kBusyTss, true);
    sregs.gdt.limit = sregs.idt.limit = 0xffff;
    sregs.cr0 = 0x60000010;
    regs.rip = 0xfff0;
    regs.rflags = 2;
}

long reset_local_apic(uint32_t vp_index, const KvmVcpu& vcpu) {
    kvm_lapic_state lapic = reset_lapic(vp_index);
    if (const long result = vcpu.ioctl(KVM_SET_LAPIC, &lapic); result < 0) {
        return result;
    }
    kvm_mp_state state{};
    state.mp_state = vp_index == 0 ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED;
    return vcpu.ioctl(KVM_SET_MP_STATE, &state);
}

long reset_fpu(KvmVcpu& vcpu) {
    std::vector<uint8_t> area;
    if (const long result = vcpu.get_xsave(area); result < 0) {
        return result;
    }
    // The XSAVE area (Intel SDM 1 13.4): x87 and SSE in their legacy places, the rest initial.
    std::fill(area.begin(), area.end(), uint8_t{0});
    const auto put = [&](size_t offset, auto value) {
        std::memcpy(area.data() + offset, &value, sizeof(value));
    };
    put(0, uint16_t{0x40});     // FCW
    put(4, uint8_t{0xff});      // abridged FTW: +0.0 in all
    put(24, uint32_t{0x1f80});  // MXCSR
    put(512, uint64_t{0x3});    // XSTATE_BV
    return vcpu.set_xsave(area);
}

}  // namespace

long reset_vcpu(Partition& partition, uint32_t vp_index, KvmVcpu& vcpu) {
    const uint64_t features = partition.properties().synthetic_features();
    if (const long result = partition.cpuid().apply(vp_index, features, vcpu); result < 0) {
        return result;
    }
    kvm_sregs sregs{};
    kvm_regs regs{};
    set_reset_values(sregs, regs);
    const CpuidEntries leaves = partition.cpuid().entries(vp_index, features, true);
    if (const kvm_cpuid_entry2* leaf = find_leaf(leaves, 1, 0)) {
        regs.rdx = leaf->eax;  // the processor's signature
    }
    if (partition.has_local_apics()) {
        sregs.apic_base = kApicBaseAddress | kApicBaseEnable;
        sregs.apic_base |= vp_index == 0 ? kApicBaseBootstrap : 0;
    }
    kvm_debugregs debug{};
    debug.dr6 = 0xffff0ff0;
    debug.dr7 = 0x400;
    long result = vcpu.ioctl(KVM_SET_SREGS, &sregs);
    result = result < 0 ? result : vcpu.ioctl(KVM_SET_REGS, &regs);
    result = result < 0 ? result : vcpu.ioctl(KVM_SET_DEBUGREGS, &debug);
    result = result < 0 ? result : reset_fpu(vcpu);
    if (result >= 0 && partition.has_local_apics()) {
        result = reset_local_apic(vp_index, vcpu);
    }
    vcpu.set_msr(kMsrPat, 0x0007'0406'0007'0406);
    set_guest_tsc(partition.properties(), vcpu, 0);
    if (result >= 0 && partition.intercepted_exceptions() != 0) {
        result = update_guest_debug(partition, vcpu);
    }
    return result < 0 ? result : 0;
}

}  // namespace halcyon::emulator
