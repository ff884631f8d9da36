/// Register map of the POST code port (IBM PC/AT Technical Reference: the manufacturing test port).
#pragma once

#include <cstdint>

namespace halcyon::post_code {

/// Ports it occupies.
inline constexpr uint64_t kPortCount = 1;

}  // namespace halcyon::post_code
