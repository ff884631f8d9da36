/// Whether an instruction makes an access. Of the undo's innards.
#pragma once

#include <linux/kvm.h>

#include <cstdint>

#include "tools/mshv-emulator/undo.h"
#include "tools/mshv-emulator/undo_decode.h"
#include "tools/mshv-emulator/undo_store.h"

namespace halcyon::emulator {

/// Whether the access is a part of the operand at `linear`, of which the `known` first bytes are
/// `value`. `is_whole`: it is the last part.
bool is_part_of(const GuestAccess& access, uint64_t linear, unsigned size, const uint8_t* value,
                unsigned known, InstructionSource& source, bool& is_whole);
/// The same of a store; one to a port has its value compared alone.
bool is_part_of(const GuestAccess& access, const Store& store, InstructionSource& source,
                bool& is_whole);

bool is_string(const Decoded& decoded);
/// Whether the port that the instruction names, by number or in DX, is `port`.
bool names_port(const OperandView& view, const Decoded& decoded, const kvm_regs& regs,
                uint64_t port);
/// Whether it is OUT, which changes nothing but RIP, with this access.
bool is_out(const OperandView& view, const Decoded& decoded, const kvm_regs& regs,
            const GuestAccess& access);
/// Whether it names vector or floating-point registers.
bool uses_vectors(const Decoded& decoded);

}  // namespace halcyon::emulator
