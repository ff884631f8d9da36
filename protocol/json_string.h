/// Decoding of a JSON string token.
#pragma once

#include <string>
#include <string_view>
#include <variant>

namespace halcyon {

/// Why a string token is malformed, in QEMU's words.
struct StringFault {
    std::string text;
};

/// The text of `token`, a complete string token with its quotes, as UTF-8; or its first fault.
///
/// The input is "modified UTF-8": C0 80 stands for U+0000. Other malformed sequences and
/// noncharacters are refused, raw or escaped, as are surrogate escapes without their other half.
[[nodiscard]] std::variant<std::string, StringFault> decode_json_string(std::string_view token);

}  // namespace halcyon
