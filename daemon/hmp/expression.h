/// Expressions of the human monitor: numbers, registers, arithmetic.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "base/result.h"

namespace halcyon::hmp {

/// The value of "$NAME"; nothing when there is no such register.
using RegisterLookup = std::function<std::optional<int64_t>(std::string_view name)>;

/// Reads an expression off the front of `text`, up to what can be no part of one. 64-bit arithmetic
/// that wraps. In the order of binding: `* / %`, `& | ^`, `+ -` (QEMU's order), with unary
/// `+ - ~`, parentheses, character constants and C's number prefixes. Fails in QEMU's words.
[[nodiscard]] Result<int64_t> read_expression(std::string_view& text,
                                              const RegisterLookup& registers);

}  // namespace halcyon::hmp
