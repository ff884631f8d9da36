/// How x, xp and print show numbers and memory.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace halcyon::hmp {

/// "/4xw": how many units, of which size, in which notation.
struct DumpFormat {
    uint64_t count = 1;
    char notation = 'x';  ///< x, d, u, o, c; i: instructions
    unsigned size = 4;    ///< bytes of a unit: 1, 2, 4 or 8
};

/// The most bytes that one command shows.
inline constexpr uint64_t kMaxDump = 64 * 1024;
/// The last line of one that was asked for more.
inline constexpr const char* kShownEnd = "(the rest is left out: a command shows at most 64 KiB)\n";

/// Reads a format off the front of `text`, with the spaces behind it; what it does not say stays
/// as in `defaults`. Fails in QEMU's words.
[[nodiscard]] Result<DumpFormat> read_format(std::string_view& text,
                                             const DumpFormat& defaults = {});

/// A number by itself, as print shows it.
[[nodiscard]] std::string format_value(uint64_t value, char notation);

/// Copies memory; false when something of it is not there.
using ReadMemory = std::function<bool(uint64_t address, std::span<std::byte> out)>;

/// The lines that show memory from `address` on, up to what cannot be read.
[[nodiscard]] std::string dump_memory(uint64_t address, const DumpFormat& format,
                                      const ReadMemory& read);

}  // namespace halcyon::hmp
