/// Register map of QEMU's debug console (QEMU, hw/char/debugcon.c: "isa-debugcon").
#pragma once

#include <cstdint>

namespace halcyon::debugcon {

/// Ports it occupies.
inline constexpr uint64_t kPortCount = 1;
/// What reading the port gives: firmware looks for it before it writes.
inline constexpr uint8_t kReadback = 0xE9;

}  // namespace halcyon::debugcon
