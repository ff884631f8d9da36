#include "tools/mshv-emulator/message.h"

#include <algorithm>

#include "tools/mshv-emulator/registers.h"

namespace halcyon::emulator {

namespace {

constexpr uint64_t kCr0Pe = 1U << 0;
constexpr uint64_t kCr0Am = 1U << 18;
constexpr uint64_t kEferLma = 1U << 10;
constexpr uint64_t kRflagsVm = 1U << 17;

/// hv_unsupported_feature_code: an intercept that there is no message for.
constexpr uint32_t kUnsupportedIntercept = 1;

uint16_t execution_state(const kvm_sync_regs& state) {
    const kvm_sregs& sregs = state.sregs;
    uint16_t result = 0;
    if ((sregs.cr0 & kCr0Pe) != 0) {
        result |= mshv::kExecutionCr0Pe;
        // CPL is SS.DPL (Intel SDM 3A 5.5, 3C 25.4.1), 3 in virtual-8086 mode.
        result |= (state.regs.rflags & kRflagsVm) != 0 ? 3U : sregs.ss.dpl & 3U;
    }
    if ((sregs.cr0 & kCr0Am) != 0) {
        result |= mshv::kExecutionCr0Am;
    }
    if ((sregs.efer & kEferLma) != 0) {
        result |= mshv::kExecutionEferLma;
    }
    const kvm_vcpu_events& events = state.events;
    if (events.exception.injected != 0 || events.interrupt.injected != 0 ||
        events.nmi.injected != 0) {
        result |= mshv::kExecutionInterruptionPending;
    }
    if (events.interrupt.shadow != 0) {
        result |= mshv::kExecutionInterruptShadow;
    }
    return result;
}

void put_bytes(const InstructionBytes& from, uint8_t& count,
               uint8_t (&bytes)[mshv::kInstructionBytes]) {
    count = from.count;
    std::copy_n(from.bytes.begin(), from.count, bytes);
}

}  // namespace

mshv::InterceptHeader intercept_header(const MessageState& from, unsigned length,
                                       mshv::InterceptAccess access) {
    mshv::InterceptHeader header{};
    header.vp_index = from.vp_index;
    header.length_and_cr8 =
        static_cast<uint8_t>((length & 0xfU) | (from.state.sregs.cr8 & 0xfU) << 4);
    header.access = access;
    header.execution_state = execution_state(from.state);
    header.cs = to_segment(from.state.sregs.cs);
    header.rip = from.state.regs.rip;
    header.rflags = from.state.regs.rflags;
    return header;
}

mshv::Message header_message(const MessageState& from, mshv::MessageType type, unsigned length) {
    return make_message(type, intercept_header(from, length, mshv::InterceptAccess::kExecute));
}

mshv::Message io_port_message(const MessageState& from, const GuestAccess& access,
                              const FoundInstruction& found, const InstructionBytes& bytes) {
    const kvm_regs& regs = from.state.regs;
    mshv::IoPortIntercept payload{};
    payload.header = intercept_header(
        from, found.length,
        access.is_write ? mshv::InterceptAccess::kWrite : mshv::InterceptAccess::kRead);
    payload.port = static_cast<uint16_t>(access.address);
    payload.access_info = static_cast<uint8_t>((access.size & 7U) | (found.is_string ? 8U : 0) |
                                               (found.has_rep ? 16U : 0));
    payload.rax = regs.rax;
    put_bytes(bytes, payload.instruction_byte_count, payload.instruction_bytes);
    payload.ds = to_segment(from.state.sregs.ds);
    payload.es = to_segment(from.state.sregs.es);
    payload.rcx = regs.rcx;
    payload.rsi = regs.rsi;
    payload.rdi = regs.rdi;
    return make_message(mshv::MessageType::kX64IoPortIntercept, payload);
}

mshv::Message memory_message(const MessageState& from, mshv::MessageType type, uint64_t gpa,
                             std::optional<uint64_t> linear, mshv::InterceptAccess access,
                             const InstructionBytes& bytes) {
    // The header's length of a memory intercept means nothing: 0.
    mshv::MemoryIntercept payload{};
    payload.header = intercept_header(from, 0, access);
    put_bytes(bytes, payload.instruction_byte_count, payload.instruction_bytes);
    payload.tpr_priority = static_cast<uint8_t>(from.state.sregs.cr8 & 0xfU);
    payload.guest_physical_address = gpa;
    if (linear) {
        payload.access_info = mshv::kGvaValid | mshv::kGvaGpaValid;
        payload.guest_virtual_address = *linear;
    }
    return make_message(type, payload);
}

mshv::Message msr_message(const MessageState& from, uint32_t msr, bool is_write) {
    constexpr unsigned kLength = 2;  // RDMSR and WRMSR
    mshv::MsrIntercept payload{};
    payload.header = intercept_header(
        from, kLength, is_write ? mshv::InterceptAccess::kWrite : mshv::InterceptAccess::kRead);
    payload.msr = msr;
    payload.rdx = from.state.regs.rdx;
    payload.rax = from.state.regs.rax;
    return make_message(mshv::MessageType::kX64MsrIntercept, payload);
}

mshv::Message exception_message(const MessageState& from, uint16_t vector, uint64_t parameter,
                                unsigned length, const InstructionBytes& bytes) {
    mshv::ExceptionIntercept payload{};
    payload.header = intercept_header(from, length, mshv::InterceptAccess::kExecute);
    payload.vector = vector;
    payload.parameter = parameter;
    put_bytes(bytes, payload.instruction_byte_count, payload.instruction_bytes);
    payload.ds = to_segment(from.state.sregs.ds);
    payload.ss = to_segment(from.state.sregs.ss);
    for (unsigned i = 0; i < 16; ++i) {
        payload.gpr[i] = general(from.state.regs, i);
    }
    return make_message(mshv::MessageType::kX64ExceptionIntercept, payload);
}

mshv::Message deliverable_message(const MessageState& from, uint32_t type) {
    mshv::InterruptionDeliverable payload{};
    payload.header = intercept_header(from, 0, mshv::InterceptAccess::kExecute);
    payload.type = type;
    return make_message(mshv::MessageType::kX64InterruptionDeliverable, payload);
}

mshv::Message eoi_message(uint32_t vp_index, uint32_t vector) {
    return make_message(mshv::MessageType::kX64ApicEoi,
                        mshv::ApicEoi{.vp_index = vp_index, .vector = vector});
}

mshv::Message unsupported_message(uint32_t vp_index, uint64_t parameter) {
    return make_message(
        mshv::MessageType::kUnsupportedFeature,
        mshv::UnsupportedFeature{
            .vp_index = vp_index, .code = kUnsupportedIntercept, .parameter = parameter});
}

mshv::Message invalid_register_message(uint32_t vp_index) {
    return make_message(mshv::MessageType::kInvalidVpRegisterValue,
                        mshv::VpMessage{.vp_index = vp_index, .reserved = 0});
}

}  // namespace halcyon::emulator
