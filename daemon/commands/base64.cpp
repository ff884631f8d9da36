#include "daemon/commands/base64.h"

#include <cstdint>

namespace halcyon {
namespace {

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr unsigned kGroup = 4;  ///< characters for three bytes

}  // namespace

std::string encode_base64(std::string_view bytes) {
    std::string text;
    for (size_t at = 0; at < bytes.size(); at += 3) {
        const std::string_view group = bytes.substr(at, 3);
        uint32_t bits = 0;
        for (size_t index = 0; index < 3; ++index) {
            bits = bits << 8 | (index < group.size() ? static_cast<uint8_t>(group[index]) : 0U);
        }
        for (size_t index = 0; index < kGroup; ++index) {
            text += index <= group.size() ? kAlphabet[bits >> (18 - 6 * index) & 0x3f] : '=';
        }
    }
    return text;
}

std::optional<std::string> decode_base64(std::string_view text) {
    if (text.size() % kGroup != 0) {
        return std::nullopt;
    }
    size_t padding = 0;
    while (padding < 2 && text.size() > padding && text[text.size() - 1 - padding] == '=') {
        ++padding;
    }
    std::string bytes;
    uint32_t bits = 0;
    for (size_t at = 0; at < text.size(); ++at) {
        const bool pad = at >= text.size() - padding;
        const size_t value = pad ? 0 : kAlphabet.find(text[at]);
        if (value == std::string_view::npos) {
            return std::nullopt;
        }
        bits = bits << 6 | static_cast<uint32_t>(value);
        if (at % kGroup == kGroup - 1) {
            for (const unsigned shift : {16U, 8U, 0U}) {
                bytes += static_cast<char>(bits >> shift & 0xff);
            }
        }
    }
    bytes.resize(bytes.size() - padding);
    return bytes;
}

}  // namespace halcyon
