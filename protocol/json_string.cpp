#include "protocol/json_string.h"

#include <cstddef>
#include <optional>

#include "protocol/utf8.h"

namespace halcyon {

namespace {

/// The length of a \uXXXX escape.
constexpr size_t kUnicodeEscapeBytes = 6;

/// Reads the body of one string token from its front to its end.
class StringDecoder {
public:
    explicit StringDecoder(std::string_view token)
        : token_(token), end_(token.size() - 1), position_(1) {}

    std::variant<std::string, StringFault> decode() {
        while (position_ < end_ && fault_.empty()) {
            if (token_[position_] == '\\') {
                decode_escape();
            } else {
                decode_raw();
            }
        }
        if (!fault_.empty()) {
            return StringFault{std::move(fault_)};
        }
        return std::move(text_);
    }

private:
    void decode_raw() {
        // The longest run of ASCII at once: most strings are nothing else.
        size_t run = position_;
        while (run < end_ && token_[run] != '\\' &&
               static_cast<unsigned char>(token_[run]) < 0x80) {
            ++run;
        }
        if (run > position_) {
            text_.append(token_, position_, run - position_);
            position_ = run;
            return;
        }
        const std::string_view rest = token_.substr(position_, end_ - position_);
        if (rest.substr(0, 2) == "\xc0\x80") {
            text_.push_back('\0');
            position_ += 2;
            return;
        }
        const Utf8Character character = decode_utf8(rest);
        if (!character.valid || is_noncharacter(character.code_point)) {
            fault_ = "invalid UTF-8 sequence in string";
            return;
        }
        text_.append(rest, 0, character.length);
        position_ += character.length;
    }

    void decode_escape() {
        // The lexer saw to it that a byte follows every backslash.
        const char letter = token_[position_ + 1];
        if (letter == 'u') {
            decode_unicode_escape();
            return;
        }
        const std::optional<char> plain = simple_escape(letter);
        if (!plain) {
            fault_ = "invalid escape sequence in string";
            return;
        }
        text_.push_back(*plain);
        position_ += 2;
    }

    static std::optional<char> simple_escape(char letter) {
        switch (letter) {
            case '"':
            case '\'':
            case '\\':
            case '/':
                return letter;
            case 'b':
                return '\b';
            case 'f':
                return '\f';
            case 'n':
                return '\n';
            case 'r':
                return '\r';
            case 't':
                return '\t';
        }
        return std::nullopt;
    }

    void decode_unicode_escape() {
        std::optional<char32_t> code_point = hex_escape(position_);
        size_t length = kUnicodeEscapeBytes;
        if (code_point && is_high_surrogate(*code_point)) {
            const std::optional<char32_t> low = hex_escape(position_ + length);
            if (low && is_low_surrogate(*low)) {
                code_point = 0x10000 + ((*code_point & 0x3ff) << 10) + (*low & 0x3ff);
                length += kUnicodeEscapeBytes;
            }
        }
        if (!code_point || is_high_surrogate(*code_point) || is_low_surrogate(*code_point) ||
            is_noncharacter(*code_point)) {
            fault_ =
                std::string(token_.substr(position_, length)) + " is not a valid Unicode character";
            return;
        }
        append_utf8(text_, *code_point);
        position_ += length;
    }

    /// The number of the \uXXXX escape at `at`, if there is one.
    [[nodiscard]] std::optional<char32_t> hex_escape(size_t at) const {
        if (at + kUnicodeEscapeBytes > end_ || token_.substr(at, 2) != "\\u") {
            return std::nullopt;
        }
        char32_t value = 0;
        for (const char c : token_.substr(at + 2, 4)) {
            unsigned digit = 0;
            if (c >= '0' && c <= '9') {
                digit = static_cast<unsigned>(c - '0');
            } else if (c >= 'a' && c <= 'f') {
                digit = static_cast<unsigned>(c - 'a') + 10;
            } else if (c >= 'A' && c <= 'F') {
                digit = static_cast<unsigned>(c - 'A') + 10;
            } else {
                return std::nullopt;
            }
            value = value << 4 | digit;
        }
        return value;
    }

    std::string_view token_;
    size_t end_;  ///< of the closing quote
    size_t position_;
    std::string text_;
    std::string fault_;
};

}  // namespace

std::variant<std::string, StringFault> decode_json_string(std::string_view token) {
    return StringDecoder(token).decode();
}

}  // namespace halcyon
