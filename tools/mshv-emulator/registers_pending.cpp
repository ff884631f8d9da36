/// The part of RegisterAccess for events on their way to the guest, activity, and run control.
#include "accel/mshv/mshv_messages.h"
#include "tools/mshv-emulator/partition.h"
#include "tools/mshv-emulator/registers.h"
#include "tools/mshv-emulator/vp.h"

namespace halcyon::emulator {

namespace {

using mshv::HvStatus;
using mshv::InterruptionType;
using mshv::PendingEventType;
using mshv::RegisterName;
using mshv::RegisterValue;

constexpr uint8_t kPageFault = 14;
// INT3 and INTO raise these as software exceptions.
constexpr uint8_t kBreakpoint = 3;
constexpr uint8_t kOverflow = 4;

// See mshv::pending_interruption and mshv::pending_exception for the bits.
constexpr uint64_t kPending = 1;
constexpr uint64_t kInterruptionHasErrorCode = 1U << 4;
constexpr uint64_t kEventHasErrorCode = 1U << 8;

struct Exception {
    uint8_t vector;
    bool has_error_code;
    uint32_t error_code;
};

void put_exception(kvm_vcpu_events& events, const Exception& exception) {
    events.exception = {};
    events.exception.injected = 1;
    events.exception.nr = exception.vector;
    events.exception.has_error_code = exception.has_error_code ? 1 : 0;
    events.exception.error_code = exception.error_code;
}

void put_interrupt(kvm_vcpu_events& events, uint8_t vector, bool software) {
    events.interrupt.injected = 1;
    events.interrupt.nr = vector;
    events.interrupt.soft = software ? 1 : 0;
}

uint64_t interruption(InterruptionType type, uint8_t vector) {
    return mshv::pending_interruption(type, vector).low;
}

uint64_t to_pending_interruption(const kvm_vcpu_events& events) {
    if (events.exception.injected != 0) {
        const bool software =
            events.exception.nr == kBreakpoint || events.exception.nr == kOverflow;
        uint64_t value = interruption(
            software ? InterruptionType::kSoftwareException : InterruptionType::kException,
            events.exception.nr);
        if (events.exception.has_error_code != 0) {
            value |= kInterruptionHasErrorCode | static_cast<uint64_t>(events.exception.error_code)
                                                     << 32;
        }
        return value;
    }
    if (events.nmi.injected != 0) {
        return interruption(InterruptionType::kNmi, 2);
    }
    if (events.interrupt.injected != 0) {
        return interruption(events.interrupt.soft != 0 ? InterruptionType::kSoftwareInterrupt
                                                       : InterruptionType::kInterrupt,
                            events.interrupt.nr);
    }
    return 0;
}

RegisterValue to_pending_event(const kvm_vcpu_events& events, uint64_t cr2) {
    return mshv::pending_exception(events.exception.nr, events.exception.has_error_code != 0,
                                   events.exception.error_code,
                                   events.exception.nr == kPageFault ? cr2 : 0);
}

}  // namespace

kvm_vcpu_events* RegisterAccess::events() {
    if (!events_) {
        kvm_vcpu_events fresh{};
        if (vcpu_.ioctl(KVM_GET_VCPU_EVENTS, &fresh) < 0) {
            return nullptr;
        }
        events_ = fresh;
    }
    return &*events_;
}

RegisterAccess::Status RegisterAccess::get_pending(uint32_t name, RegisterValue& value) {
    const auto which = static_cast<RegisterName>(name);
    if (which != RegisterName::kPendingInterruption && which != RegisterName::kInterruptState &&
        which != RegisterName::kPendingEvent0 && which != RegisterName::kPendingEvent1) {
        return std::nullopt;
    }
    const kvm_vcpu_events* state = events();
    if (state == nullptr) {
        return HvStatus::kOperationFailed;
    }
    const bool is_event =
        partition_.synthetic(vp_.index()).exception_is_event && state->exception.injected != 0;
    if (which == RegisterName::kPendingInterruption && !is_event) {
        value.low = to_pending_interruption(*state);
    } else if (which == RegisterName::kPendingEvent0 && is_event) {
        const kvm_sregs* system = sregs();
        value = to_pending_event(*state, system != nullptr ? system->cr2 : 0);
    } else if (which == RegisterName::kInterruptState) {
        value.low = (state->interrupt.shadow != 0 ? uint64_t{mshv::kInterruptShadow} : 0) |
                    (state->nmi.masked != 0 ? uint64_t{mshv::kNmiMasked} : 0);
    }
    return HvStatus::kSuccess;
}

HvStatus RegisterAccess::set_pending_interruption(uint64_t value) {
    kvm_vcpu_events& state = *events_;
    state.exception.injected = 0;
    state.nmi.injected = 0;
    state.interrupt.injected = 0;
    events_dirty_ = true;
    partition_.synthetic(vp_.index()).exception_is_event = false;
    if ((value & kPending) == 0) {
        return HvStatus::kSuccess;
    }
    const auto vector = static_cast<uint8_t>(value >> 16);
    switch (static_cast<InterruptionType>(value >> 1 & 7)) {
        case InterruptionType::kInterrupt:
            put_interrupt(state, vector, false);
            return HvStatus::kSuccess;
        case InterruptionType::kNmi:
            state.nmi.injected = 1;
            return HvStatus::kSuccess;
        case InterruptionType::kSoftwareInterrupt:
            put_interrupt(state, vector, true);
            return HvStatus::kSuccess;
        case InterruptionType::kException:
        case InterruptionType::kPrivilegedSoftwareException:
        case InterruptionType::kSoftwareException:
            put_exception(state, {.vector = vector,
                                  .has_error_code = (value & kInterruptionHasErrorCode) != 0,
                                  .error_code = static_cast<uint32_t>(value >> 32)});
            return vector < 32 ? HvStatus::kSuccess : HvStatus::kInvalidRegisterValue;
    }
    return HvStatus::kInvalidRegisterValue;
}

HvStatus RegisterAccess::set_pending_event(const RegisterValue& value) {
    kvm_vcpu_events& state = *events_;
    bool& is_event = partition_.synthetic(vp_.index()).exception_is_event;
    if ((value.low & kPending) == 0) {
        if (is_event) {
            state.exception.injected = 0;
            events_dirty_ = true;
        }
        is_event = false;
        return HvStatus::kSuccess;
    }
    switch (static_cast<PendingEventType>(value.low >> 1 & 7)) {
        case PendingEventType::kException: {
            const auto vector = static_cast<uint8_t>(value.low >> 16);
            kvm_sregs* system = sregs();
            if (vector >= 32 || system == nullptr) {
                return HvStatus::kInvalidRegisterValue;
            }
            put_exception(state, {.vector = vector,
                                  .has_error_code = (value.low & kEventHasErrorCode) != 0,
                                  .error_code = static_cast<uint32_t>(value.low >> 32)});
            if (vector == kPageFault) {
                system->cr2 = value.high;
                sregs_dirty_ = true;
            }
            is_event = true;
            events_dirty_ = true;
            return HvStatus::kSuccess;
        }
        case PendingEventType::kExtInt:
            put_interrupt(state, static_cast<uint8_t>(value.low >> 8), false);
            events_dirty_ = true;
            return HvStatus::kSuccess;
        case PendingEventType::kMemoryIntercept:
        case PendingEventType::kNestedMemoryIntercept:
        case PendingEventType::kVirtualizationFault:
        case PendingEventType::kHypercallOutput:
        case PendingEventType::kShadowIpt:
            break;
    }
    return HvStatus::kInvalidRegisterValue;
}

RegisterAccess::Status RegisterAccess::set_pending(uint32_t name, const RegisterValue& value) {
    const auto which = static_cast<RegisterName>(name);
    if (which == RegisterName::kPendingEvent1) {
        return (value.low & kPending) == 0 ? HvStatus::kSuccess : HvStatus::kInvalidRegisterValue;
    }
    if (which != RegisterName::kPendingInterruption && which != RegisterName::kInterruptState &&
        which != RegisterName::kPendingEvent0) {
        return std::nullopt;
    }
    kvm_vcpu_events* state = events();
    if (state == nullptr) {
        return HvStatus::kOperationFailed;
    }
    if (which == RegisterName::kPendingInterruption) {
        return set_pending_interruption(value.low);
    }
    if (which == RegisterName::kPendingEvent0) {
        return set_pending_event(value);
    }
    // MOV SS and STI shadows are told apart by KVM only: either does.
    state->flags |= KVM_VCPUEVENT_VALID_SHADOW;
    state->interrupt.shadow =
        (value.low & mshv::kInterruptShadow) != 0 ? KVM_X86_SHADOW_INT_STI : 0;
    state->nmi.masked = (value.low & mshv::kNmiMasked) != 0 ? 1 : 0;
    events_dirty_ = true;
    return HvStatus::kSuccess;
}

// ---- Activity and run control ------------------------------------------------------------------

HvStatus RegisterAccess::get_activity(uint64_t& value) {
    kvm_mp_state state{};
    if (vcpu_.ioctl(KVM_GET_MP_STATE, &state) < 0) {
        return HvStatus::kOperationFailed;
    }
    switch (state.mp_state) {
        case KVM_MP_STATE_UNINITIALIZED:
        case KVM_MP_STATE_INIT_RECEIVED:
            value = mshv::kActivityStartupSuspend;
            break;
        case KVM_MP_STATE_HALTED:
            value = mshv::kActivityHaltSuspend;
            break;
        default:
            value = 0;
            break;
    }
    return HvStatus::kSuccess;
}

HvStatus RegisterAccess::set_activity(uint64_t value) {
    kvm_mp_state state{};
    if ((value & mshv::kActivityStartupSuspend) != 0) {
        state.mp_state = KVM_MP_STATE_INIT_RECEIVED;
    } else if ((value & (mshv::kActivityHaltSuspend | mshv::kActivityIdleSuspend)) != 0) {
        state.mp_state = KVM_MP_STATE_HALTED;
    } else {
        state.mp_state = KVM_MP_STATE_RUNNABLE;
    }
    return vcpu_.ioctl(KVM_SET_MP_STATE, &state) < 0 ? HvStatus::kInvalidRegisterValue
                                                     : HvStatus::kSuccess;
}

RegisterAccess::Status RegisterAccess::get_run_control(uint32_t name, RegisterValue& value) {
    const RunControl& control = vp_.run_control();
    switch (static_cast<RegisterName>(name)) {
        case RegisterName::kExplicitSuspend:
            value.low = control.explicit_suspend ? 1 : 0;
            return HvStatus::kSuccess;
        case RegisterName::kInterceptSuspend:
            value.low = control.intercept_suspend ? 1 : 0;
            return HvStatus::kSuccess;
        case RegisterName::kDispatchSuspend:
            value.low = control.dispatch_suspend ? 1 : 0;
            return HvStatus::kSuccess;
        case RegisterName::kDeliverabilityNotifications:
            value.low = control.notifications;
            return HvStatus::kSuccess;
        case RegisterName::kInternalActivityState:
            return get_activity(value.low);
        default:
            return std::nullopt;
    }
}

RegisterAccess::Status RegisterAccess::set_run_control(uint32_t name, const RegisterValue& value) {
    RunControl& control = vp_.run_control();
    switch (static_cast<RegisterName>(name)) {
        case RegisterName::kExplicitSuspend:
            control.explicit_suspend = (value.low & 1) != 0;
            return HvStatus::kSuccess;
        case RegisterName::kInterceptSuspend:
            control.intercept_suspend = (value.low & 1) != 0;
            return HvStatus::kSuccess;
        case RegisterName::kDispatchSuspend:
            control.dispatch_suspend = (value.low & 1) != 0;
            return HvStatus::kSuccess;
        case RegisterName::kDeliverabilityNotifications:
            control.notifications = value.low;
            return HvStatus::kSuccess;
        case RegisterName::kInternalActivityState:
            return set_activity(value.low);
        default:
            return std::nullopt;
    }
}

}  // namespace halcyon::emulator
