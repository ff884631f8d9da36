/// Base64 (RFC 4648 section 4), as QMP arguments and answers spell bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace halcyon {

[[nodiscard]] std::string encode_base64(std::string_view bytes);
/// Nothing when it is malformed: a foreign character, missing or misplaced padding.
[[nodiscard]] std::optional<std::string> decode_base64(std::string_view text);

}  // namespace halcyon
