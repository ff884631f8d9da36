#include "tools/mshv-emulator/register_page.h"

#include <cstring>

#include "tools/mshv-emulator/registers.h"
#include "tools/mshv-emulator/undo.h"

namespace halcyon::emulator {

namespace {

/// HV_INTERRUPTION_TYPE, as in a pending interruption.
constexpr uint64_t kTypeExternal = 0;
constexpr uint64_t kTypeNmi = 2;
constexpr uint64_t kTypeException = 3;

uint64_t pending_interruption(const kvm_vcpu_events& events) {
    const auto pack = [](uint64_t type, uint64_t vector) {
        return uint64_t{1} | type << 1 | vector << 16;
    };
    if (events.exception.injected != 0) {
        const uint64_t code = events.exception.has_error_code != 0
                                  ? uint64_t{1} << 4 | uint64_t{events.exception.error_code} << 32
                                  : 0;
        return pack(kTypeException, events.exception.nr) | code;
    }
    if (events.interrupt.injected != 0) {
        return pack(kTypeExternal, events.interrupt.nr);
    }
    return events.nmi.injected != 0 ? pack(kTypeNmi, 2) : 0;
}

}  // namespace

void export_registers(mshv::RegisterPage& page, const kvm_sync_regs& state, const KvmVcpu& vcpu,
                      bool with_rest) {
    constexpr uint16_t kVersion = 1;
    page.version = kVersion;
    for (unsigned i = 0; i < 16; ++i) {
        page.gpr[i] = general(state.regs, i);
    }
    page.rip = state.regs.rip;
    page.rflags = state.regs.rflags;
    page.es = to_segment(state.sregs.es);
    page.cs = to_segment(state.sregs.cs);
    page.ss = to_segment(state.sregs.ss);
    page.ds = to_segment(state.sregs.ds);
    page.fs = to_segment(state.sregs.fs);
    page.gs = to_segment(state.sregs.gs);
    page.cr0 = state.sregs.cr0;
    page.cr3 = state.sregs.cr3;
    page.cr4 = state.sregs.cr4;
    page.cr8 = state.sregs.cr8;
    page.efer = state.sregs.efer;
    page.pending_interruption = pending_interruption(state.events);
    page.interrupt_state =
        (state.events.interrupt.shadow != 0 ? 1U : 0U) | (state.events.nmi.masked != 0 ? 2U : 0U);
    if (!with_rest) {
        return;
    }
    kvm_fpu fpu{};
    kvm_debugregs debug{};
    kvm_xcrs xcrs{};
    if (vcpu.ioctl(KVM_GET_FPU, &fpu) == 0) {
        std::memcpy(page.xmm, fpu.xmm, sizeof(page.xmm));
    }
    if (vcpu.ioctl(KVM_GET_DEBUGREGS, &debug) == 0) {
        page.dr7 = debug.dr7;
    }
    if (vcpu.ioctl(KVM_GET_XCRS, &xcrs) == 0 && xcrs.nr_xcrs > 0) {
        page.xfem = xcrs.xcrs[0].value;
    }
}

bool import_registers(const mshv::RegisterPage& page, uint32_t dirty, kvm_regs& regs,
                      kvm_sregs& sregs) {
    if ((dirty & mshv::kDirtyGpr) != 0) {
        for (unsigned i = 0; i < 16; ++i) {
            general(regs, i) = page.gpr[i];
        }
    }
    if ((dirty & mshv::kDirtyRip) != 0) {
        regs.rip = page.rip;
    }
    if ((dirty & mshv::kDirtyRflags) != 0) {
        regs.rflags = page.rflags;
    }
    if ((dirty & mshv::kDirtySegments) == 0) {
        return false;
    }
    sregs.es = to_kvm_segment(page.es);
    sregs.cs = to_kvm_segment(page.cs);
    sregs.ss = to_kvm_segment(page.ss);
    sregs.ds = to_kvm_segment(page.ds);
    sregs.fs = to_kvm_segment(page.fs);
    sregs.gs = to_kvm_segment(page.gs);
    return true;
}

PageVectors page_vectors(const mshv::RegisterPage& page) {
    PageVectors result;
    static_assert(sizeof(result) == sizeof(page.xmm));
    std::memcpy(result.data(), page.xmm, sizeof(page.xmm));
    return result;
}

long import_vectors(const mshv::RegisterPage& page, const PageVectors& before,
                    const KvmVcpu& vcpu) {
    kvm_fpu fpu{};
    const long result = vcpu.ioctl(KVM_GET_FPU, &fpu);
    if (result != 0) {
        return result;
    }
    const PageVectors now = page_vectors(page);
    for (size_t i = 0; i < now.size(); ++i) {
        if (now[i] != before[i]) {
            std::memcpy(fpu.xmm[i], now[i].data(), sizeof(now[i]));
        }
    }
    return vcpu.ioctl(KVM_SET_FPU, &fpu);
}

}  // namespace halcyon::emulator
