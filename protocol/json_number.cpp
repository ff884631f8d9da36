#include "protocol/json_number.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <system_error>

namespace halcyon {

namespace {

template <typename Number>
std::errc convert(std::string_view token, Number& value) {
    return std::from_chars(token.data(), token.data() + token.size(), value).ec;
}

/// Whether a number that no double can hold is too large, rather than too small. Its decimal
/// magnitude (the position of the first significant digit) is then far from 0 on either side.
bool is_too_large(std::string_view token) {
    const size_t exponent_at = std::min(token.find_first_of("eE"), token.size());
    const std::string_view mantissa = token.substr(0, exponent_at);
    const size_t point = std::min(mantissa.find('.'), mantissa.size());
    const size_t first_digit = std::min(mantissa.find_first_of("123456789"), mantissa.size());
    auto magnitude = static_cast<int64_t>(point) - static_cast<int64_t>(first_digit);

    std::string_view exponent = token.substr(std::min(exponent_at + 1, token.size()));
    const bool negative = exponent.starts_with('-');
    exponent.remove_prefix(negative || exponent.starts_with('+') ? 1 : 0);
    int64_t exponent_value = 0;
    if (convert(exponent, exponent_value) == std::errc::result_out_of_range) {
        return !negative;
    }
    // A token has at most 64 MiB, so the magnitude is small: no overflow unless the exponent is
    // close to the limit, and then it alone decides.
    constexpr int64_t kDecisive = int64_t{1} << 40;
    if (exponent_value > kDecisive) {
        return !negative;
    }
    magnitude += negative ? -exponent_value : exponent_value;
    return magnitude > 0;
}

}  // namespace

std::optional<Json> decode_json_number(std::string_view token, bool integer) {
    if (integer) {
        int64_t value = 0;
        if (convert(token, value) == std::errc{}) {
            return value;
        }
        uint64_t magnitude = 0;
        if (!token.starts_with('-') && convert(token, magnitude) == std::errc{}) {
            return magnitude;
        }
    }
    double value = 0;
    if (convert(token, value) == std::errc::result_out_of_range) {
        if (is_too_large(token)) {
            return std::nullopt;
        }
        return token.starts_with('-') ? -0.0 : 0.0;
    }
    return value;
}

}  // namespace halcyon
