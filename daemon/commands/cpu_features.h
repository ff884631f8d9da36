/// What CPUID says, by name.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "accel/vcpu.h"
#include "protocol/json.h"

namespace halcyon {

/// Gives a CPUID leaf; nothing when it cannot be told.
using CpuidFunction = std::function<std::optional<CpuidRegisters>(uint32_t leaf, uint32_t subleaf)>;

/// The properties of a CPU as QEMU's CPU models have them: a boolean for each feature (Intel SDM 2A
/// and AMD APM 3, "CPUID", in QEMU's spelling), then vendor, model-id (strings), family, model,
/// stepping, level, xlevel (numbers). Nothing when CPUID cannot be told.
[[nodiscard]] std::optional<Json> describe_cpu(const CpuidFunction& cpuid);

}  // namespace halcyon
