/// The part of RegisterAccess for registers that are MSRs, KVM's and the hypervisor's own.
#include <algorithm>

#include "tools/mshv-emulator/cpuid.h"
#include "tools/mshv-emulator/lapic.h"
#include "tools/mshv-emulator/msr.h"
#include "tools/mshv-emulator/partition.h"
#include "tools/mshv-emulator/registers.h"
#include "tools/mshv-emulator/vp.h"

namespace halcyon::emulator {

namespace {

using mshv::HvStatus;
using mshv::RegisterName;
using mshv::RegisterValue;

/// `count` registers in a row are MSRs `step` apart (Intel SDM 4; TLFS 17 for the hypervisor's).
struct MsrRow {
    uint32_t name;
    uint32_t msr;
    uint32_t count = 1;
    uint32_t step = 1;
};

constexpr MsrRow kProcessorMsrs[] = {
    {0x80002, 0xc0000102},     // KERNEL_GS_BASE
    {0x80004, 0x277},          // PAT
    {0x80005, 0x174},          // SYSENTER_CS
    {0x80006, 0x176},          // SYSENTER_EIP
    {0x80007, 0x175},          // SYSENTER_ESP
    {0x80008, 0xc0000081, 4},  // STAR, LSTAR, CSTAR, SFMASK
    {0x8000d, 0xfe},           // MTRR_CAP
    {0x8000e, 0x2ff},          // MTRR_DEF_TYPE
    {0x80010, 0x200, 16, 2},   // MTRR_PHYS_BASEn
    {0x80040, 0x201, 16, 2},   // MTRR_PHYS_MASKn
    {0x80070, 0x250},          // MTRR_FIX64K_00000
    {0x80071, 0x258, 2},       // MTRR_FIX16K
    {0x80073, 0x268, 8},       // MTRR_FIX4K
    {0x8007b, 0xc0000103},     // TSC_AUX
    {0x8007c, 0xd90},          // BNDCFGS
    {0x8007d, 0x1d9},          // DEBUG_CTL
    {0x8007e, 0xe7, 2},        // MPERF, APERF
    {0x80080, 0x8c, 4},        // SGX_LAUNCH_CONTROL
    {0x80084, 0x48, 2},        // SPEC_CTRL, PRED_CMD
    {0x80086, 0xc001011f},     // VIRT_SPEC_CTRL
    {0x80088, 0x122},          // TSX_CTRL
    {0x8008b, 0xda0},          // XSS
    {0x8008c, 0x6a0},          // U_CET
    {0x8008d, 0x6a2},          // S_CET
    {0x8008f, 0x6a4, 4},       // PL0_SSP to PL3_SSP
    {0x80093, 0x6a8},          // INTERRUPT_SSP_TABLE
    {0x80095, 0x6e0},          // TSC_DEADLINE
    {0x80096, 0x3b},           // TSC_ADJUST
    {0x80098, 0xe1},           // UMWAIT_CONTROL
    {0x80099, 0x1c4, 2},       // XFD, XFD_ERR
    {0x800a0, 0x1a0},          // MISC_ENABLE
    {0x800a1, 0x3a},           // FEATURE_CONTROL
};

constexpr MsrRow kHypervisorMsrs[] = {
    {0x00210, 0x40000100, 6},   // GUEST_CRASH_P0 to P4, CTL
    {0x00240, 0x40000022, 2},   // CLOCK_FREQUENCY, INTERRUPT_CLOCK_FREQUENCY
    {0x90000, 0x40000010},      // VP_RUNTIME
    {0x90001, 0x40000001},      // HYPERCALL
    {0x90002, 0x40000000},      // GUEST_OS_ID
    {0x90003, 0x40000002},      // VP_INDEX
    {0x90004, 0x40000020},      // TIME_REF_COUNT
    {0x90013, 0x40000073},      // VP_ASSIST_PAGE
    {0x90017, 0x40000021},      // REFERENCE_TSC
    {0xa0000, 0x40000090, 16},  // SINTn
    {0xa0010, 0x40000080, 2},   // SCONTROL, SVERSION
    {0xa0012, 0x40000082, 3},   // SIEFP, SIMP, EOM
    {0xb0000, 0x400000b0, 8},   // STIMERn_CONFIG, STIMERn_COUNT
};

template <size_t Size>
std::optional<uint32_t> find_msr(const MsrRow (&rows)[Size], uint32_t name) {
    for (const MsrRow& row : rows) {
        if (name >= row.name && name - row.name < row.count) {
            return row.msr + (name - row.name) * row.step;
        }
    }
    return std::nullopt;
}

// Registers that nothing depends on.
constexpr uint32_t kPendingDebugException = 0x10007;
constexpr uint32_t kInstructionHints = 0x2;
constexpr uint32_t kRootSignalCount = 0x90014;
constexpr uint32_t kRegisterPage = 0x9001c;

bool is_stored(uint32_t name) {
    return name == kPendingDebugException || name == kInstructionHints ||
           name == kRootSignalCount || name == kRegisterPage;
}

constexpr uint32_t kMsrPredCmd = 0x49;

/// HYPERVISOR_VERSION, PRIVILEGES_AND_FEATURES_INFO and FEATURES_INFO are CPUID leaves.
std::optional<uint32_t> info_leaf(uint32_t name) {
    switch (name) {
        case 0x100:
            return 0x40000002;
        case 0x200:
            return 0x40000003;
        case 0x201:
            return 0x40000004;
        default:
            return std::nullopt;
    }
}

bool is_x2apic(KvmVcpu& vcpu) {
    kvm_sregs sregs{};
    constexpr uint64_t kX2apic = 1U << 10;
    return vcpu.ioctl(KVM_GET_SREGS, &sregs) == 0 && (sregs.apic_base & kX2apic) != 0;
}

}  // namespace

std::optional<uint32_t> msr_of_register(uint32_t name) {
    const std::optional<uint32_t> msr = find_msr(kProcessorMsrs, name);
    return msr ? msr : find_msr(kHypervisorMsrs, name);
}

RegisterAccess::Status RegisterAccess::get_model_specific(uint32_t name, RegisterValue& value) {
    if (name == static_cast<uint32_t>(RegisterName::kTsc)) {
        value.low = get_guest_tsc(partition_.properties(), vcpu_);
        return HvStatus::kSuccess;
    }
    const std::optional<uint32_t> msr = find_msr(kProcessorMsrs, name);
    if (!msr) {
        return std::nullopt;
    }
    const std::optional<uint64_t> got = vcpu_.get_msr(*msr);
    if (!got && *msr != kMsrPredCmd) {  // which cannot be read
        return HvStatus::kInvalidParameter;
    }
    value.low = got.value_or(0);
    return HvStatus::kSuccess;
}

RegisterAccess::Status RegisterAccess::set_model_specific(uint32_t name,
                                                          const RegisterValue& value) {
    if (name == static_cast<uint32_t>(RegisterName::kTsc)) {
        return set_guest_tsc(partition_.properties(), vcpu_, value.low)
                   ? HvStatus::kSuccess
                   : HvStatus::kInvalidRegisterValue;
    }
    const std::optional<uint32_t> msr = find_msr(kProcessorMsrs, name);
    if (!msr) {
        return std::nullopt;
    }
    if (vcpu_.set_msr(*msr, value.low)) {
        return HvStatus::kSuccess;
    }
    const std::optional<uint64_t> present = vcpu_.get_msr(*msr);
    if (!present && *msr != kMsrPredCmd) {
        return HvStatus::kInvalidParameter;
    }
    // A register that cannot be written takes the value that it has.
    return present == value.low ? HvStatus::kSuccess : HvStatus::kInvalidRegisterValue;
}

HvStatus RegisterAccess::set_apic_id(uint64_t value) {
    // In KVM, the id in x2APIC mode is the vCPU's number for good.
    if (value == vp_.index()) {
        return HvStatus::kSuccess;
    }
    kvm_lapic_state state{};
    if (value > 0xff || is_x2apic(vcpu_) || vcpu_.ioctl(KVM_GET_LAPIC, &state) < 0) {
        return HvStatus::kInvalidRegisterValue;
    }
    mshv::LapicState lapic = to_hv_lapic(state, false);
    lapic.apic_id = static_cast<uint32_t>(value);
    update_kvm_lapic(lapic, false, state);
    return vcpu_.ioctl(KVM_SET_LAPIC, &state) < 0 ? HvStatus::kInvalidRegisterValue
                                                  : HvStatus::kSuccess;
}

RegisterAccess::Status RegisterAccess::get_synthetic(uint32_t name, RegisterValue& value) {
    const auto which = static_cast<RegisterName>(name);
    if (which == RegisterName::kInitialApicId) {
        value.low = vp_.index();
        return HvStatus::kSuccess;
    }
    if (which == RegisterName::kApicId || which == RegisterName::kApicVersion) {
        kvm_lapic_state state{};
        if (vcpu_.ioctl(KVM_GET_LAPIC, &state) < 0) {
            return HvStatus::kInvalidParameter;
        }
        const mshv::LapicState lapic = to_hv_lapic(state, is_x2apic(vcpu_));
        value.low = which == RegisterName::kApicId ? lapic.apic_id : lapic.version;
        return HvStatus::kSuccess;
    }
    if (const std::optional<uint32_t> leaf = info_leaf(name)) {
        const CpuidEntries leaves = partition_.cpuid().entries(
            vp_.index(), partition_.properties().synthetic_features(), false);
        if (const kvm_cpuid_entry2* entry = find_leaf(leaves, *leaf, 0)) {
            value = {entry->eax | static_cast<uint64_t>(entry->ebx) << 32,
                     entry->ecx | static_cast<uint64_t>(entry->edx) << 32};
        }
        return HvStatus::kSuccess;
    }
    if (is_stored(name)) {
        SyntheticState& synthetic = partition_.synthetic(vp_.index());
        const std::lock_guard lock(synthetic.mutex);
        const auto found = synthetic.stored.find(name);
        value.low = found == synthetic.stored.end() ? 0 : found->second;
        return HvStatus::kSuccess;
    }
    const std::optional<uint32_t> msr = find_msr(kHypervisorMsrs, name);
    if (msr && get_synthetic_msr(partition_, vp_.index(), *msr, value.low)) {
        return HvStatus::kSuccess;
    }
    return std::nullopt;
}

RegisterAccess::Status RegisterAccess::set_synthetic(uint32_t name, const RegisterValue& value) {
    const auto which = static_cast<RegisterName>(name);
    if (which == RegisterName::kInitialApicId || which == RegisterName::kApicId) {
        return set_apic_id(value.low);
    }
    if (is_stored(name)) {
        SyntheticState& synthetic = partition_.synthetic(vp_.index());
        const std::lock_guard lock(synthetic.mutex);
        synthetic.stored[name] = value.low;
        return HvStatus::kSuccess;
    }
    const std::optional<uint32_t> msr = find_msr(kHypervisorMsrs, name);
    if (!msr) {
        return std::nullopt;
    }
    return set_synthetic_msr(partition_, vp_.index(), vcpu_, *msr, value.low)
               ? HvStatus::kSuccess
               : HvStatus::kInvalidRegisterValue;
}

}  // namespace halcyon::emulator
