/// UTF-8: one character at a time.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace halcyon {

/// The first character of a text.
struct Utf8Character {
    char32_t code_point = 0;
    /// How many bytes it takes; of a malformed sequence, how many to skip. At least 1.
    size_t length = 1;
    /// False for what is not UTF-8: stray and missing continuation bytes, overlong forms,
    /// surrogates, numbers above U+10FFFF.
    bool valid = false;
};

/// Decodes the character at the front of `text`, which is not empty.
[[nodiscard]] Utf8Character decode_utf8(std::string_view text);

/// Appends `code_point`, which is a Unicode scalar value, to `out`.
void append_utf8(std::string& out, char32_t code_point);

[[nodiscard]] constexpr bool is_high_surrogate(char32_t code_point) {
    return code_point >= 0xd800 && code_point <= 0xdbff;
}
[[nodiscard]] constexpr bool is_low_surrogate(char32_t code_point) {
    return code_point >= 0xdc00 && code_point <= 0xdfff;
}
/// Unicode 3.4, D14: U+FDD0..U+FDEF and the last two of each plane are never characters.
[[nodiscard]] constexpr bool is_noncharacter(char32_t code_point) {
    return (code_point >= 0xfdd0 && code_point <= 0xfdef) || (code_point & 0xfffe) == 0xfffe;
}

}  // namespace halcyon
