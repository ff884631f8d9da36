/// The messages that RUN_VP gives, made from a vCPU's state at the intercepted instruction.
#pragma once

#include <linux/kvm.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>

#include "accel/mshv/mshv_messages.h"
#include "tools/mshv-emulator/undo.h"

namespace halcyon::emulator {

/// An instruction's first bytes, as a message has them.
struct InstructionBytes {
    uint8_t count = 0;
    std::array<uint8_t, mshv::kInstructionBytes> bytes = {};
};

/// What all messages are made from.
struct MessageState {
    const kvm_sync_regs& state;  ///< at the intercepted instruction
    uint32_t vp_index;
};

template <typename Payload>
mshv::Message make_message(mshv::MessageType type, const Payload& payload) {
    static_assert(sizeof(Payload) <= mshv::kMessagePayloadSize);
    mshv::Message message{};
    message.type = type;
    message.payload_size = sizeof(Payload);
    std::memcpy(message.payload, &payload, sizeof(Payload));
    return message;
}

mshv::InterceptHeader intercept_header(const MessageState& from, unsigned length,
                                       mshv::InterceptAccess access);
/// Those that are the header alone: HALT, UNRECOVERABLE_EXCEPTION.
mshv::Message header_message(const MessageState& from, mshv::MessageType type, unsigned length);
mshv::Message io_port_message(const MessageState& from, const GuestAccess& access,
                              const FoundInstruction& found, const InstructionBytes& bytes);
/// `linear` when it is known to be the address of the access.
mshv::Message memory_message(const MessageState& from, mshv::MessageType type, uint64_t gpa,
                             std::optional<uint64_t> linear, mshv::InterceptAccess access,
                             const InstructionBytes& bytes);
mshv::Message msr_message(const MessageState& from, uint32_t msr, bool is_write);
mshv::Message exception_message(const MessageState& from, uint16_t vector, uint64_t parameter,
                                unsigned length, const InstructionBytes& bytes);
/// `type` as in a pending interruption: 0 external, 2 NMI.
mshv::Message deliverable_message(const MessageState& from, uint32_t type);
mshv::Message eoi_message(uint32_t vp_index, uint32_t vector);
mshv::Message unsupported_message(uint32_t vp_index, uint64_t parameter);
mshv::Message invalid_register_message(uint32_t vp_index);

}  // namespace halcyon::emulator
