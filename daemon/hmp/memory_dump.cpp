#include "daemon/hmp/memory_dump.h"

#include <algorithm>
#include <array>
#include <cctype>

#include <spdlog/fmt/fmt.h>

#include "devices/device.h"

namespace halcyon::hmp {

namespace {

/// Bytes in a line of single bytes, and in a line of anything larger.
constexpr size_t kByteLine = 8;
constexpr size_t kWideLine = 16;

std::string format_character(uint8_t byte) {
    switch (byte) {
        case '\'':
            return "'\\''";
        case '\\':
            return "'\\\\'";
        case '\n':
            return "'\\n'";
        case '\r':
            return "'\\r'";
        default:
            return byte >= 0x20 && byte <= 0x7e ? fmt::format("'{:c}'", static_cast<char>(byte))
                                                : fmt::format("'\\x{:02x}'", byte);
    }
}

/// As wide as the largest value of its size.
std::string format_unit(uint64_t value, char notation, unsigned size) {
    const unsigned bits = size * 8;
    switch (notation) {
        case 'o':
            return fmt::format("{:>{}}", value == 0 ? "0" : fmt::format("0{:o}", value),
                               (bits + 2) / 3);
        case 'd':
            return fmt::format("{:>{}}", static_cast<int64_t>(value), (bits * 10 + 32) / 33);
        case 'u':
            return fmt::format("{:>{}}", value, (bits * 10 + 32) / 33);
        case 'c':
            return format_character(static_cast<uint8_t>(value));
        default:
            return fmt::format("0x{:0{}x}", value, bits / 4);
    }
}

Error invalid_character(char character) {
    return Error(std::string("invalid char in format: '") + character + "'");
}

/// The size a letter stands for; 0 for none.
unsigned size_of(char letter) {
    switch (letter) {
        case 'b':
            return 1;
        case 'h':
            return 2;
        case 'w':
            return 4;
        case 'g':
        case 'L':
            return 8;
        default:
            return 0;
    }
}

bool is_digit(char character) {
    return character >= '0' && character <= '9';
}

}  // namespace

Result<DumpFormat> read_format(std::string_view& text, const DumpFormat& defaults) {
    DumpFormat format = defaults;
    if (text.starts_with('/')) {
        text.remove_prefix(1);
        if (!text.empty() && is_digit(text.front())) {
            format.count = 0;
        }
        for (; !text.empty() && is_digit(text.front()); text.remove_prefix(1)) {
            // More than is ever shown, but no overflow.
            format.count =
                std::min<uint64_t>(format.count * 10 + (text.front() - '0'), kMaxDump + 1);
        }
        for (; !text.empty() && text.front() != ' '; text.remove_prefix(1)) {
            const char letter = text.front();
            if (std::string_view("xduoci").find(letter) != std::string_view::npos) {
                format.notation = letter;
            } else if (const unsigned size = size_of(letter); size != 0) {
                format.size = size;
            } else {
                return invalid_character(letter);
            }
        }
    }
    while (text.starts_with(' ')) {
        text.remove_prefix(1);
    }
    return format;
}

std::string format_value(uint64_t value, char notation) {
    switch (notation) {
        case 'o':
            return value == 0 ? "0" : fmt::format("0{:o}", value);
        case 'd':
        case 'i':  // a command before showed instructions
            return fmt::format("{}", static_cast<int64_t>(value));
        case 'u':
            return fmt::format("{}", value);
        case 'c':
            return format_character(static_cast<uint8_t>(value));
        default:
            return value == 0 ? "0" : fmt::format("{:#x}", value);
    }
}

std::string dump_memory(uint64_t address, const DumpFormat& format, const ReadMemory& read) {
    const unsigned size = format.notation == 'c' ? 1 : format.size;
    // By the size that was asked for, also for characters.
    const size_t line_size = format.size == 1 ? kByteLine : kWideLine;
    const uint64_t most = kMaxDump / format.size;
    uint64_t left = std::min(format.count, most) * format.size;
    std::string text;
    while (left != 0) {
        std::array<std::byte, kWideLine> bytes{};
        const auto line = std::span(bytes).first(std::min<uint64_t>(left, line_size));
        text += fmt::format("{:016x}:", address);
        if (!read(address, line)) {
            return text + " Cannot access memory\n";
        }
        for (size_t offset = 0; offset < line.size(); offset += size) {
            text += " " + format_unit(load_le(line.subspan(offset, size)), format.notation, size);
        }
        text += "\n";
        address += line.size();
        left -= line.size();
    }
    return text + (format.count > most ? kShownEnd : "");
}

}  // namespace halcyon::hmp
