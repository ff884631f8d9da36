/// From linear to guest-physical addresses, by a vCPU's page tables.
#pragma once

#include <cstdint>
#include <optional>

#include "accel/vcpu.h"
#include "base/types.h"
#include "machine/memory_view.h"

namespace halcyon {

/// Where the vCPU with these registers finds `linear`; nothing when the page is not present, the
/// address is not canonical, or a table is not in memory. Access rights do not matter, and no
/// accessed or dirty bit is set. Paging modes of the Intel SDM 3A, chapter 4: none, 32-bit, PAE,
/// 4-level and 5-level.
[[nodiscard]] std::optional<Gpa> translate(const VcpuRegisters& registers, const MemoryView& memory,
                                           uint64_t linear);

}  // namespace halcyon
