#include "tools/mshv-emulator/registers.h"

#include <cstring>

#include "tools/mshv-emulator/partition.h"
#include "tools/mshv-emulator/vp.h"

namespace halcyon::emulator {

namespace {

using mshv::HvStatus;
using mshv::RegisterName;
using mshv::RegisterValue;

constexpr uint32_t number(RegisterName name) {
    return static_cast<uint32_t>(name);
}

// Control registers and EFER (Intel SDM 3A 2.5, 2.2.1).
constexpr uint64_t kCr0Pe = 1U << 0;
constexpr uint64_t kCr0Nw = 1U << 29;
constexpr uint64_t kCr0Cd = 1U << 30;
constexpr uint64_t kCr0Pg = 1U << 31;
constexpr uint64_t kCr4Pae = 1U << 5;
constexpr uint64_t kEferLme = 1U << 8;
constexpr uint64_t kEferLma = 1U << 10;
/// SCE, LME, LMA, NXE, SVME, LMSLE, FFXSR, TCE, AUTOIBRS (AMD APM 2 3.1.7).
constexpr uint64_t kEferKnown = 0x20fd01;
constexpr uint64_t kApicBaseEnable = 1U << 11;

template <typename T>
RegisterValue pack(const T& value) {
    static_assert(sizeof(T) == sizeof(RegisterValue));
    RegisterValue result{};
    std::memcpy(&result, &value, sizeof(result));
    return result;
}

template <typename T>
T unpack(const RegisterValue& value) {
    static_assert(sizeof(T) == sizeof(RegisterValue));
    T result{};
    std::memcpy(&result, &value, sizeof(result));
    return result;
}

kvm_segment* segment_of(kvm_sregs& sregs, uint32_t name) {
    switch (static_cast<RegisterName>(name)) {
        case RegisterName::kEs:
            return &sregs.es;
        case RegisterName::kCs:
            return &sregs.cs;
        case RegisterName::kSs:
            return &sregs.ss;
        case RegisterName::kDs:
            return &sregs.ds;
        case RegisterName::kFs:
            return &sregs.fs;
        case RegisterName::kGs:
            return &sregs.gs;
        case RegisterName::kLdtr:
            return &sregs.ldt;
        case RegisterName::kTr:
            return &sregs.tr;
        default:
            return nullptr;
    }
}

kvm_dtable* table_of(kvm_sregs& sregs, uint32_t name) {
    if (name == number(RegisterName::kIdtr)) {
        return &sregs.idt;
    }
    return name == number(RegisterName::kGdtr) ? &sregs.gdt : nullptr;
}

/// The 64-bit members of kvm_sregs that are registers as they are.
__u64* word_of(kvm_sregs& sregs, uint32_t name) {
    switch (static_cast<RegisterName>(name)) {
        case RegisterName::kCr0:
        case RegisterName::kIntermediateCr0:
            return &sregs.cr0;
        case RegisterName::kCr2:
            return &sregs.cr2;
        case RegisterName::kCr3:
        case RegisterName::kIntermediateCr3:
            return &sregs.cr3;
        case RegisterName::kCr4:
        case RegisterName::kIntermediateCr4:
            return &sregs.cr4;
        case RegisterName::kCr8:
        case RegisterName::kIntermediateCr8:
            return &sregs.cr8;
        case RegisterName::kEfer:
            return &sregs.efer;
        case RegisterName::kApicBase:
            return &sregs.apic_base;
        default:
            return nullptr;
    }
}

/// What the processor itself refuses with #GP, by the register's own value and the others' present.
bool is_valid_control(RegisterName name, uint64_t value, const kvm_sregs& sregs) {
    switch (name) {
        case RegisterName::kCr0:
            return (value >> 32) == 0 && ((value & kCr0Pg) == 0 || (value & kCr0Pe) != 0) &&
                   ((value & kCr0Nw) == 0 || (value & kCr0Cd) != 0);
        case RegisterName::kCr4:
            return (value >> 32) == 0 && ((sregs.efer & kEferLma) == 0 || (value & kCr4Pae) != 0);
        case RegisterName::kCr8:
        case RegisterName::kIntermediateCr8:
            return value <= 0xf;
        case RegisterName::kEfer:
            return (value & ~kEferKnown) == 0;
        default:
            return true;
    }
}

/// EFER.LMA is not written but follows.
void settle_long_mode(kvm_sregs& sregs) {
    const bool active = (sregs.efer & kEferLme) != 0 && (sregs.cr0 & kCr0Pg) != 0;
    sregs.efer = active ? sregs.efer | kEferLma : sregs.efer & ~kEferLma;
}

}  // namespace

mshv::Segment to_segment(const kvm_segment& segment) {
    // Bits 40-55 of a descriptor (Intel SDM 3A 3.4.5).
    unsigned attributes = (segment.type & 0xfU) | (segment.s & 1U) << 4 | (segment.dpl & 3U) << 5 |
                          (segment.present & 1U) << 7 | (segment.avl & 1U) << 12 |
                          (segment.l & 1U) << 13 | (segment.db & 1U) << 14 | (segment.g & 1U) << 15;
    if (segment.unusable != 0) {
        attributes &= ~(1U << 7);
    }
    return {.base = segment.base,
            .limit = segment.limit,
            .selector = segment.selector,
            .attributes = static_cast<uint16_t>(attributes)};
}

kvm_segment to_kvm_segment(const mshv::Segment& segment) {
    const auto bits = [&](unsigned shift, unsigned mask) {
        return static_cast<uint8_t>(unsigned{segment.attributes} >> shift & mask);
    };
    kvm_segment result{};
    result.base = segment.base;
    result.limit = segment.limit;
    result.selector = segment.selector;
    result.type = bits(0, 0xf);
    result.s = bits(4, 1);
    result.dpl = bits(5, 3);
    result.present = bits(7, 1);
    result.avl = bits(12, 1);
    result.l = bits(13, 1);
    result.db = bits(14, 1);
    result.g = bits(15, 1);
    result.unusable = result.present == 0 ? 1 : 0;
    return result;
}

mshv::Table to_table(const kvm_dtable& table) {
    return {.reserved = {}, .limit = table.limit, .base = table.base};
}

kvm_dtable to_kvm_table(const mshv::Table& table) {
    kvm_dtable result{};
    result.base = table.base;
    result.limit = table.limit;
    return result;
}

__u64& gpr(kvm_regs& regs, unsigned index) {
    // KVM has RSI, RDI, RSP, RBP behind RDX; instructions number RCX, RDX, RBX, RSP, RBP, RSI, RDI.
    static constexpr __u64 kvm_regs::*kOrder[16] = {
        &kvm_regs::rax, &kvm_regs::rcx, &kvm_regs::rdx, &kvm_regs::rbx,
        &kvm_regs::rsp, &kvm_regs::rbp, &kvm_regs::rsi, &kvm_regs::rdi,
        &kvm_regs::r8,  &kvm_regs::r9,  &kvm_regs::r10, &kvm_regs::r11,
        &kvm_regs::r12, &kvm_regs::r13, &kvm_regs::r14, &kvm_regs::r15};
    return regs.*kOrder[index & 15];
}

// ---- What KVM has in one structure -------------------------------------------------------------

kvm_regs* RegisterAccess::regs() {
    if (!regs_) {
        kvm_regs fresh{};
        if (vcpu_.ioctl(KVM_GET_REGS, &fresh) < 0) {
            return nullptr;
        }
        regs_ = fresh;
    }
    return &*regs_;
}

kvm_sregs* RegisterAccess::sregs() {
    if (!sregs_) {
        kvm_sregs fresh{};
        const SyntheticState& synthetic = partition_.synthetic(vp_.index());
        if (synthetic.pending_sregs) {
            fresh = *synthetic.pending_sregs;
        } else if (vcpu_.ioctl(KVM_GET_SREGS, &fresh) < 0) {
            return nullptr;
        }
        sregs_ = fresh;
    }
    return &*sregs_;
}

bool RegisterAccess::commit_sregs() {
    settle_long_mode(*sregs_);
    std::optional<kvm_sregs>& pending = partition_.synthetic(vp_.index()).pending_sregs;
    if (vcpu_.ioctl(KVM_SET_SREGS, &*sregs_) < 0) {
        pending = *sregs_;
    } else {
        pending.reset();
    }
    return true;
}

HvStatus RegisterAccess::commit() {
    bool done = true;
    if (std::exchange(sregs_dirty_, false)) {
        done = commit_sregs() && done;
    }
    if (std::exchange(regs_dirty_, false)) {
        done = vcpu_.ioctl(KVM_SET_REGS, &*regs_) == 0 && done;
    }
    if (std::exchange(xsave_dirty_, false)) {
        done = vcpu_.set_xsave(*xsave_) == 0 && done;
    }
    if (std::exchange(debugregs_dirty_, false)) {
        done = vcpu_.ioctl(KVM_SET_DEBUGREGS, &*debugregs_) == 0 && done;
        if (partition_.intercepted_exceptions() != 0) {
            done = update_guest_debug(partition_, vcpu_) == 0 && done;
        }
    }
    if (std::exchange(events_dirty_, false)) {
        done = vcpu_.ioctl(KVM_SET_VCPU_EVENTS, &*events_) == 0 && done;
    }
    return done ? HvStatus::kSuccess : HvStatus::kInvalidRegisterValue;
}

bool load_pending_registers(Partition& partition, uint32_t vp_index, KvmVcpu& vcpu) {
    std::optional<kvm_sregs>& pending = partition.synthetic(vp_index).pending_sregs;
    if (!pending) {
        return true;
    }
    if (vcpu.ioctl(KVM_SET_SREGS, &*pending) < 0) {
        return false;
    }
    pending.reset();
    return true;
}

// ---- By name -----------------------------------------------------------------------------------

HvStatus RegisterAccess::get(RegisterName name, RegisterValue& value) {
    value = {};
    const uint32_t code = number(name);
    for (const auto group : {&RegisterAccess::get_basic, &RegisterAccess::get_system,
                             &RegisterAccess::get_fpu, &RegisterAccess::get_debug,
                             &RegisterAccess::get_pending, &RegisterAccess::get_run_control,
                             &RegisterAccess::get_model_specific, &RegisterAccess::get_synthetic}) {
        if (const Status status = (this->*group)(code, value)) {
            return *status;
        }
    }
    return HvStatus::kInvalidParameter;
}

HvStatus RegisterAccess::set(RegisterName name, const RegisterValue& value) {
    const uint32_t code = number(name);
    for (const auto group : {&RegisterAccess::set_basic, &RegisterAccess::set_system,
                             &RegisterAccess::set_fpu, &RegisterAccess::set_debug,
                             &RegisterAccess::set_pending, &RegisterAccess::set_run_control,
                             &RegisterAccess::set_model_specific, &RegisterAccess::set_synthetic}) {
        if (const Status status = (this->*group)(code, value)) {
            return *status;
        }
    }
    return HvStatus::kInvalidParameter;
}

RegisterAccess::Status RegisterAccess::get_basic(uint32_t name, RegisterValue& value) {
    if (name < number(RegisterName::kRax) || name > number(RegisterName::kRflags)) {
        return std::nullopt;
    }
    kvm_regs* state = regs();
    if (state == nullptr) {
        return HvStatus::kOperationFailed;
    }
    if (name == number(RegisterName::kRip)) {
        value.low = state->rip;
    } else if (name == number(RegisterName::kRflags)) {
        value.low = state->rflags;
    } else {
        value.low = gpr(*state, name - number(RegisterName::kRax));
    }
    return HvStatus::kSuccess;
}

RegisterAccess::Status RegisterAccess::set_basic(uint32_t name, const RegisterValue& value) {
    if (name < number(RegisterName::kRax) || name > number(RegisterName::kRflags)) {
        return std::nullopt;
    }
    kvm_regs* state = regs();
    if (state == nullptr) {
        return HvStatus::kOperationFailed;
    }
    if (name == number(RegisterName::kRip)) {
        state->rip = value.low;
    } else if (name == number(RegisterName::kRflags)) {
        state->rflags = value.low;
    } else {
        gpr(*state, name - number(RegisterName::kRax)) = value.low;
    }
    regs_dirty_ = true;
    return HvStatus::kSuccess;
}

RegisterAccess::Status RegisterAccess::get_system(uint32_t name, RegisterValue& value) {
    if (name == number(RegisterName::kXfem)) {
        kvm_xcrs xcrs{};
        if (vcpu_.ioctl(KVM_GET_XCRS, &xcrs) < 0 || xcrs.nr_xcrs == 0) {
            return HvStatus::kInvalidParameter;
        }
        value.low = xcrs.xcrs[0].value;
        return HvStatus::kSuccess;
    }
    kvm_sregs probe{};
    if (segment_of(probe, name) == nullptr && table_of(probe, name) == nullptr &&
        word_of(probe, name) == nullptr) {
        return std::nullopt;
    }
    kvm_sregs* state = sregs();
    if (state == nullptr) {
        return HvStatus::kOperationFailed;
    }
    if (const kvm_segment* segment = segment_of(*state, name)) {
        value = pack(to_segment(*segment));
    } else if (const kvm_dtable* table = table_of(*state, name)) {
        value = pack(to_table(*table));
    } else {
        value.low = *word_of(*state, name);
        if (name == number(RegisterName::kApicBase) && (value.low & kApicBaseEnable) == 0) {
            value.low = 0;
        }
    }
    return HvStatus::kSuccess;
}

RegisterAccess::Status RegisterAccess::set_control(uint32_t name, uint64_t value) {
    kvm_sregs& state = *sregs_;
    if (!is_valid_control(static_cast<RegisterName>(name), value, state)) {
        return HvStatus::kInvalidRegisterValue;
    }
    *word_of(state, name) = value;
    sregs_dirty_ = true;
    return HvStatus::kSuccess;
}

RegisterAccess::Status RegisterAccess::set_system(uint32_t name, const RegisterValue& value) {
    if (name == number(RegisterName::kXfem)) {
        kvm_xcrs xcrs{};
        xcrs.nr_xcrs = 1;
        xcrs.xcrs[0].value = value.low;
        return vcpu_.ioctl(KVM_SET_XCRS, &xcrs) == 0 ? HvStatus::kSuccess
                                                     : HvStatus::kInvalidRegisterValue;
    }
    kvm_sregs probe{};
    const bool is_segment = segment_of(probe, name) != nullptr;
    const bool is_table = table_of(probe, name) != nullptr;
    if (!is_segment && !is_table && word_of(probe, name) == nullptr) {
        return std::nullopt;
    }
    kvm_sregs* state = sregs();
    if (state == nullptr) {
        return HvStatus::kOperationFailed;
    }
    if (is_segment) {
        *segment_of(*state, name) = to_kvm_segment(unpack<mshv::Segment>(value));
    } else if (is_table) {
        *table_of(*state, name) = to_kvm_table(unpack<mshv::Table>(value));
    } else {
        return set_control(name, value.low);
    }
    sregs_dirty_ = true;
    return HvStatus::kSuccess;
}

}  // namespace halcyon::emulator
