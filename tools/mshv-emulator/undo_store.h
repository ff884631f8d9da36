/// What an instruction that has been carried out stored, and the registers before it. Of the undo's
/// innards.
#pragma once

#include <linux/kvm.h>

#include <array>
#include <cstdint>
#include <optional>

#include "tools/mshv-emulator/undo.h"
#include "tools/mshv-emulator/undo_decode.h"

namespace halcyon::emulator {

struct Store {
    kvm_regs before = {};
    uint64_t linear = 0;
    unsigned size = 0;   ///< bytes
    unsigned known = 0;  ///< how many of them, from the first, are in `value`
    std::array<uint8_t, 16> value = {};
};

/// The store of the instruction at `start` that ends at `next` and left the registers `after`;
/// nothing when it stores nothing, or cannot have left these registers. Its address and value are
/// not compared with anything.
std::optional<Store> store_of(const OperandView& view, const Decoded& decoded,
                              const kvm_regs& after, uint64_t start, uint64_t next,
                              const GuestAccess& access, InstructionSource& source);

}  // namespace halcyon::emulator
