/// JsonReader: QEMU's dialect of JSON, read as the bytes come.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "protocol/json.h"
#include "protocol/json_lexer.h"

namespace halcyon {

/// A complete message of a client: its value, or why it is none ("JSON parse error, ...").
struct Frame {
    std::variant<Json, std::string> content;

    [[nodiscard]] bool is_error() const { return content.index() == 1; }
    [[nodiscard]] Json& value() { return std::get<0>(content); }
    [[nodiscard]] const std::string& error() const { return std::get<1>(content); }
};

/// Builds one value after the other from a stream of bytes without delimiters.
///
/// A lexical error or an exceeded limit ends the message at once; what follows is read as a new
/// one. Any other fault is told when the brackets of the message are balanced (or one too many
/// closes), as the message's only error. Time is linear in the bytes; memory is bounded by the
/// limits. Main thread only.
class JsonReader {
public:
    /// Brackets open at once (QEMU's MAX_NESTING).
    static constexpr size_t kMaxNesting = 1024;
    /// Tokens of one message (QEMU's MAX_TOKEN_COUNT).
    static constexpr size_t kMaxTokens = size_t{1} << 21;
    /// Bytes of all tokens of one message (QEMU's MAX_TOKEN_SIZE).
    static constexpr size_t kMaxTokenBytes = size_t{64} << 20;
    /// Bytes of an error text after "JSON parse error, "; the rest is cut off (QEMU's buffer).
    static constexpr size_t kMaxErrorBytes = 1023;

    /// Takes bytes off the front of `input` until a message is complete; nothing when `input` is
    /// used up first.
    [[nodiscard]] std::optional<Frame> read(std::string_view& input);

    /// Forgets the partial message.
    void reset();

private:
    /// What may come next inside an open bracket.
    enum class Expect {
        kFirstKey,    ///< a key or `}`
        kKey,         ///< a key, after a comma
        kColon,       ///< `:`
        kValue,       ///< the value of a key, or an element after a comma
        kFirstValue,  ///< an element or `]`
        kSeparator,   ///< `,` or the closing bracket
    };
    struct Level {
        Json container;
        Expect expect;
        std::string key;
    };

    [[nodiscard]] std::optional<Frame> on_token(const JsonToken& token);
    [[nodiscard]] const char* exceeded_limit(const JsonToken& token);
    void count_brackets(JsonTokenKind kind);
    void parse(const JsonToken& token);
    void parse_punctuation(JsonTokenKind kind);
    void parse_value(const JsonToken& token);
    void parse_keyword(std::string_view text);
    void open(Json container, Expect expect);
    void close();
    void complete(Json value);
    void fail(std::string_view text);
    [[nodiscard]] bool value_allowed() const;
    [[nodiscard]] Frame take_result();

    JsonLexer lexer_;
    std::vector<Level> levels_;
    std::optional<Json> result_;
    std::optional<std::string> error_;  ///< the message's first fault; the rest is only counted
    // Signed, because a message with one closing bracket too many is complete too.
    long braces_ = 0;
    long brackets_ = 0;
    size_t tokens_ = 0;
    size_t token_bytes_ = 0;
};

}  // namespace halcyon
