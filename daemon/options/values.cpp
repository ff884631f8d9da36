#include "daemon/options/values.h"

#include <charconv>
#include <limits>
#include <string>

namespace halcyon {
namespace {

bool is_digit(char character) {
    return character >= '0' && character <= '9';
}

bool is_letter(char character) {
    return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z');
}

std::optional<uint8_t> hex_digit(char character) {
    if (is_digit(character)) {
        return static_cast<uint8_t>(character - '0');
    }
    const char lower = static_cast<char>(character | 0x20);
    if (lower >= 'a' && lower <= 'f') {
        return static_cast<uint8_t>(lower - 'a' + 10);
    }
    return std::nullopt;
}

/// The unit that a size's suffix stands for; nothing for another character.
std::optional<uint64_t> suffix_unit(char suffix) {
    constexpr std::string_view kSuffixes = "bkmgtpe";
    const size_t power = kSuffixes.find(static_cast<char>(suffix | 0x20));
    if (!is_letter(suffix) || power == std::string_view::npos) {
        return std::nullopt;
    }
    return uint64_t{1} << (10 * power);
}

}  // namespace

std::optional<uint64_t> parse_number(std::string_view text) {
    uint64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, value);
    if (text.empty() || error != std::errc() || stopped != end) {
        return std::nullopt;
    }
    return value;
}

std::optional<uint64_t> parse_size(std::string_view text, uint64_t default_unit) {
    uint64_t unit = default_unit;
    if (!text.empty() && !is_digit(text.back())) {
        const std::optional<uint64_t> suffix = suffix_unit(text.back());
        if (!suffix) {
            return std::nullopt;
        }
        unit = *suffix;
        text.remove_suffix(1);
    }
    const size_t point = text.find('.');
    const std::optional<uint64_t> whole = parse_number(text.substr(0, point));
    if (!whole || *whole > std::numeric_limits<uint64_t>::max() / unit) {
        return std::nullopt;
    }
    uint64_t fraction = 0;
    if (point != std::string_view::npos) {
        const std::string_view digits = text.substr(point + 1);
        // 9 digits name any byte of a GiB, and keep the products below 2^60.
        const std::optional<uint64_t> numerator = parse_number(digits);
        if (!numerator || digits.size() > 9) {
            return std::nullopt;
        }
        uint64_t denominator = 1;
        for (size_t digit = 0; digit < digits.size(); ++digit) {
            denominator *= 10;
        }
        fraction =
            *numerator * (unit / denominator) + *numerator * (unit % denominator) / denominator;
    }
    const uint64_t bytes = *whole * unit;
    if (fraction > std::numeric_limits<uint64_t>::max() - bytes) {
        return std::nullopt;
    }
    return bytes + fraction;
}

std::optional<std::array<uint8_t, 16>> parse_uuid(std::string_view text) {
    constexpr size_t kLength = 36;
    if (text.size() != kLength) {
        return std::nullopt;
    }
    std::array<uint8_t, 16> bytes{};
    size_t filled = 0;
    for (size_t position = 0; position < kLength;) {
        if (position == 8 || position == 13 || position == 18 || position == 23) {
            if (text[position] != '-') {
                return std::nullopt;
            }
            ++position;
            continue;
        }
        const std::optional<uint8_t> high = hex_digit(text[position]);
        const std::optional<uint8_t> low = hex_digit(text[position + 1]);
        if (!high || !low) {
            return std::nullopt;
        }
        bytes[filled++] = static_cast<uint8_t>(*high << 4 | *low);
        position += 2;
    }
    return bytes;
}

std::optional<std::chrono::milliseconds> parse_seconds(std::string_view text) {
    constexpr uint64_t kMaximum = 1'000'000'000;
    const size_t point = text.find('.');
    const std::optional<uint64_t> seconds = parse_number(text.substr(0, point));
    if (!seconds || *seconds > kMaximum) {
        return std::nullopt;
    }
    uint64_t milliseconds = *seconds * 1000;
    if (point != std::string_view::npos) {
        std::string digits(text.substr(point + 1));
        if (digits.empty() || digits.size() > 3) {
            return std::nullopt;
        }
        digits.resize(3, '0');
        const std::optional<uint64_t> fraction = parse_number(digits);
        if (!fraction) {
            return std::nullopt;
        }
        milliseconds += *fraction;
    }
    return std::chrono::milliseconds(milliseconds);
}

std::string format_uuid(const std::array<uint8_t, 16>& bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    for (size_t index = 0; index < bytes.size(); ++index) {
        if (index == 4 || index == 6 || index == 8 || index == 10) {
            text += '-';
        }
        text += kDigits[bytes[index] >> 4];
        text += kDigits[bytes[index] & 0xf];
    }
    return text;
}

bool asks_for_help(std::string_view text) {
    return text == "help" || text == "?";
}

bool is_identifier(std::string_view text) {
    if (text.empty() || !is_letter(text.front())) {
        return false;
    }
    for (const char character : text) {
        if (!is_letter(character) && !is_digit(character) && character != '-' && character != '.' &&
            character != '_') {
            return false;
        }
    }
    return true;
}

}  // namespace halcyon
