/// A candidate for the instruction that made a store, being looked at. Of the undo's innards.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <optional>

#include "tools/mshv-emulator/undo.h"
#include "tools/mshv-emulator/undo_decode.h"
#include "tools/mshv-emulator/undo_store.h"

namespace halcyon::emulator {

struct Question {
    const OperandView& view;
    const Decoded& decoded;
    const kvm_regs& after;
    uint64_t next;
    const GuestAccess& access;
    InstructionSource& source;
};

/// At most 8 bytes of what is stored.
void set_value(Store& store, uint64_t value);
/// A number in the guest's memory, of at most 8 bytes.
std::optional<uint64_t> read_integer(InstructionSource& source, uint64_t linear, unsigned size);
/// The second operand that the instruction names, a number or a register.
std::optional<uint64_t> second_operand(const Question& question);

/// Completes the store of an instruction that reads what it then overwrites: only in memory that
/// can be read, since KVM leaves for the read of everything else. False when it cannot have been.
bool read_modify_write(const Question& question, Store& store);

}  // namespace halcyon::emulator
