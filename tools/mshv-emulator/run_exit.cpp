/// Runner: what KVM's exits come to, but for accesses to ports and memory.
#include <cerrno>
#include <cinttypes>
#include <cstring>

#include "tools/mshv-emulator/log.h"
#include "tools/mshv-emulator/partition.h"
#include "tools/mshv-emulator/run.h"

namespace halcyon::emulator {

namespace {

/// KVM_EXIT_MEMORY_FAULT (Linux 6.8), which comes with EFAULT; older headers lack it.
constexpr uint32_t kExitMemoryFault = 39;
struct MemoryFault {
    uint64_t flags;
    uint64_t gpa;
    uint64_t size;
};

constexpr uint32_t kBreakpointVector = 3;

}  // namespace

ExitSource Runner::make_source() {
    const kvm_sync_regs& state = state_.get();
    return {partition_.memory(), vcpu_, state.regs, state.sregs, physical_width_};
}

Runner::Outcome Runner::send(const mshv::Message& message) {
    message_ = message;
    is_port_access_ = false;
    uses_vectors_ = true;
    return 0;
}

Runner::Outcome Runner::fail(const char* what, uint64_t detail) {
    log_line("VP %u: %s (%" PRIu64 ")", vp_index_, what, detail);
    return -EIO;
}

Runner::Outcome Runner::handle_result(long result) {
    if (result == 0) {
        if (const long error = state_.load(); error < 0) {
            return fail("KVM does not give registers", static_cast<uint64_t>(-error));
        }
        return handle_exit();
    }
    if (result == -EINTR || result == -EAGAIN) {
        return std::nullopt;  // EAGAIN: a start-up IPI has come
    }
    if (result == -EFAULT && vcpu_.run().exit_reason == kExitMemoryFault) {
        return handle_memory_fault();
    }
    return fail("KVM_RUN failed", static_cast<uint64_t>(-result));
}

/// An interception of an instruction. KVM may have carried out several that it emulates without
/// looking whether a window has opened: then that comes first, and the instruction again.
Runner::Outcome Runner::unless_window(Outcome intercepted) {
    if (intercepted != Outcome(0)) {
        return intercepted;
    }
    const Outcome window = deliver_window();
    return window ? window : intercepted;
}

/// Only without local APICs: with them KVM waits itself. RIP is behind the HLT.
Runner::Outcome Runner::handle_halt() {
    const kvm_run& run = vcpu_.run();
    if (run.if_flag != 0 && run.ready_for_interrupt_injection != 0 &&
        partition_.interrupts().has_ext_int(vp_index_)) {
        return std::nullopt;  // which wakes it
    }
    return unless_window(send(header_message(message_state(), mshv::MessageType::kX64Halt, 1)));
}

Runner::Outcome Runner::handle_exit() {
    const kvm_run& run = vcpu_.run();
    switch (run.exit_reason) {
        case KVM_EXIT_IO:
            return unless_window(handle_io());
        case KVM_EXIT_MMIO:
            return unless_window(handle_mmio());
        case KVM_EXIT_INTR:
        case KVM_EXIT_IRQ_WINDOW_OPEN:
        case KVM_EXIT_SET_TPR:
            return std::nullopt;
        case KVM_EXIT_HLT:
            return handle_halt();
        case KVM_EXIT_SHUTDOWN:
            return send(
                header_message(message_state(), mshv::MessageType::kUnrecoverableException, 0));
        case KVM_EXIT_IOAPIC_EOI:
            return partition_.interrupts().end_of_interrupt(run.eoi.vector)
                       ? std::nullopt
                       : send(eoi_message(vp_index_, run.eoi.vector));
        case KVM_EXIT_X86_RDMSR:
        case KVM_EXIT_X86_WRMSR:
            return handle_msr();
        case KVM_EXIT_DEBUG:
            return handle_debug();
        case KVM_EXIT_INTERNAL_ERROR:
            return handle_internal_error();
        case KVM_EXIT_FAIL_ENTRY:
            log_line("VP %u: KVM cannot enter the guest: 0x%" PRIx64, vp_index_,
                     uint64_t{run.fail_entry.hardware_entry_failure_reason});
            return send(invalid_register_message(vp_index_));
        default:
            log_line("VP %u: KVM exit %u", vp_index_, run.exit_reason);
            return send(unsupported_message(vp_index_, run.exit_reason));
    }
}

Runner::Outcome Runner::handle_msr() {
    if (serve_msr_exit(partition_, vp_index_, vcpu_) == MsrOutcome::kServed) {
        return std::nullopt;
    }
    kvm_run& run = vcpu_.run();
    const bool is_write = run.exit_reason == KVM_EXIT_X86_WRMSR;
    const uint32_t msr = run.msr.index;
    run.msr.error = 0;
    run.msr.data = 0;
    pending_.begin_other();
    ExitSource source = make_source();
    if (const long error = pending_.end(vcpu_, state_, source); error < 0) {
        return fail("KVM does not end an MSR access", static_cast<uint64_t>(-error));
    }
    return send(msr_message(message_state(), msr, is_write));
}

Runner::Outcome Runner::handle_debug() {
    const kvm_debug_exit_arch& debug = vcpu_.run().debug.arch;
    ExitSource source = make_source();
    const bool is_breakpoint = debug.exception == kBreakpointVector;
    return send(exception_message(message_state(), static_cast<uint16_t>(debug.exception),
                                  is_breakpoint ? 0 : debug.dr6, is_breakpoint ? 1 : 0,
                                  instruction_bytes(source)));
}

/// KVM could not carry an instruction out: because it is not in memory, or because it does not know
/// it, which the hypervisor, that only tells of it, does not need to.
Runner::Outcome Runner::handle_internal_error() {
    const auto& error = vcpu_.run().internal;
    if (error.suberror != KVM_INTERNAL_ERROR_EMULATION) {
        log_line("VP %u: KVM internal error %u", vp_index_, error.suberror);
        return send(unsupported_message(vp_index_, error.suberror));
    }
    ExitSource source = make_source();
    const kvm_sync_regs& state = state_.get();
    const GuestMemory& memory = partition_.memory();
    const uint64_t code = code_address(state.regs, state.sregs);
    uint8_t bytes[kMaxInstructionLength];
    const size_t there = source.read(code, bytes, sizeof(bytes));
    const auto is_intercepted = [&memory](const MemoryOperand& operand) {
        const auto place = memory.find(operand.gpa);
        return !place || (operand.is_write && !place->writable);
    };
    if (there != 0) {
        if (const auto operand = find_operand(state.regs, state.sregs, source, is_intercepted)) {
            return send_memory(
                operand->gpa, operand->linear,
                operand->is_write ? mshv::InterceptAccess::kWrite : mshv::InterceptAccess::kRead,
                source);
        }
    }
    const auto gpa = there < sizeof(bytes) ? source.translate(code + there) : std::nullopt;
    if (gpa && !memory.is_mapped(*gpa)) {
        return send_memory(*gpa, code + there, mshv::InterceptAccess::kExecute, source);
    }
    log_line("VP %u: KVM does not know the instruction %02x %02x %02x %02x at 0x%" PRIx64,
             vp_index_, bytes[0], bytes[1], bytes[2], bytes[3], code);
    return send(unsupported_message(vp_index_, error.suberror));
}

/// The program's memory behind a mapping is not there.
Runner::Outcome Runner::handle_memory_fault() {
    if (const long error = state_.load(); error < 0) {
        return fail("KVM does not give registers", static_cast<uint64_t>(-error));
    }
    MemoryFault fault{};
    std::memcpy(&fault, &vcpu_.run().hw, sizeof(fault));
    ExitSource source = make_source();
    return send_memory(fault.gpa, std::nullopt, mshv::InterceptAccess::kRead, source);
}

}  // namespace halcyon::emulator
