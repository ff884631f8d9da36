#include "protocol/utf8.h"

namespace halcyon {

namespace {

struct Lead {
    size_t length;
    unsigned payload_mask;
    char32_t minimum;  ///< the least code point that needs this many bytes
};

Lead classify(unsigned char byte) {
    if (byte < 0x80) {
        return {1, 0x7f, 0};
    }
    if ((byte & 0xe0) == 0xc0) {
        return {2, 0x1f, 0x80};
    }
    if ((byte & 0xf0) == 0xe0) {
        return {3, 0x0f, 0x800};
    }
    if ((byte & 0xf8) == 0xf0) {
        return {4, 0x07, 0x10000};
    }
    return {0, 0, 0};
}

}  // namespace

Utf8Character decode_utf8(std::string_view text) {
    const auto first = static_cast<unsigned char>(text.front());
    const Lead lead = classify(first);
    if (lead.length == 0) {
        return {};
    }
    char32_t code_point = first & lead.payload_mask;
    for (size_t i = 1; i < lead.length; ++i) {
        const unsigned char byte = i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
        if ((byte & 0xc0) != 0x80) {
            return {.code_point = 0, .length = i, .valid = false};
        }
        code_point = (code_point << 6) | (byte & 0x3fU);
    }
    const bool valid = code_point >= lead.minimum && code_point <= 0x10ffff &&
                       !is_high_surrogate(code_point) && !is_low_surrogate(code_point);
    return {.code_point = code_point, .length = lead.length, .valid = valid};
}

void append_utf8(std::string& out, char32_t code_point) {
    const auto continuation = [&](unsigned shift) {
        out.push_back(static_cast<char>(0x80 | ((code_point >> shift) & 0x3f)));
    };
    if (code_point < 0x80) {
        out.push_back(static_cast<char>(code_point));
    } else if (code_point < 0x800) {
        out.push_back(static_cast<char>(0xc0 | (code_point >> 6)));
        continuation(0);
    } else if (code_point < 0x10000) {
        out.push_back(static_cast<char>(0xe0 | (code_point >> 12)));
        continuation(6);
        continuation(0);
    } else {
        out.push_back(static_cast<char>(0xf0 | (code_point >> 18)));
        continuation(12);
        continuation(6);
        continuation(0);
    }
}

}  // namespace halcyon
