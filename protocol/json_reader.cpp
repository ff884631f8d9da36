#include "protocol/json_reader.h"

#include <utility>

#include "protocol/json_number.h"
#include "protocol/json_string.h"

namespace halcyon {

namespace {

constexpr std::string_view kPrefix = "JSON parse error, ";

}  // namespace

std::optional<Frame> JsonReader::read(std::string_view& input) {
    while (true) {
        const size_t budget = kMaxTokenBytes - token_bytes_;
        const JsonToken token = lexer_.next(input, budget);
        if (token.kind == JsonTokenKind::kNone) {
            return std::nullopt;
        }
        std::optional<Frame> frame = on_token(token);
        if (frame) {
            return frame;
        }
    }
}

void JsonReader::reset() {
    lexer_.reset();
    (void)take_result();
}

std::optional<Frame> JsonReader::on_token(const JsonToken& token) {
    if (token.kind == JsonTokenKind::kError) {
        error_.reset();  // the message is lost, and with it an earlier fault
        fail("stray '" + std::string(token.text.substr(0, kMaxErrorBytes)) + "'");
        return take_result();
    }
    count_brackets(token.kind);
    if (const char* limit = exceeded_limit(token)) {
        (void)take_result();
        return Frame{std::string(limit)};
    }
    if (!error_) {
        parse(token);
    }
    const bool open = braces_ > 0 || brackets_ > 0;
    const bool surplus = braces_ < 0 || brackets_ < 0;
    if (open && !surplus) {
        return std::nullopt;
    }
    return take_result();
}

void JsonReader::count_brackets(JsonTokenKind kind) {
    braces_ += kind == JsonTokenKind::kObjectBegin ? 1 : 0;
    braces_ -= kind == JsonTokenKind::kObjectEnd ? 1 : 0;
    brackets_ += kind == JsonTokenKind::kArrayBegin ? 1 : 0;
    brackets_ -= kind == JsonTokenKind::kArrayEnd ? 1 : 0;
}

const char* JsonReader::exceeded_limit(const JsonToken& token) {
    if (token.kind == JsonTokenKind::kTooLong ||
        token_bytes_ + token.text.size() > kMaxTokenBytes) {
        return "JSON token size limit exceeded";
    }
    token_bytes_ += token.text.size();
    if (++tokens_ > kMaxTokens) {
        return "JSON token count limit exceeded";
    }
    if (braces_ + brackets_ > static_cast<long>(kMaxNesting)) {
        return "JSON nesting depth limit exceeded";
    }
    return nullptr;
}

bool JsonReader::value_allowed() const {
    return levels_.empty() ||
           (levels_.back().expect != Expect::kColon && levels_.back().expect != Expect::kSeparator);
}

void JsonReader::parse(const JsonToken& token) {
    switch (token.kind) {
        case JsonTokenKind::kObjectBegin:
        case JsonTokenKind::kArrayBegin:
        case JsonTokenKind::kString:
        case JsonTokenKind::kInteger:
        case JsonTokenKind::kFloat:
        case JsonTokenKind::kKeyword:
            if (value_allowed()) {
                parse_value(token);
                return;
            }
            break;
        case JsonTokenKind::kObjectEnd:
        case JsonTokenKind::kArrayEnd:
        case JsonTokenKind::kColon:
        case JsonTokenKind::kComma:
        case JsonTokenKind::kNone:
        case JsonTokenKind::kError:
        case JsonTokenKind::kTooLong:
            break;
    }
    parse_punctuation(token.kind);
}

/// Handles a token that must not begin a value here.
void JsonReader::parse_punctuation(JsonTokenKind kind) {
    if (levels_.empty()) {
        fail("expecting value");
        return;
    }
    Level& level = levels_.back();
    const bool object = level.container.is_object();
    const JsonTokenKind end = object ? JsonTokenKind::kObjectEnd : JsonTokenKind::kArrayEnd;
    switch (level.expect) {
        case Expect::kFirstKey:
        case Expect::kFirstValue:
            if (kind == end) {
                close();
                return;
            }
            fail("expecting value");
            return;
        case Expect::kKey:
        case Expect::kValue:
            fail("expecting value");
            return;
        case Expect::kColon:
            if (kind == JsonTokenKind::kColon) {
                level.expect = Expect::kValue;
                return;
            }
            fail("missing : in object pair");
            return;
        case Expect::kSeparator:
            if (kind == end) {
                close();
                return;
            }
            if (kind == JsonTokenKind::kComma) {
                level.expect = object ? Expect::kKey : Expect::kValue;
                return;
            }
            fail(object ? "expected separator in dict" : "expected separator in list");
            return;
    }
}

void JsonReader::parse_value(const JsonToken& token) {
    if (token.kind == JsonTokenKind::kObjectBegin) {
        open(Json::object(), Expect::kFirstKey);
    } else if (token.kind == JsonTokenKind::kArrayBegin) {
        open(Json::array(), Expect::kFirstValue);
    } else if (token.kind == JsonTokenKind::kString) {
        auto text = decode_json_string(token.text);
        if (const auto* fault = std::get_if<StringFault>(&text)) {
            fail(fault->text);
        } else {
            complete(std::get<std::string>(std::move(text)));
        }
    } else if (token.kind == JsonTokenKind::kKeyword) {
        parse_keyword(token.text);
    } else {
        std::optional<Json> number =
            decode_json_number(token.text, token.kind == JsonTokenKind::kInteger);
        if (number) {
            complete(*std::move(number));
        } else {
            fail("number '" + std::string(token.text.substr(0, kMaxErrorBytes)) +
                 "' is out of range");
        }
    }
}

void JsonReader::parse_keyword(std::string_view text) {
    if (text == "true") {
        complete(true);
    } else if (text == "false") {
        complete(false);
    } else if (text == "null") {
        complete(nullptr);
    } else {
        fail("invalid keyword '" + std::string(text.substr(0, kMaxErrorBytes)) + "'");
    }
}

void JsonReader::open(Json container, Expect expect) {
    levels_.push_back({.container = std::move(container), .expect = expect, .key = {}});
}

void JsonReader::close() {
    Json value = std::move(levels_.back().container);
    levels_.pop_back();
    complete(std::move(value));
}

/// Puts a complete value where it belongs: the result, a key, a member or an element.
void JsonReader::complete(Json value) {
    if (levels_.empty()) {
        result_ = std::move(value);
        return;
    }
    Level& level = levels_.back();
    if (level.expect == Expect::kFirstKey || level.expect == Expect::kKey) {
        if (!value.is_string()) {
            fail("key is not a string in object");
            return;
        }
        level.key = std::move(value.get_ref<std::string&>());
        level.expect = Expect::kColon;
        return;
    }
    level.expect = Expect::kSeparator;
    if (level.container.is_array()) {
        level.container.push_back(std::move(value));
    } else if (!level.container.emplace(std::move(level.key), std::move(value)).second) {
        fail("duplicate key");
    }
}

void JsonReader::fail(std::string_view text) {
    error_ = std::string(kPrefix) + std::string(text.substr(0, kMaxErrorBytes));
    // What was built is of no use any more; the rest of the message is only counted.
    levels_.clear();
    result_.reset();
}

/// Ends the message: gives out what it came to, and is ready for the next one.
Frame JsonReader::take_result() {
    Frame frame;
    if (error_) {
        frame.content = *std::move(error_);
    } else if (result_) {
        frame.content = *std::move(result_);
    } else {
        // Balanced brackets without a value or a fault do not exist; see count_brackets.
        frame.content = std::string(kPrefix) + "premature EOI";
    }
    error_.reset();
    result_.reset();
    levels_.clear();
    braces_ = 0;
    brackets_ = 0;
    tokens_ = 0;
    token_bytes_ = 0;
    return frame;
}

}  // namespace halcyon
