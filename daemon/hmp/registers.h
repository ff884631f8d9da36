/// A vCPU's registers as the human monitor names and shows them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "accel/vcpu.h"

namespace halcyon::hmp {

/// The register that "$NAME" stands for in an expression; nothing when there is none.
[[nodiscard]] std::optional<int64_t> find_register(const VcpuRegisters& registers,
                                                   std::string_view name);

/// The lines of "info registers", in the layout that fits the present mode.
[[nodiscard]] std::string format_registers(const VcpuRegisters& registers);

}  // namespace halcyon::hmp
