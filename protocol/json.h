/// The JSON value of the protocol, and how it is written on the wire.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace halcyon {

/// A JSON value: integers are exact from INT64_MIN to UINT64_MAX, objects are sorted by key.
using Json = nlohmann::json;

/// `value` on one line, without spaces a reader would not need, in ASCII only: every character but
/// 0x20..0x7e is written as \uXXXX, those above the basic plane as a surrogate pair. Integers are
/// exact; other numbers have up to 17 significant digits, so that reading them gives the same
/// double. Never fails: bytes of a string that are not UTF-8 become U+FFFD, and a number that JSON
/// cannot express (an infinity, a NaN) becomes null.
[[nodiscard]] std::string to_wire(const Json& value);

/// The same value spread over indented lines separated by CR LF, for people (QEMU's `pretty=on`).
[[nodiscard]] std::string to_wire_pretty(const Json& value);

/// Appends `text` (UTF-8) to `out` as a quoted JSON string by the rules of `to_wire`.
void append_wire_string(std::string& out, std::string_view text);

}  // namespace halcyon
