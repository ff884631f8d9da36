/// MshvVcpu: accesses to ports, and to memory that is not there.
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "accel/mshv/instruction_flags.h"
#include "accel/mshv/mshv_instruction_bus.h"
#include "accel/mshv/mshv_partition.h"
#include "accel/mshv/mshv_vcpu.h"

namespace halcyon {

using namespace mshv;

namespace {

// Attributes of CS (Intel SDM 3A 3.4.5, as in SegmentRegister).
constexpr uint16_t kCodeLong = 1U << 13;
// Intel SDM 3A 18.2.3.
constexpr uint64_t kDr6SingleStep = 1U << 14;
constexpr uint8_t kDebugVector = 1;

bool in_64_bit_mode(const InterceptHeader& header) {
    return (header.execution_state & kExecutionEferLma) != 0 &&
           (header.cs.attributes & kCodeLong) != 0;
}

/// RAX after an IN: one or two bytes leave the others, four clear the upper half.
uint64_t merge(uint64_t rax, uint32_t value, unsigned size) {
    switch (size) {
        case 1:
            return (rax & ~uint64_t{0xff}) | value;
        case 2:
            return (rax & ~uint64_t{0xffff}) | value;
        default:
            return value;
    }
}

std::string describe(const char* what, uint64_t address) {
    char text[96];
    std::snprintf(text, sizeof(text), "%s 0x%" PRIx64, what, address);
    return text;
}

}  // namespace

uint64_t MshvVcpu::next_rip(const InterceptHeader& header) {
    const uint64_t next = header.rip + header.instruction_length();
    return in_64_bit_mode(header) ? next : next & 0xffffffff;
}

// ---- ports ----

MshvVcpu::End MshvVcpu::handle_io_port(const IoPortIntercept& message) {
    counters_.pio_exits.increment();
    const unsigned size = message.access_size();
    const bool plain = !message.is_string() && (size == 1 || size == 2 || size == 4) &&
                       message.header.instruction_length() != 0;
    if (!plain) [[unlikely]] {
        const size_t count = std::min<size_t>(message.instruction_byte_count, kInstructionBytes);
        return emulate(message.header, {message.instruction_bytes, count}, nullptr);
    }
    const PioPort port(message.port);
    uint64_t rax = message.rax;
    auto value = static_cast<uint32_t>(rax);
    auto* const bytes = reinterpret_cast<std::byte*>(&value);
    if (message.header.access == InterceptAccess::kWrite) {
        io_.pio_write(port, {bytes, size});
    } else {
        value = 0;
        io_.pio_read(port, {bytes, size});
        rax = merge(rax, value, size);
    }
    return finish_port_access(message, rax);
}

MshvVcpu::End MshvVcpu::finish_port_access(const IoPortIntercept& message, uint64_t rax) {
    const InterceptHeader& header = message.header;
    if ((header.execution_state & kExecutionInterruptShadow) != 0) [[unlikely]] {
        if (const auto ended = end_interrupt_shadow(); !ended) {
            return fault(ended.error().message());
        }
    }
    if ((header.rflags & executor::kTrapFlag) != 0) [[unlikely]] {
        if (const auto raised = raise_single_step(); !raised) {
            return fault(raised.error().message());
        }
    }
    const bool read = header.access != InterceptAccess::kWrite;
    if (RegisterPage* const page = usable_page()) [[likely]] {
        page->rip = next_rip(header);
        if (read) {
            page->gpr[kRax] = rax;
            page->dirty |= kDirtyGpr | kDirtyRip;
        } else {
            page->dirty |= kDirtyRip;
        }
        return std::nullopt;
    }
    const RegisterAssociation answer[] = {assign(RegisterName::kRip, next_rip(header)),
                                          assign(RegisterName::kRax, rax)};
    const auto set = vp_->set(std::span(answer).first(read ? 2 : 1));
    return set ? std::nullopt : End(fault(set.error().message()));
}

/// The instruction after STI or MOV SS is done, and with it the time without interrupts; that NMIs
/// are masked stays.
Result<void> MshvVcpu::end_interrupt_shadow() {
    uint64_t state = 0;
    if (const RegisterPage* const page = usable_page()) {
        state = page->interrupt_state;
    } else {
        state = TRY(vp_->get(RegisterName::kInterruptState)).low;
    }
    return vp_->set({assign(RegisterName::kInterruptState, state & ~uint64_t{kInterruptShadow})});
}

/// The debug trap that follows an instruction which began with RFLAGS.TF set: who carries out the
/// instruction owes it to the guest.
Result<void> MshvVcpu::raise_single_step() {
    const uint64_t dr6 = TRY(vp_->get(RegisterName::kDr6)).low;
    return vp_->set(
        {assign(RegisterName::kDr6, dr6 | kDr6SingleStep),
         assign(RegisterName::kPendingEvent0, pending_exception(kDebugVector, false, 0, 0))});
}

// ---- memory ----

MshvVcpu::End MshvVcpu::handle_memory(const MemoryIntercept& message) {
    counters_.mmio_exits.increment();
    const InterceptHeader& header = message.header;
    const Gpa address(message.guest_physical_address);
    const Backing backing = partition_.memory().backing(address);
    const bool write = header.access == InterceptAccess::kWrite;
    if (backing == Backing::kReadWrite || (backing == Backing::kReadOnly && !write)) {
        // There is memory that allows the access. Either another vCPU has mapped it since, then the
        // guest finds it when it tries again; or the host cannot provide it, and never will.
        if (partition_.memory().generation() != entry_generation_) {
            return std::nullopt;
        }
        return fault(describe("the host has no memory behind guest address", address.value()));
    }
    if (header.access == InterceptAccess::kExecute) {
        return fault(describe("no memory to fetch an instruction from at", address.value()));
    }
    if ((header.execution_state & kExecutionInterruptionPending) != 0) {
        // Not the instruction's access: a stack, or a table of vectors, in the wrong place.
        return fault(describe("an interrupt's delivery needs memory at", address.value()));
    }
    const size_t count = std::min<size_t>(message.instruction_byte_count, kInstructionBytes);
    return emulate(header, {message.instruction_bytes, count}, &message);
}

/// Carries out the instruction at hand. Its exception, if it has one, is the guest's affair.
MshvVcpu::End MshvVcpu::emulate(const InterceptHeader& header, std::span<const uint8_t> bytes,
                                const MemoryIntercept* memory) {
    const auto before = intercepted_registers();
    if (!before) {
        return fault(before.error().message());
    }
    GuestAccess access(*vp_, partition_.memory(), io_, *before,
                       header.execution_state & kExecutionCplMask);
    if (memory != nullptr && (memory->access_info & kGvaValid) != 0 &&
        (memory->access_info & kGvaGpaValid) != 0) {
        access.know({.linear = memory->guest_virtual_address,
                     .physical = Gpa(memory->guest_physical_address),
                     .write = header.access == InterceptAccess::kWrite});
    }
    VcpuRegisters after = *before;
    const InstructionResult result = execute_instruction(after, std::as_bytes(bytes), access);
    if (result.outcome == InstructionResult::Outcome::kUnsupported ||
        result.outcome == InstructionResult::Outcome::kFailed) {
        return fault(result.detail);
    }
    if (const auto stored = store_registers(*before, after); !stored) {
        return fault(stored.error().message());
    }
    if (result.outcome == InstructionResult::Outcome::kException) {
        const auto injected =
            inject(result.exception, (header.execution_state & kExecutionCr0Pe) != 0);
        return injected ? std::nullopt : End(fault(injected.error().message()));
    }
    if ((header.execution_state & kExecutionInterruptShadow) != 0 && after.rip != before->rip) {
        if (const auto ended = end_interrupt_shadow(); !ended) {
            return fault(ended.error().message());
        }
    }
    if (result.single_step) {
        if (const auto raised = raise_single_step(); !raised) {
            return fault(raised.error().message());
        }
    }
    return std::nullopt;
}

/// Raises an exception in the guest. In real mode none has an error code.
Result<void> MshvVcpu::inject(const GuestException& exception, bool protected_mode) {
    const bool has_error_code = exception.error_code.has_value() && protected_mode;
    return vp_->set(
        {assign(RegisterName::kPendingEvent0,
                pending_exception(exception.vector, has_error_code,
                                  has_error_code ? *exception.error_code : 0, exception.address))});
}

// ---- registers at an intercept ----

Result<VcpuRegisters> MshvVcpu::intercepted_registers() {
    if (const RegisterPage* const page = usable_page()) {
        VcpuRegisters registers;
        load_from_page(*page, registers);
        return registers;
    }
    return registers();
}

Result<void> MshvVcpu::store_registers(const VcpuRegisters& before, const VcpuRegisters& after) {
    RegisterPage* const page = usable_page();
    // LDT and TR are not on the page.
    if (page != nullptr && before.ldt == after.ldt && before.tr == after.tr) {
        store_to_page(*page, before, after);
        return {};
    }
    return set_changed_registers(*vp_, before, after);
}

}  // namespace halcyon
