/// How x/i and xp/i show instructions.
#pragma once

#include <cstdint>
#include <string>

#include "accel/vcpu.h"
#include "daemon/hmp/memory_dump.h"

namespace halcyon::hmp {

/// What the bits of code mean.
enum class CodeWidth { k16, k32, k64 };

/// That of the code a vCPU runs: its mode and code segment (Intel SDM 3A, 3.4.5).
[[nodiscard]] CodeWidth code_width(const VcpuRegisters& registers);

/// The lines that show `count` instructions from `address` on, in AT&T's syntax, up to what cannot
/// be read. A byte that begins none has a line of its own.
[[nodiscard]] std::string disassemble(uint64_t address, uint64_t count, CodeWidth width,
                                      const ReadMemory& read);

}  // namespace halcyon::hmp
