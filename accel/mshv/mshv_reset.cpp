/// MshvVcpu::reset: the whole state after power-on, as far as the hypervisor lets userspace write
/// it. A partition as a whole cannot be reset.
#include <atomic>
#include <cstring>

#include "accel/mshv/mshv_partition.h"
#include "accel/mshv/mshv_vcpu.h"

namespace halcyon {

using namespace mshv;

namespace {

// IA32_APIC_BASE (Intel SDM 3A 11.4.4).
constexpr uint64_t kApicBaseAddress = 0xfee00000;
constexpr uint64_t kApicBaseBootstrap = 1U << 8;
constexpr uint64_t kApicBaseEnable = 1U << 11;

// Local APIC (Intel SDM 3A 11.4.7.1, 11.5.1).
constexpr uint32_t kLapicSpuriousReset = 0xff;
constexpr uint32_t kLapicFlatModel = 0xffffffff;
constexpr uint32_t kLvtMasked = 0x10000;
constexpr uint32_t kLvtExtInt = 0x700;
constexpr uint32_t kLvtNmi = 0x400;

/// MTRRs on, write-back where none says otherwise (Intel SDM 3A 12.11.2.1). After a processor's own
/// reset they are off, and all memory is uncacheable; hypervisors may mean that literally, which
/// would make a firmware's start slow until it has set them up. All VMMs on mshv begin so.
constexpr uint64_t kMtrrWriteBack = 0x806;
constexpr unsigned kMtrrFixedRanges = 11;
/// IA32_MTRRCAP bits 0-7: how many variable ranges.
constexpr uint64_t kMtrrCapCount = 0xff;
constexpr unsigned kMtrrMostVariableRanges = 16;

constexpr uint64_t kPatReset = 0x0007'0406'0007'0406;
constexpr uint64_t kDr6Reset = 0xffff0ff0;
constexpr uint64_t kDr7Reset = 0x400;

constexpr RegisterAssociation zero(RegisterName name) {
    return assign(name, 0);
}

/// What every hypervisor has: Intel SDM 3A table 9-1.
constexpr RegisterAssociation kNeeded[] = {
    zero(RegisterName::kPendingInterruption),
    zero(RegisterName::kInterruptState),
    zero(RegisterName::kPendingEvent0),
    zero(RegisterName::kPendingEvent1),
    zero(RegisterName::kDeliverabilityNotifications),
    zero(RegisterName::kIntermediateCr8),
    assign(RegisterName::kXfem, 1),  // XCR0: x87 alone
    zero(RegisterName::kDr0),
    zero(nth(RegisterName::kDr0, 1)),
    zero(nth(RegisterName::kDr0, 2)),
    zero(nth(RegisterName::kDr0, 3)),
    assign(RegisterName::kDr6, kDr6Reset),
    assign(RegisterName::kDr7, kDr7Reset),
    assign(RegisterName::kPat, kPatReset),
    zero(RegisterName::kSysenterCs),
    zero(RegisterName::kSysenterEip),
    zero(RegisterName::kSysenterEsp),
    zero(RegisterName::kStar),
    zero(RegisterName::kLstar),
    zero(RegisterName::kCstar),
    zero(RegisterName::kSfmask),
    zero(RegisterName::kKernelGsBase),
};

/// What depends on the processor, the hypervisor's version, and what the guest is offered.
constexpr RegisterAssociation kOptional[] = {
    zero(RegisterName::kPendingDebugException),
    zero(RegisterName::kTscAux),
    zero(RegisterName::kDebugCtl),
    zero(RegisterName::kSpecCtrl),
    zero(RegisterName::kTsxCtrl),
    zero(RegisterName::kXss),
    zero(RegisterName::kXfd),
    zero(RegisterName::kXfdErr),
    zero(RegisterName::kUCet),
    zero(RegisterName::kSCet),
    zero(RegisterName::kSsp),
    zero(RegisterName::kPl0Ssp),
    zero(nth(RegisterName::kPl0Ssp, 1)),
    zero(nth(RegisterName::kPl0Ssp, 2)),
    zero(nth(RegisterName::kPl0Ssp, 3)),
    zero(RegisterName::kInterruptSspTable),
    zero(RegisterName::kTscDeadline),
    zero(RegisterName::kTscAdjust),
    zero(RegisterName::kUmwaitControl),
    zero(RegisterName::kVpAssistPage),
};

/// Of the partition, written through its first VP, in this order: the hypercall page lives on the
/// guest's identity.
constexpr RegisterAssociation kPartitionWide[] = {
    zero(RegisterName::kReferenceTsc),
    zero(RegisterName::kHypercall),
    zero(RegisterName::kGuestOsId),
};

/// A local APIC after power-on, on top of what the hypervisor made: identity, version and what no
/// manual names stay.
void reset_lapic(LapicState& lapic, bool first) {
    const uint32_t id = lapic.apic_id;
    const uint32_t version = lapic.version;
    lapic = {};
    lapic.apic_id = id;
    lapic.version = version;
    lapic.destination_format = kLapicFlatModel;
    lapic.spurious_vector = kLapicSpuriousReset;
    for (uint32_t* const entry :
         {&lapic.lvt_timer, &lapic.lvt_thermal, &lapic.lvt_performance, &lapic.lvt_lint0,
          &lapic.lvt_lint1, &lapic.lvt_error, &lapic.lvt_cmci}) {
        *entry = kLvtMasked;
    }
    // Architecturally masked; but firmware for virtual machines relies on the hypervisor for the
    // virtual wire mode that a PC's firmware sets up (MP specification 3.6.2.2).
    if (first) {
        lapic.lvt_lint0 = kLvtExtInt;
    }
    lapic.lvt_lint1 = kLvtNmi;
}

}  // namespace

Result<void> MshvVcpu::save_reset_states() {
    // The XSAVE area's format and initial contents are the hypervisor's and the processor's affair:
    // what a new VP has is what a reset one gets.
    reset_xsave_ = TRY(Mapping::anonymous(partition_.xsave_size(), "the XSAVE state"));
    TRY(get_state(VpStateType::kXsave, reset_xsave_, "MSHV_GET_VP_STATE (XSAVE)"));
    if (partition_.config().local_apic) {
        reset_lapic_ = TRY(Mapping::anonymous(kHvPageSize, "the local APIC's state"));
        TRY(get_state(VpStateType::kLapic, reset_lapic_, "MSHV_GET_VP_STATE (local APIC)"));
        LapicState lapic;
        std::memcpy(&lapic, reset_lapic_.data(), sizeof(lapic));
        reset_lapic(lapic, index_.value() == 0);
        std::memcpy(reset_lapic_.data(), &lapic, sizeof(lapic));
    }
    return {};
}

Result<void> MshvVcpu::reset() {
    window_asked_ = false;
    halts_in_a_row_ = 0;
    if (page_ != nullptr) {
        page_->dirty = 0;
        // Vectors that the driver has noted and the guest has not taken.
        std::atomic_ref(page_->interrupt_vector_count).store(0, std::memory_order_relaxed);
    }
    // Before XCR0: the state has components that XCR0 switches off.
    TRY(set_state(VpStateType::kXsave, reset_xsave_, "MSHV_SET_VP_STATE (XSAVE)"));
    TRY(reset_registers_and_events());
    reset_optional_registers();
    if (partition_.config().local_apic) {
        TRY(set_state(VpStateType::kLapic, reset_lapic_, "MSHV_SET_VP_STATE (local APIC)"));
    }
    return {};
}

Result<void> MshvVcpu::reset_registers_and_events() {
    const bool first = index_.value() == 0;
    const bool local_apic = partition_.config().local_apic;
    VcpuRegisters state = reset_registers();
    state.gpr[kRdx] = signature_;
    TRY(set_registers(state));
    TRY(vp_->set(std::span(kNeeded)));
    if (local_apic) {
        const uint64_t base = kApicBaseAddress | kApicBaseEnable | (first ? kApicBaseBootstrap : 0);
        TRY(vp_->set({assign(RegisterName::kApicBase, base)}));
    }
    // With local APICs, all but the first wait for a start-up IPI.
    const bool waits = local_apic && !first;
    return vp_->set({assign(RegisterName::kInternalActivityState,
                            waits ? uint64_t{kActivityStartupSuspend} : 0)});
}

void MshvVcpu::reset_optional_registers() {
    std::vector<RegisterAssociation> list(std::begin(kOptional), std::end(kOptional));
    if (index_.value() == 0) {
        list.insert(list.end(), std::begin(kPartitionWide), std::end(kPartitionWide));
    }
    list.push_back(assign(RegisterName::kMtrrDefType, kMtrrWriteBack));
    unsigned variable_ranges = 0;
    if (const auto capability = vp_->get(RegisterName::kMtrrCap)) {
        variable_ranges = static_cast<unsigned>(
            std::min<uint64_t>(capability->low & kMtrrCapCount, kMtrrMostVariableRanges));
    }
    for (unsigned i = 0; i < variable_ranges; ++i) {
        list.push_back(zero(nth(RegisterName::kMtrrPhysBase0, i)));
        list.push_back(zero(nth(RegisterName::kMtrrPhysMask0, i)));
    }
    for (unsigned i = 0; i < kMtrrFixedRanges; ++i) {
        list.push_back(zero(nth(RegisterName::kMtrrFix64k00000, i)));
    }
    // While time stands still, all TSCs start from 0 together. Otherwise they run on: written one
    // after the other they would come out of step.
    if (partition_.time_stands()) {
        list.push_back(zero(RegisterName::kTsc));
    }
    vp_->set_available(list);
}

Result<void> MshvVcpu::get_state(VpStateType type, Mapping& buffer, const char* what) {
    GetSetVpState argument{};
    argument.type = type;
    argument.buffer_size = static_cast<uint32_t>(buffer.size());
    argument.buffer_pointer = reinterpret_cast<uint64_t>(buffer.data());
    TRY(call_driver(partition_.driver(), fd_.get(), kIoctlGetVpState, what, &argument));
    return {};
}

Result<void> MshvVcpu::set_state(VpStateType type, Mapping& buffer, const char* what) {
    GetSetVpState argument{};
    argument.type = type;
    argument.buffer_size = static_cast<uint32_t>(buffer.size());
    argument.buffer_pointer = reinterpret_cast<uint64_t>(buffer.data());
    TRY(call_driver(partition_.driver(), fd_.get(), kIoctlSetVpState, what, &argument));
    return {};
}

}  // namespace halcyon
