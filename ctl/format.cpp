#include "ctl/format.h"

#include <array>
#include <cstdio>
#include <ctime>

#include "ctl/json_access.h"
#include "protocol/utf8.h"

namespace halcyon {
namespace {

bool is_scalar(const Json& value) {
    return !value.is_structured();
}

std::string scalar(const Json& value) {
    if (!value.is_string()) {
        return to_wire(value);
    }
    const auto& text = value.get_ref<const std::string&>();
    return text.empty() ? "\"\"" : printable(text, true);
}

bool all_scalars(const Json& list) {
    for (const Json& element : list) {
        if (!is_scalar(element)) {
            return false;
        }
    }
    return true;
}

std::string joined(const Json& list) {
    std::string text;
    for (const Json& element : list) {
        text += (text.empty() ? "" : ", ") + scalar(element);
    }
    return text;
}

void append_lines(std::string& out, const Json& value, size_t indent);

void append_object(std::string& out, const Json& object, size_t indent) {
    for (const auto& [name, value] : object.items()) {
        out.append(indent, ' ');
        out += printable(name, true) + ":";
        if (is_scalar(value)) {
            out += " " + scalar(value) + "\n";
        } else if (value.is_array() && all_scalars(value)) {
            out += value.empty() ? "\n" : " " + joined(value) + "\n";
        } else {
            out += "\n";
            append_lines(out, value, indent + 2);
        }
    }
}

void append_list(std::string& out, const Json& list, size_t indent) {
    for (const Json& element : list) {
        std::string inner;
        append_lines(inner, element, indent + 2);
        // The first line's indentation makes room for the dash.
        out.append(indent, ' ');
        out += "- " + (inner.size() > indent + 2 ? inner.substr(indent + 2) : "\n");
    }
}

void append_lines(std::string& out, const Json& value, size_t indent) {
    if (value.is_object()) {
        append_object(out, value, indent);
    } else if (value.is_array()) {
        append_list(out, value, indent);
    } else {
        out.append(indent, ' ');
        out += scalar(value) + "\n";
    }
}

/// `code` is at most FFh.
void append_escaped(std::string& out, char32_t code) {
    std::array<char, 8> text{};
    std::snprintf(text.data(), text.size(), "\\x%02x", static_cast<unsigned>(code) & 0xFF);
    out += text.data();
}

std::string format_time(const Json& timestamp) {
    const Json* seconds = find_member(timestamp, "seconds");
    const Json* microseconds = find_member(timestamp, "microseconds");
    if (seconds == nullptr || !seconds->is_number_integer() || microseconds == nullptr ||
        !microseconds->is_number_integer()) {
        return "-";
    }
    const auto when = seconds->get<time_t>();
    tm local{};
    std::array<char, 64> day{};
    if (::localtime_r(&when, &local) == nullptr ||
        std::strftime(day.data(), day.size(), "%Y-%m-%d %H:%M:%S", &local) == 0) {
        return "-";
    }
    std::array<char, 32> fraction{};
    std::snprintf(fraction.data(), fraction.size(), ".%06d", microseconds->get<int>());
    return std::string(day.data()) + fraction.data();
}

}  // namespace

std::string printable(std::string_view text, bool one_line) {
    std::string out;
    while (!text.empty()) {
        const Utf8Character character = decode_utf8(text);
        const std::string_view bytes = text.substr(0, character.length);
        text.remove_prefix(bytes.size());
        const char32_t code = character.code_point;
        const bool control = code < 0x20 || (code >= 0x7F && code < 0xA0);
        if (character.valid && !control) {
            out += bytes;
        } else if (bytes == "\n" || bytes == "\t") {
            out += !one_line ? bytes : bytes == "\n" ? "\\n" : "\\t";
        } else if (character.valid) {
            append_escaped(out, code);
        } else {
            for (const char byte : bytes) {
                append_escaped(out, static_cast<unsigned char>(byte));
            }
        }
    }
    return out;
}

std::string format_value(const Json& value) {
    std::string out;
    if (value.is_string()) {
        out = printable(value.get_ref<const std::string&>(), false);
        if (!out.empty() && out.back() != '\n') {
            out += '\n';
        }
    } else if (value.is_array() && all_scalars(value)) {
        for (const Json& element : value) {
            out += scalar(element) + "\n";
        }
    } else {
        append_lines(out, value, 0);
    }
    return out;
}

std::string format_event(const Json& event) {
    const Json* timestamp = find_member(event, "timestamp");
    std::string out = format_time(timestamp == nullptr ? Json() : *timestamp) + " " +
                      printable(find_string(event, "event"), true);
    if (const Json* data = find_member(event, "data"); data != nullptr && data->is_object()) {
        for (const auto& [name, value] : data->items()) {
            out += " " + printable(name, true) + "=" +
                   (is_scalar(value) ? scalar(value) : to_wire(value));
        }
    }
    return out + "\n";
}

std::string format_bytes(uint64_t bytes) {
    static constexpr std::array<const char*, 5> kUnits = {" B", " KiB", " MiB", " GiB", " TiB"};
    size_t unit = 0;
    while (unit + 1 < kUnits.size() && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        ++unit;
    }
    return std::to_string(bytes) + kUnits[unit];
}

}  // namespace halcyon
