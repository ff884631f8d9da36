#include "protocol/json_lexer.h"

#include <algorithm>

namespace halcyon {

namespace {

constexpr bool is_digit(unsigned char byte) {
    return byte >= '0' && byte <= '9';
}

constexpr bool begins_exponent(unsigned char byte) {
    return byte == 'e' || byte == 'E';
}

constexpr bool is_lower(unsigned char byte) {
    return byte >= 'a' && byte <= 'z';
}

constexpr bool is_space(unsigned char byte) {
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

/// Bytes that are an error even inside a string: control characters, and the two that no form of
/// UTF-8 uses.
constexpr bool is_forbidden(unsigned char byte) {
    return byte < 0x20 || byte >= 0xfe;
}

constexpr JsonTokenKind punctuation(unsigned char byte) {
    switch (byte) {
        case '{':
            return JsonTokenKind::kObjectBegin;
        case '}':
            return JsonTokenKind::kObjectEnd;
        case '[':
            return JsonTokenKind::kArrayBegin;
        case ']':
            return JsonTokenKind::kArrayEnd;
        case ':':
            return JsonTokenKind::kColon;
        case ',':
            return JsonTokenKind::kComma;
    }
    return JsonTokenKind::kNone;
}

constexpr bool ends_recovery(unsigned char byte) {
    return (is_forbidden(byte) && byte != '\t') || punctuation(byte) != JsonTokenKind::kNone;
}

}  // namespace

JsonToken JsonLexer::next(std::string_view& input, size_t budget) {
    if (stale_) {
        drop_partial();
    }
    if (state_ == State::kRecovery) {
        recover(input);
    }
    if (input.empty()) {
        return {};
    }
    if (state_ == State::kStart) {
        return start(input, budget);
    }
    return resume(input, 0, budget);
}

void JsonLexer::reset() {
    state_ = State::kStart;
    drop_partial();
}

void JsonLexer::drop_partial() {
    // A client that once sent a huge token must not cost its memory for ever.
    static constexpr size_t kSpareBytes = 4096;
    if (partial_.capacity() > kSpareBytes) {
        std::string().swap(partial_);  // an assignment would keep the memory
    }
    partial_.clear();
    stale_ = false;
}

void JsonLexer::recover(std::string_view& input) {
    while (!input.empty()) {
        if (ends_recovery(static_cast<unsigned char>(input.front()))) {
            state_ = State::kStart;
            return;
        }
        input.remove_prefix(1);
    }
}

JsonToken JsonLexer::start(std::string_view& input, size_t budget) {
    while (!input.empty() && is_space(static_cast<unsigned char>(input.front()))) {
        input.remove_prefix(1);
    }
    if (input.empty()) {
        return {};
    }
    const auto byte = static_cast<unsigned char>(input.front());
    const JsonTokenKind kind = punctuation(byte);
    if (kind != JsonTokenKind::kNone) {
        return finish(input, 1, kind);
    }
    if (byte == '"' || byte == '\'') {
        quote_ = static_cast<char>(byte);
        state_ = State::kString;
    } else if (byte == '-') {
        state_ = State::kSign;
    } else if (byte == '0') {
        state_ = State::kZero;
    } else if (is_digit(byte)) {
        state_ = State::kDigits;
    } else if (is_lower(byte)) {
        state_ = State::kKeyword;
    } else {
        return finish(input, 1, JsonTokenKind::kError);
    }
    return resume(input, 1, budget);
}

/// Goes on with the token of which the first `length` bytes of `input` are known to be part.
JsonToken JsonLexer::resume(std::string_view& input, size_t length, size_t budget) {
    // One byte beyond the budget is enough to know that the token is too long.
    const size_t room = budget + 1 - std::min(budget + 1, partial_.size());
    const std::string_view window = input.substr(0, room);
    while (length < window.size()) {
        length += plain_string_bytes(window.substr(length));
        if (length == window.size()) {
            break;
        }
        switch (step(static_cast<unsigned char>(window[length]))) {
            case Step::kMore:
                ++length;
                break;
            case Step::kEndBefore:
                return finish(input, length, kind_of_state());
            case Step::kEndAfter:
                return finish(input, length + 1, kind_of_state());
            case Step::kError:
                return finish(input, length + 1, JsonTokenKind::kError);
        }
    }
    if (partial_.size() + length > budget) {
        input.remove_prefix(length);
        reset();
        return {.kind = JsonTokenKind::kTooLong, .text = {}};
    }
    partial_.append(window, 0, length);
    input.remove_prefix(length);
    return {};
}

/// Gives out the token whose last `length` bytes are at the front of `input`.
JsonToken JsonLexer::finish(std::string_view& input, size_t length, JsonTokenKind kind) {
    std::string_view text = input.substr(0, length);
    if (!partial_.empty()) {
        partial_.append(text);
        text = partial_;
        stale_ = true;
    }
    input.remove_prefix(length);
    state_ = kind == JsonTokenKind::kError ? State::kRecovery : State::kStart;
    return {.kind = kind, .text = text};
}

/// How many bytes can be taken without a look at each one's meaning.
size_t JsonLexer::plain_string_bytes(std::string_view bytes) const {
    if (state_ != State::kString) {
        return 0;
    }
    size_t count = 0;
    while (count < bytes.size() && bytes[count] != quote_ && bytes[count] != '\\' &&
           !is_forbidden(static_cast<unsigned char>(bytes[count]))) {
        ++count;
    }
    return count;
}

JsonLexer::Step JsonLexer::step(unsigned char byte) {
    switch (state_) {
        case State::kString:
        case State::kStringEscape:
            return step_string(byte);
        case State::kKeyword:
            return is_lower(byte) ? Step::kMore : Step::kEndBefore;
        case State::kSign:
        case State::kZero:
        case State::kDigits:
            return step_integer(byte);
        case State::kPoint:
        case State::kFraction:
            return step_fraction(byte);
        case State::kExponent:
        case State::kExponentSign:
        case State::kExponentDigits:
            return step_exponent(byte);
        case State::kStart:
        case State::kRecovery:
            break;  // not inside a token
    }
    return Step::kError;
}

JsonLexer::Step JsonLexer::step_string(unsigned char byte) {
    if (is_forbidden(byte)) {
        return Step::kError;
    }
    if (state_ == State::kStringEscape) {
        // Whether the escape means anything is found out when the string is decoded.
        state_ = State::kString;
        return Step::kMore;
    }
    if (byte == static_cast<unsigned char>(quote_)) {
        return Step::kEndAfter;
    }
    if (byte == '\\') {
        state_ = State::kStringEscape;
    }
    return Step::kMore;
}

JsonLexer::Step JsonLexer::enter(State state) {
    state_ = state;
    return Step::kMore;
}

JsonLexer::Step JsonLexer::step_integer(unsigned char byte) {
    const bool digit = is_digit(byte);
    if (state_ == State::kSign) {
        if (!digit) {
            return Step::kError;
        }
        return enter(byte == '0' ? State::kZero : State::kDigits);
    }
    if (byte == '.') {
        return enter(State::kPoint);
    }
    if (state_ == State::kZero) {
        return digit ? Step::kError : Step::kEndBefore;
    }
    if (begins_exponent(byte)) {
        return enter(State::kExponent);
    }
    return digit ? Step::kMore : Step::kEndBefore;
}

JsonLexer::Step JsonLexer::step_fraction(unsigned char byte) {
    const bool digit = is_digit(byte);
    if (state_ == State::kPoint) {
        return digit ? enter(State::kFraction) : Step::kError;
    }
    if (begins_exponent(byte)) {
        return enter(State::kExponent);
    }
    return digit ? Step::kMore : Step::kEndBefore;
}

JsonLexer::Step JsonLexer::step_exponent(unsigned char byte) {
    const bool digit = is_digit(byte);
    if (state_ == State::kExponentDigits) {
        return digit ? Step::kMore : Step::kEndBefore;
    }
    if (state_ == State::kExponent && (byte == '+' || byte == '-')) {
        return enter(State::kExponentSign);
    }
    return digit ? enter(State::kExponentDigits) : Step::kError;
}

JsonTokenKind JsonLexer::kind_of_state() const {
    switch (state_) {
        case State::kString:
        case State::kStringEscape:
            return JsonTokenKind::kString;
        case State::kKeyword:
            return JsonTokenKind::kKeyword;
        case State::kZero:
        case State::kDigits:
            return JsonTokenKind::kInteger;
        case State::kFraction:
        case State::kExponentDigits:
            return JsonTokenKind::kFloat;
        case State::kStart:
        case State::kRecovery:
        case State::kSign:
        case State::kPoint:
        case State::kExponent:
        case State::kExponentSign:
            break;  // no token can end here
    }
    return JsonTokenKind::kError;
}

}  // namespace halcyon
