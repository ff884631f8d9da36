/// JsonLexer: the tokens of QEMU's dialect of JSON, out of bytes that arrive in any pieces.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace halcyon {

enum class JsonTokenKind {
    kNone,  ///< the input is used up and no token is complete
    kObjectBegin,
    kObjectEnd,
    kArrayBegin,
    kArrayEnd,
    kColon,
    kComma,
    kString,   ///< with its quotes, escapes not decoded
    kInteger,  ///< no fraction and no exponent
    kFloat,
    kKeyword,  ///< a run of lower-case letters
    kError,    ///< a lexical error; the text is what was read of the token, offending byte included
    kTooLong,  ///< the token exceeds the caller's budget; it was dropped
};

struct JsonToken {
    JsonTokenKind kind = JsonTokenKind::kNone;
    /// Valid until the lexer is used again or the input goes away.
    std::string_view text;
};

/// Splits bytes into tokens. The dialect is RFC 8259 plus strings in single quotes, with QEMU's
/// rule for numbers that no exponent may follow a bare zero.
///
/// After a lexical error it skips to a control character other than TAB, to one of `[]{}:,`, or to
/// the bytes 0xFE and 0xFF (which no UTF-8 text contains), and reads that one normally.
/// Time is linear in the bytes, however they are split; memory is the unfinished token.
class JsonLexer {
public:
    /// Takes bytes off the front of `input` until a token is complete. `budget` is the greatest
    /// length that a token may have.
    [[nodiscard]] JsonToken next(std::string_view& input, size_t budget);

    /// Forgets the unfinished token.
    void reset();

private:
    enum class State {
        kStart,
        kRecovery,
        kString,
        kStringEscape,
        kSign,
        kZero,
        kDigits,
        kPoint,
        kFraction,
        kExponent,
        kExponentSign,
        kExponentDigits,
        kKeyword,
    };
    /// What a byte does to the token being read.
    enum class Step { kMore, kEndBefore, kEndAfter, kError };

    [[nodiscard]] JsonToken start(std::string_view& input, size_t budget);
    [[nodiscard]] JsonToken resume(std::string_view& input, size_t length, size_t budget);
    [[nodiscard]] JsonToken finish(std::string_view& input, size_t length, JsonTokenKind kind);
    [[nodiscard]] Step step(unsigned char byte);
    [[nodiscard]] Step step_string(unsigned char byte);
    /// The next three read a number; `state_` is one of its first, second or third part.
    [[nodiscard]] Step step_integer(unsigned char byte);
    [[nodiscard]] Step step_fraction(unsigned char byte);
    [[nodiscard]] Step step_exponent(unsigned char byte);
    [[nodiscard]] Step enter(State state);
    [[nodiscard]] size_t plain_string_bytes(std::string_view bytes) const;
    [[nodiscard]] JsonTokenKind kind_of_state() const;
    void recover(std::string_view& input);
    void drop_partial();

    State state_ = State::kStart;
    char quote_ = '"';
    std::string partial_;  ///< the unfinished token's bytes of earlier inputs
    bool stale_ = false;   ///< `partial_` is the text of a token already given out
};

}  // namespace halcyon
