/// KvmVcpu::reset: the whole state after power-on, as far as KVM lets userspace write it.
#include <cstring>

#include "accel/kvm/kvm_ioctl.h"
#include "accel/kvm/kvm_partition.h"
#include "accel/kvm/kvm_registers.h"
#include "accel/kvm/kvm_vcpu.h"

namespace halcyon {

namespace {

// IA32_APIC_BASE (Intel SDM 3A 11.4.4).
constexpr uint64_t kApicBaseAddress = 0xfee00000;
constexpr uint64_t kApicBaseBootstrap = 1u << 8;
constexpr uint64_t kApicBaseEnable = 1u << 11;

/// A model-specific register and its value after RESET.
struct ResetMsr {
    uint32_t number;
    uint64_t value;
};

/// What a guest may have changed and firmware or a kernel expects fresh: Intel SDM 3A table 9-1 and
/// SDM 4, for the MTRRs SDM 3A 12.11.5, and KVM's own registers
/// (Documentation/virt/kvm/x86/msr.rst), all of which are zero unless said.
constexpr ResetMsr kResetMsrs[] = {
    {0x10, 0},   // IA32_TIME_STAMP_COUNTER; KVM keeps vCPUs that are reset together in step
    {0x3b, 0},   // IA32_TSC_ADJUST
    {0x48, 0},   // IA32_SPEC_CTRL
    {0x1c4, 0},  // IA32_XFD, IA32_XFD_ERR
    {0x1c5, 0},
    {0x174, 0},  // IA32_SYSENTER_CS, _ESP, _EIP
    {0x175, 0},
    {0x176, 0},
    {0x17a, 0},                      // IA32_MCG_STATUS
    {0x1d9, 0},                      // IA32_DEBUGCTL
    {0x277, 0x0007'0406'0007'0406},  // IA32_PAT
    {0x2ff, 0},                      // IA32_MTRR_DEF_TYPE: MTRRs off, uncacheable
    {0x38d, 0},                      // IA32_FIXED_CTR_CTRL
    {0x38f, 0},                      // IA32_PERF_GLOBAL_CTRL
    {0x6e0, 0},                      // IA32_TSC_DEADLINE
    {0xda0, 0},                      // IA32_XSS
    {0xc0000081, 0},                 // STAR, LSTAR, CSTAR, FMASK
    {0xc0000082, 0},
    {0xc0000083, 0},
    {0xc0000084, 0},
    {0xc0000102, 0},  // KERNEL_GS_BASE
    {0xc0000103, 0},  // TSC_AUX
    {0x11, 0},        // MSR_KVM_WALL_CLOCK, MSR_KVM_SYSTEM_TIME: their first numbers
    {0x12, 0},
    {0x4b564d00, 0},  // MSR_KVM_WALL_CLOCK_NEW
    {0x4b564d01, 0},  // MSR_KVM_SYSTEM_TIME_NEW
    {0x4b564d02, 0},  // MSR_KVM_ASYNC_PF_EN
    {0x4b564d03, 0},  // MSR_KVM_STEAL_TIME
    {0x4b564d04, 0},  // MSR_KVM_PV_EOI_EN
    {0x4b564d05, 1},  // MSR_KVM_POLL_CONTROL: the host polls
    {0x4b564d06, 0},  // MSR_KVM_ASYNC_PF_INT
};

/// The ranges of IA32_MTRR_PHYSBASEn/PHYSMASKn and the fixed MTRRs.
struct MsrRange {
    uint32_t first;
    uint32_t last;
};
constexpr MsrRange kMtrrs[] = {{0x200, 0x20f}, {0x250, 0x250}, {0x258, 0x259}, {0x268, 0x26f}};

// Local APIC registers (Intel SDM 3A table 11-1), as offsets into the APIC page.
constexpr size_t kApicId = 0x20;
constexpr size_t kApicVersion = 0x30;
constexpr size_t kApicDestinationFormat = 0xe0;
constexpr size_t kApicSpurious = 0xf0;
constexpr size_t kApicLvtFirst = 0x320;  // timer, thermal, performance, LINT0, LINT1, error
constexpr size_t kApicLvtLast = 0x370;
constexpr size_t kApicLvtLint0 = 0x350;
constexpr uint32_t kApicVersionValue = 0x50014;  // version 14h, last LVT entry 5; KVM has its own
constexpr uint32_t kLvtMasked = 0x10000;
constexpr uint32_t kLvtExtInt = 0x700;

}  // namespace

Result<void> KvmVcpu::reset() {
    access_unfinished_ = false;
    held_vector_.reset();
    run_->ready_for_interrupt_injection = 0;
    run_->request_interrupt_window = 0;
    if (partition_.config().local_apic) {
        // Reading the state makes KVM act on an INIT or start-up IPI that is still latched; the
        // reset then undoes what it did. Left latched, it would start the vCPU after the reset.
        kvm_mp_state latched{};
        TRY(kvm_ioctl(fd_.get(), KVM_GET_MP_STATE, "KVM_GET_MP_STATE", &latched));
    }
    TRY(reset_system_registers());
    TRY(reset_fpu());
    TRY(reset_msrs());
    TRY(reset_events());
    if (partition_.config().local_apic) {
        TRY(reset_local_apic());
    }
    return {};
}

Result<void> KvmVcpu::reset_system_registers() {
    VcpuRegisters state = reset_registers();
    state.gpr[kRdx] = signature_;
    kvm_sregs sregs{};
    update_kvm_sregs(state, sregs);
    if (partition_.config().local_apic) {
        sregs.apic_base = kApicBaseAddress | kApicBaseEnable;
        if (index_.value() == 0) {
            sregs.apic_base |= kApicBaseBootstrap;
        }
    }
    kvm_regs regs = to_kvm_regs(state);
    TRY(kvm_ioctl(fd_.get(), KVM_SET_SREGS, "KVM_SET_SREGS", &sregs));
    TRY(kvm_ioctl(fd_.get(), KVM_SET_REGS, "KVM_SET_REGS", &regs));

    kvm_debugregs debug{};
    debug.dr6 = 0xffff0ff0;
    debug.dr7 = 0x400;
    TRY(kvm_ioctl(fd_.get(), KVM_SET_DEBUGREGS, "KVM_SET_DEBUGREGS", &debug));
    return {};
}

Result<void> KvmVcpu::reset_fpu() {
    kvm_xcrs xcrs{};
    xcrs.nr_xcrs = 1;
    xcrs.xcrs[0].value = 1;  // XCR0: x87 alone
    TRY(kvm_ioctl(fd_.get(), KVM_SET_XCRS, "KVM_SET_XCRS", &xcrs));

    // The XSAVE area (Intel SDM 1 13.4): x87 and SSE in their legacy places, nothing else present,
    // which makes it initial.
    std::vector<uint64_t> area(partition_.xsave_size() / sizeof(uint64_t));
    auto* bytes = reinterpret_cast<std::byte*>(area.data());
    const auto put = [&](size_t offset, auto value) {
        std::memcpy(bytes + offset, &value, sizeof(value));
    };
    put(0, uint16_t{0x40});     // FCW after power-on
    put(4, uint8_t{0xff});      // abridged FTW: all registers valid (+0.0)
    put(24, uint32_t{0x1f80});  // MXCSR
    put(512, uint64_t{0x3});    // XSTATE_BV: x87, SSE
    TRY(kvm_ioctl(fd_.get(), kKvmSetXsave, "KVM_SET_XSAVE", area.data()));
    return {};
}

Result<void> KvmVcpu::reset_msrs() {
    std::vector<kvm_msr_entry> wanted;
    const auto add = [&](uint32_t number, uint64_t value) {
        kvm_msr_entry entry{};
        entry.index = number;
        entry.data = value;
        wanted.push_back(entry);
    };
    for (const ResetMsr& msr : kResetMsrs) {
        add(msr.number, msr.value);
    }
    for (const MsrRange& range : kMtrrs) {
        for (uint32_t number = range.first; number <= range.last; ++number) {
            add(number, 0);
        }
    }
    // KVM_SET_MSRS stops at the first register that this host or vCPU does not have, and says how
    // many it wrote: what does not exist needs no reset, so it goes on behind that one.
    size_t done = 0;
    while (done < wanted.size()) {
        KvmMsrArray array(wanted.size() - done);
        array.header()->nmsrs = static_cast<uint32_t>(wanted.size() - done);
        std::copy(wanted.begin() + static_cast<std::ptrdiff_t>(done), wanted.end(),
                  array.entries().begin());
        const int written = TRY(kvm_ioctl(fd_.get(), kKvmSetMsrs, "KVM_SET_MSRS", array.header()));
        done += static_cast<size_t>(written);
        if (done < wanted.size()) {
            ++done;
        }
    }
    return {};
}

Result<void> KvmVcpu::reset_events() {
    kvm_vcpu_events events{};
    TRY(kvm_ioctl(fd_.get(), KVM_GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS", &events));
    // The flags say which of the optional fields this kernel takes; all of them are cleared.
    const uint32_t flags = events.flags | KVM_VCPUEVENT_VALID_NMI_PENDING;
    events = {};
    events.flags = flags;
    TRY(kvm_ioctl(fd_.get(), KVM_SET_VCPU_EVENTS, "KVM_SET_VCPU_EVENTS", &events));
    if (!partition_.config().local_apic) {
        return {};  // KVM then knows but one state
    }
    kvm_mp_state state{};
    state.mp_state = index_.value() == 0 ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED;
    TRY(kvm_ioctl(fd_.get(), KVM_SET_MP_STATE, "KVM_SET_MP_STATE", &state));
    return {};
}

Result<void> KvmVcpu::reset_local_apic() {
    kvm_lapic_state apic{};
    const auto put = [&](size_t offset, uint32_t value) {
        std::memcpy(apic.regs + offset, &value, sizeof(value));
    };
    put(kApicId, index_.value() << 24);
    put(kApicVersion, kApicVersionValue);
    put(kApicDestinationFormat, 0xffffffff);
    put(kApicSpurious, 0xff);
    for (size_t offset = kApicLvtFirst; offset <= kApicLvtLast; offset += 0x10) {
        put(offset, kLvtMasked);
    }
    if (index_.value() == 0) {
        // Architecturally masked; but firmware for virtual machines relies on the hypervisor for
        // the virtual wire mode that a PC's firmware sets up (MP specification 3.6.2.2), and both
        // KVM and QEMU start so.
        put(kApicLvtLint0, kLvtExtInt);
    }
    TRY(kvm_ioctl(fd_.get(), KVM_SET_LAPIC, "KVM_SET_LAPIC", &apic));
    return {};
}

}  // namespace halcyon
