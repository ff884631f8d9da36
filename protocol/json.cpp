#include "protocol/json.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>

#include "protocol/utf8.h"

namespace halcyon {

namespace {

constexpr char32_t kReplacementCharacter = 0xfffd;

void append_unicode_escape(std::string& out, unsigned unit) {
    static constexpr char kHexDigits[] = "0123456789ABCDEF";
    out += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) {
        out.push_back(kHexDigits[(unit >> shift) & 0xf]);
    }
}

void append_escaped(std::string& out, char32_t code_point) {
    switch (code_point) {
        case '"':
            out += "\\\"";
            return;
        case '\\':
            out += "\\\\";
            return;
        case '\b':
            out += "\\b";
            return;
        case '\f':
            out += "\\f";
            return;
        case '\n':
            out += "\\n";
            return;
        case '\r':
            out += "\\r";
            return;
        case '\t':
            out += "\\t";
            return;
    }
    if (code_point > 0xffff) {
        const char32_t offset = code_point - 0x10000;
        append_unicode_escape(out, 0xd800 + (offset >> 10));
        append_unicode_escape(out, 0xdc00 + (offset & 0x3ff));
    } else {
        append_unicode_escape(out, code_point);
    }
}

constexpr bool is_plain(char c) {
    return c >= 0x20 && c <= 0x7e && c != '"' && c != '\\';
}

/// Writes one value and what is in it. `pretty` puts each member and element on a line of its own.
class Writer {
public:
    explicit Writer(bool pretty) : pretty_(pretty) {}

    void write(const Json& value) {
        switch (value.type()) {
            case Json::value_t::object:
                write_object(value);
                break;
            case Json::value_t::array:
                write_array(value);
                break;
            case Json::value_t::string:
                append_wire_string(out_, value.get_ref<const std::string&>());
                break;
            case Json::value_t::boolean:
                out_ += value.get<bool>() ? "true" : "false";
                break;
            case Json::value_t::number_integer:
                write_integer(value.get<int64_t>());
                break;
            case Json::value_t::number_unsigned:
                write_integer(value.get<uint64_t>());
                break;
            case Json::value_t::number_float:
                write_float(value.get<double>());
                break;
            case Json::value_t::null:
            case Json::value_t::binary:     // never made by this project
            case Json::value_t::discarded:  // never made by this project
                out_ += "null";
                break;
        }
    }

    std::string take() { return std::move(out_); }

private:
    void write_object(const Json& object) {
        out_.push_back('{');
        ++depth_;
        bool first = true;
        for (auto member = object.begin(); member != object.end(); ++member) {
            separate(first);
            append_wire_string(out_, member.key());
            out_ += ": ";
            write(member.value());
        }
        close(first, '}');
    }

    void write_array(const Json& array) {
        out_.push_back('[');
        ++depth_;
        bool first = true;
        for (const Json& element : array) {
            separate(first);
            write(element);
        }
        close(first, ']');
    }

    void separate(bool& first) {
        if (!first) {
            out_ += pretty_ ? "," : ", ";
        }
        first = false;
        new_line();
    }

    void close(bool empty, char bracket) {
        --depth_;
        if (!empty) {
            new_line();
        }
        out_.push_back(bracket);
    }

    void new_line() {
        if (pretty_) {
            static constexpr size_t kIndent = 4;
            out_ += "\r\n";
            out_.append(kIndent * depth_, ' ');
        }
    }

    template <typename Integer>
    void write_integer(Integer value) {
        std::array<char, 24> buffer;
        const auto end = std::to_chars(buffer.begin(), buffer.end(), value).ptr;
        out_.append(buffer.begin(), end);
    }

    void write_float(double value) {
        if (!std::isfinite(value)) {
            out_ += "null";
            return;
        }
        // 17 significant digits tell any double from its neighbours.
        std::array<char, 32> buffer;
        const auto end =
            std::to_chars(buffer.begin(), buffer.end(), value, std::chars_format::general, 17).ptr;
        out_.append(buffer.begin(), end);
    }

    std::string out_;
    bool pretty_;
    size_t depth_ = 0;
};

}  // namespace

void append_wire_string(std::string& out, std::string_view text) {
    out.push_back('"');
    while (!text.empty()) {
        size_t plain = 0;
        while (plain < text.size() && is_plain(text[plain])) {
            ++plain;
        }
        out.append(text, 0, plain);
        text.remove_prefix(plain);
        if (!text.empty()) {
            const Utf8Character character = decode_utf8(text);
            append_escaped(out, character.valid ? character.code_point : kReplacementCharacter);
            text.remove_prefix(character.length);
        }
    }
    out.push_back('"');
}

std::string to_wire(const Json& value) {
    Writer writer(false);
    writer.write(value);
    return writer.take();
}

std::string to_wire_pretty(const Json& value) {
    Writer writer(true);
    writer.write(value);
    return writer.take();
}

}  // namespace halcyon
