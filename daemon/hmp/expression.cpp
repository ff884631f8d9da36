#include "daemon/hmp/expression.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <string>

namespace halcyon::hmp {

namespace {

/// How deep parentheses and signs may nest.
constexpr unsigned kMaxDepth = 64;

bool is_space(char character) {
    return std::isspace(static_cast<unsigned char>(character)) != 0;
}

class Parser {
public:
    Parser(std::string_view text, const RegisterLookup& registers)
        : text_(text), registers_(registers) {
        skip_spaces();
    }

    [[nodiscard]] std::string_view rest() const { return text_; }

    // Wrapping arithmetic is unsigned.
    Result<int64_t> sum() {
        auto value = static_cast<uint64_t>(TRY(logic()));
        while (next() == '+' || next() == '-') {
            const char operation = take();
            const auto right = static_cast<uint64_t>(TRY(logic()));
            value = operation == '+' ? value + right : value - right;
        }
        return static_cast<int64_t>(value);
    }

private:
    [[nodiscard]] char next() const { return text_.empty() ? '\0' : text_.front(); }
    void skip_spaces() {
        while (!text_.empty() && is_space(text_.front())) {
            text_.remove_prefix(1);
        }
    }
    /// The next character, and the spaces behind it.
    char take() {
        const char character = text_.front();
        text_.remove_prefix(1);
        skip_spaces();
        return character;
    }

    Result<int64_t> logic() {
        int64_t value = TRY(product());
        while (next() == '&' || next() == '|' || next() == '^') {
            const char operation = take();
            const int64_t right = TRY(product());
            value = operation == '&'   ? value & right
                    : operation == '|' ? value | right
                                       : value ^ right;
        }
        return value;
    }

    Result<int64_t> product() {
        int64_t value = TRY(unary());
        while (next() == '*' || next() == '/' || next() == '%') {
            const char operation = take();
            const int64_t right = TRY(unary());
            if (operation == '*') {
                value = static_cast<int64_t>(static_cast<uint64_t>(value) *
                                             static_cast<uint64_t>(right));
                continue;
            }
            if (right == 0) {
                return Error("division by zero");
            }
            if (right == -1) {  // the one quotient that overflows
                value = operation == '/' ? static_cast<int64_t>(-static_cast<uint64_t>(value)) : 0;
            } else {
                value = operation == '/' ? value / right : value % right;
            }
        }
        return value;
    }

    Result<int64_t> unary() {
        if (++depth_ > kMaxDepth) {
            return Error("expression nests too deep");
        }
        Result<int64_t> value = unary_at_depth();
        --depth_;
        return value;
    }

    Result<int64_t> unary_at_depth() {
        switch (next()) {
            case '+':
                take();
                return unary();
            case '-':
                take();
                return static_cast<int64_t>(-static_cast<uint64_t>(TRY(unary())));
            case '~':
                take();
                return ~TRY(unary());
            case '(': {
                take();
                const int64_t value = TRY(sum());
                if (next() != ')') {
                    return Error("')' expected");
                }
                take();
                return value;
            }
            case '\'':
                return character();
            case '$':
                return register_value();
            case '\0':
                return Error("unexpected end of expression");
            default:
                return number();
        }
    }

    Result<int64_t> character() {
        text_.remove_prefix(1);
        if (text_.empty()) {
            return Error("character constant expected");
        }
        const auto value = static_cast<unsigned char>(text_.front());
        text_.remove_prefix(1);
        if (next() != '\'') {
            return Error("missing terminating \' character");
        }
        take();
        return value;
    }

    Result<int64_t> register_value() {
        text_.remove_prefix(1);
        const auto end = std::ranges::find_if(text_, [](char c) {
            return std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '_' && c != '.';
        });
        const auto length = static_cast<size_t>(end - text_.begin());
        const std::optional<int64_t> value = registers_(text_.substr(0, length));
        if (!value) {
            return Error("unknown register");
        }
        text_.remove_prefix(length);
        skip_spaces();
        return *value;
    }

    Result<int64_t> number() {
        std::string_view digits = text_;
        int base = 10;
        const bool prefixed = digits.starts_with("0x") || digits.starts_with("0X");
        if (prefixed && digits.size() > 2 &&
            std::isxdigit(static_cast<unsigned char>(digits[2])) != 0) {
            base = 16;
            digits.remove_prefix(2);
        } else if (digits.starts_with('0')) {
            base = 8;
        }
        uint64_t value = 0;
        const auto [end, fault] =
            std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
        if (fault == std::errc::result_out_of_range) {
            return Error("number too large");
        }
        if (fault != std::errc()) {
            return Error("invalid char '" + std::string(1, next()) + "' in expression");
        }
        text_.remove_prefix(static_cast<size_t>(end - text_.data()));
        skip_spaces();
        return static_cast<int64_t>(value);
    }

    std::string_view text_;
    const RegisterLookup& registers_;
    unsigned depth_ = 0;
};

}  // namespace

Result<int64_t> read_expression(std::string_view& text, const RegisterLookup& registers) {
    Parser parser(text, registers);
    const int64_t value = TRY(parser.sum());
    text = parser.rest();
    return value;
}

}  // namespace halcyon::hmp
