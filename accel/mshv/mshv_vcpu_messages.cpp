/// MshvVcpu: what each message of MSHV_RUN_VP asks for.
#include <cinttypes>
#include <cstdio>
#include <ctime>

#include "accel/mshv/mshv_partition.h"
#include "accel/mshv/mshv_vcpu.h"

namespace halcyon {

using namespace mshv;

namespace {

std::string describe(MessageType type) {
    char text[24];
    std::snprintf(text, sizeof(text), "0x%08" PRIx32, static_cast<uint32_t>(type));
    return text;
}

/// As a write to a 32-bit register does.
uint64_t low_half(uint64_t value) {
    return value & 0xffffffff;
}

constexpr uint64_t kRflagsInterrupt = 1U << 9;

}  // namespace

MshvVcpu::End MshvVcpu::handle_message() {
    switch (message_.type) {
        case MessageType::kX64IoPortIntercept:
            halts_in_a_row_ = 0;
            if (const auto* message = payload<IoPortIntercept>()) [[likely]] {
                return handle_io_port(*message);
            }
            break;
        case MessageType::kUnmappedGpa:
        case MessageType::kGpaIntercept:
            halts_in_a_row_ = 0;
            if (const auto* message = payload<MemoryIntercept>()) {
                return handle_memory(*message);
            }
            break;
        case MessageType::kX64Halt:
            if (const auto* message = payload<InterceptHeader>()) {
                return handle_halt(*message);
            }
            break;
        default:
            halts_in_a_row_ = 0;
            return handle_rare_message();
    }
    return fault_of_short_message();
}

MshvVcpu::End MshvVcpu::handle_rare_message() {
    switch (message_.type) {
        case MessageType::kX64ApicEoi:
            counters_.interrupt_exits.increment();
            if (const auto* message = payload<ApicEoi>()) {
                io_.end_of_interrupt(static_cast<uint8_t>(message->vector));
                return std::nullopt;
            }
            break;
        case MessageType::kX64InterruptionDeliverable:
            counters_.interrupt_exits.increment();
            if (const auto* message = payload<InterruptionDeliverable>()) {
                return handle_deliverable(*message);
            }
            break;
        case MessageType::kX64MsrIntercept:
            counters_.other_exits.increment();
            if (const auto* message = payload<MsrIntercept>()) {
                return handle_msr(*message);
            }
            break;
        case MessageType::kX64CpuidIntercept:
            counters_.other_exits.increment();
            if (const auto* message = payload<CpuidIntercept>()) {
                return handle_cpuid(*message);
            }
            break;
        case MessageType::kX64ExceptionIntercept:
            counters_.other_exits.increment();
            if (const auto* message = payload<ExceptionIntercept>()) {
                return handle_exception(*message);
            }
            break;
        case MessageType::kX64LegacyFpError:  // news about devices that this guest does not have;
        case MessageType::kX64IommuPrq:       // no instruction waits for an answer
            counters_.other_exits.increment();
            return std::nullopt;
        case MessageType::kUnrecoverableException:
            counters_.other_exits.increment();
            return RunOutcome{.stop = RunStop::kTripleFault};
        case MessageType::kInvalidVpRegisterValue:
            counters_.other_exits.increment();
            return fault("the hypervisor cannot run this state of the processor");
        case MessageType::kUnsupportedFeature:
            counters_.other_exits.increment();
            if (const auto* message = payload<UnsupportedFeature>()) {
                return handle_unsupported(*message);
            }
            break;
        default:
            // Those that come only if asked for, only to isolated guests, or are nobody's. Going
            // on would bring the same message again.
            counters_.other_exits.increment();
            return fault("a message of type " + describe(message_.type) +
                         ", which was not asked for");
    }
    return fault_of_short_message();
}

MshvVcpu::End MshvVcpu::handle_unsupported(const UnsupportedFeature& message) {
    return fault("the guest used a feature that the hypervisor does not have: code " +
                 std::to_string(message.code) + ", parameter " + std::to_string(message.parameter));
}

MshvVcpu::End MshvVcpu::fault_of_short_message() {
    return fault("a message of type " + describe(message_.type) + " with only " +
                 std::to_string(message_.payload_size) + " bytes");
}

/// With local APICs, HLT waits inside MSHV_RUN_VP, and no VMM has seen this message. Should it
/// come all the same, the processor is told to wait, and waits inside from then on; if the message
/// comes again at once, not more often than a thousand times a second.
///
/// The instruction pointer is behind the HLT already.
MshvVcpu::End MshvVcpu::handle_halt(const InterceptHeader& header) {
    counters_.halt_exits.increment();
    if (!partition_.config().local_apic) {
        if (extint_wanted() && (header.rflags & kRflagsInterrupt) != 0) {
            return std::nullopt;  // the next entry takes the interrupt, which ends the halt
        }
        return RunOutcome{.stop = RunStop::kHalted};
    }
    if (const auto set =
            vp_->set({assign(RegisterName::kInternalActivityState, kActivityHaltSuspend)});
        !set) {
        return fault(set.error().message());
    }
    if (++halts_in_a_row_ > 1) {
        const timespec nap{.tv_sec = 0, .tv_nsec = 1'000'000};
        ::nanosleep(&nap, nullptr);
    }
    return std::nullopt;
}

/// The guest takes an interrupt now: only here is the 8259 acknowledged. That the vector comes from
/// elsewhere does not end a halt in the hypervisor's eyes, so it is told so.
MshvVcpu::End MshvVcpu::handle_deliverable(const InterruptionDeliverable& message) {
    if (message.type != static_cast<uint32_t>(InterruptionType::kInterrupt)) {
        return fault("a window for interruptions of type " + std::to_string(message.type) +
                     ", which was not asked for");
    }
    const std::optional<uint8_t> vector =
        extint_level_ != nullptr ? io_.acknowledge_extint() : std::nullopt;
    // One notification has been given; whether it would be given again is not to be relied on.
    window_asked_ = extint_wanted();
    const auto notifications = assign(RegisterName::kDeliverabilityNotifications,
                                      window_asked_ ? uint64_t{kNotifyInterrupt} : 0);
    const auto set =
        vector ? vp_->set({assign(RegisterName::kPendingEvent0, pending_ext_int(*vector)),
                           assign(RegisterName::kInternalActivityState, 0), notifications})
               : vp_->set({notifications});
    return set ? std::nullopt : End(fault(set.error().message()));
}

/// As the partition has it for registers that nobody knows (UNIMPLEMENTED_MSR_ACTION).
MshvVcpu::End MshvVcpu::handle_msr(const MsrIntercept& message) {
    if (message.header.instruction_length() == 0) {
        return fault("an MSR's message without the instruction's length");
    }
    const auto rip = assign(RegisterName::kRip, next_rip(message.header));
    const auto set = message.header.access == InterceptAccess::kWrite
                         ? vp_->set({rip})
                         : vp_->set({assign(RegisterName::kRax, 0),
                                     assign(nth(RegisterName::kRax, kRdx), 0), rip});
    return set ? std::nullopt : End(fault(set.error().message()));
}

/// The hypervisor's own answer.
MshvVcpu::End MshvVcpu::handle_cpuid(const CpuidIntercept& message) {
    if (message.header.instruction_length() == 0) {
        return fault("a CPUID's message without the instruction's length");
    }
    const auto set = vp_->set({
        assign(RegisterName::kRax, low_half(message.default_rax)),
        assign(nth(RegisterName::kRax, kRcx), low_half(message.default_rcx)),
        assign(nth(RegisterName::kRax, kRdx), low_half(message.default_rdx)),
        assign(nth(RegisterName::kRax, kRbx), low_half(message.default_rbx)),
        assign(RegisterName::kRip, next_rip(message.header)),
    });
    return set ? std::nullopt : End(fault(set.error().message()));
}

/// Given back to the guest as it came.
MshvVcpu::End MshvVcpu::handle_exception(const ExceptionIntercept& message) {
    constexpr uint8_t kHasErrorCode = 1U << 0;
    constexpr uint8_t kSoftware = 1U << 1;
    const auto vector = static_cast<uint8_t>(message.vector);
    Result<void> set;
    if ((message.info & kSoftware) != 0) {
        // INT3 and INTO push the address behind them, for which their length is needed.
        RegisterValue event = pending_interruption(InterruptionType::kSoftwareException, vector);
        event.low |= static_cast<uint64_t>(message.header.instruction_length()) << 5;
        set = vp_->set({assign(RegisterName::kPendingInterruption, event)});
    } else {
        set = vp_->set({assign(RegisterName::kPendingEvent0,
                               pending_exception(vector, (message.info & kHasErrorCode) != 0,
                                                 message.error_code, message.parameter))});
    }
    return set ? std::nullopt : End(fault(set.error().message()));
}

}  // namespace halcyon
