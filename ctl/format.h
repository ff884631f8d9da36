/// What halcyonctl prints for people.
#pragma once

#include <string>
#include <string_view>

#include "protocol/json.h"

namespace halcyon {

/// `text` without control characters, so that what a guest wrote cannot drive a terminal: they
/// and bytes that are not UTF-8 become \xNN; newlines and tabs stay, unless `one_line`, where they
/// become \n and \t.
[[nodiscard]] std::string printable(std::string_view text, bool one_line);

/// A value as indented "name: value" lines, with its last newline. Nothing for an empty object or
/// list. A string alone is printed as it is.
[[nodiscard]] std::string format_value(const Json& value);

/// "2026-11-23 00:10:12.000345 SHUTDOWN guest=false reason=host-qmp-quit", in local time, with its
/// newline.
[[nodiscard]] std::string format_event(const Json& event);

/// "512 MiB": the largest binary unit that divides `bytes`.
[[nodiscard]] std::string format_bytes(uint64_t bytes);

}  // namespace halcyon
