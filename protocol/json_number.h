/// Conversion of a JSON number token.
#pragma once

#include <optional>
#include <string_view>

#include "protocol/json.h"

namespace halcyon {

/// The value of a complete, well-formed number token: an int64 or else a uint64 if `integer` (no
/// fraction, no exponent) and it fits, otherwise the nearest double. Nothing when it is beyond
/// every double; what is too small for one is zero.
[[nodiscard]] std::optional<Json> decode_json_number(std::string_view token, bool integer);

}  // namespace halcyon
