/// The kinds of values that options take: numbers, sizes, UUIDs, identifiers, times.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace halcyon {

/// A decimal number without sign or space; nothing when it is not one, or exceeds 64 bits.
[[nodiscard]] std::optional<uint64_t> parse_number(std::string_view text);

/// A size in bytes: digits, perhaps a decimal fraction ("1.5G"), and a suffix b K M G T P E in
/// either case, each 1024 times the one before (QEMU's spelling). Without suffix the unit is
/// `default_unit` bytes. A fraction of a byte is cut off. Nothing when malformed or 2^64 and more.
[[nodiscard]] std::optional<uint64_t> parse_size(std::string_view text, uint64_t default_unit);

/// "8-4-4-4-12" hexadecimal digits (RFC 4122 section 3), as bytes in the order written.
[[nodiscard]] std::optional<std::array<uint8_t, 16>> parse_uuid(std::string_view text);

/// The opposite of `parse_uuid`, in small letters.
[[nodiscard]] std::string format_uuid(const std::array<uint8_t, 16>& bytes);

/// A time in seconds with at most three decimals ("5", "0.25"), in milliseconds.
[[nodiscard]] std::optional<std::chrono::milliseconds> parse_seconds(std::string_view text);

/// Whether it asks what there is instead of naming one: "help" or "?".
[[nodiscard]] bool asks_for_help(std::string_view text);

/// Whether QEMU takes it as an id: a letter, then letters, digits, '-', '.', '_'.
[[nodiscard]] bool is_identifier(std::string_view text);

}  // namespace halcyon
