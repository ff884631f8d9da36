/// The guest's page tables, as its CPUs read them (Intel SDM 3A, chapter 4).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "accel/vcpu.h"
#include "base/result.h"
#include "base/types.h"

namespace halcyon {

/// Copies guest-physical memory; fails where there is none.
using ReadPhysical = std::function<Result<void>(Gpa address, std::span<std::byte> out)>;

/// Where the linear address is in physical memory for a CPU with these registers: itself without
/// paging, else by 32-bit, PAE, 4-level or 5-level paging. Nothing when it is not mapped, not
/// canonical, or a table is not in memory. Rights are not looked at, no bit is set. Outside of long
/// mode an address is 32 bits; what is above them does not count.
[[nodiscard]] std::optional<Gpa> translate_linear(const VcpuRegisters& registers, uint64_t linear,
                                                  const ReadPhysical& read);

/// Copies memory from a linear address on, page by page. Fails with the first address that is not
/// mapped or has no memory behind it; `out` is then filled up to there.
[[nodiscard]] Result<void> read_linear(const VcpuRegisters& registers, uint64_t linear,
                                       std::span<std::byte> out, const ReadPhysical& read);

}  // namespace halcyon
