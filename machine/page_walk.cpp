#include "machine/page_walk.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include "devices/device.h"

namespace halcyon {

namespace {

// Intel SDM 3A 2.5 and 2.2.1.
constexpr uint64_t kCr0Paging = 1U << 31;
constexpr uint64_t kCr4PageSizeExtensions = 1U << 4;
constexpr uint64_t kCr4PhysicalAddressExtension = 1U << 5;
constexpr uint64_t kCr4FiveLevels = 1U << 12;
constexpr uint64_t kEferLongModeActive = 1U << 10;

// Entries of all levels, SDM 3A 4.3 to 4.5.
constexpr uint64_t kPresent = 1U << 0;
constexpr uint64_t kLarge = 1U << 7;
/// Bits 51 to 12: the most physical address bits there can be.
constexpr uint64_t kFrame = 0x000f'ffff'ffff'f000;

/// A level of tables: which bits of the address choose the entry.
struct Level {
    unsigned shift;
    unsigned bits;
    bool may_be_large;  ///< the entry may map memory itself
};
constexpr std::array<Level, 5> kLong = {
    {{48, 9, false}, {39, 9, false}, {30, 9, true}, {21, 9, true}, {12, 9, false}}};
constexpr std::array<Level, 3> kPae = {{{30, 2, false}, {21, 9, true}, {12, 9, false}}};
constexpr std::array<Level, 2> kLegacy = {{{22, 10, true}, {12, 10, false}}};

/// One way of paging.
struct Paging {
    std::span<const Level> levels;
    uint64_t table;     ///< of the first level
    size_t entry_size;  ///< bytes
};

/// The memory that an entry of `level` maps. In 32-bit paging, bits 20 to 13 of a large entry are
/// bits 39 to 32 of the address (PSE-36, SDM 3A table 4-4).
uint64_t frame_of(uint64_t entry, const Level& level, const Paging& paging) {
    const uint64_t frame = entry & kFrame & ~((uint64_t{1} << level.shift) - 1);
    const bool pse36 = paging.entry_size == 4 && level.may_be_large && (entry & kLarge) != 0;
    return pse36 ? frame | (entry >> 13 & 0xff) << 32 : frame;
}

std::optional<Gpa> walk(const Paging& paging, uint64_t linear, const ReadPhysical& read) {
    uint64_t table = paging.table;
    for (const Level& level : paging.levels) {
        const uint64_t index = linear >> level.shift & ((uint64_t{1} << level.bits) - 1);
        std::array<std::byte, 8> bytes{};
        const std::span<std::byte> entry_bytes(bytes.data(), paging.entry_size);
        if (!read(Gpa(table + index * paging.entry_size), entry_bytes)) {
            return std::nullopt;
        }
        const uint64_t entry = load_le(entry_bytes);
        if ((entry & kPresent) == 0) {
            return std::nullopt;
        }
        const bool last = level.shift == 12 || (level.may_be_large && (entry & kLarge) != 0);
        if (last) {
            return Gpa(frame_of(entry, level, paging) |
                       (linear & ((uint64_t{1} << level.shift) - 1)));
        }
        table = entry & kFrame;
    }
    return std::nullopt;
}

/// Whether the bits above the `bits` lowest all equal the highest of those.
bool is_canonical(uint64_t linear, unsigned bits) {
    const auto shifted = static_cast<int64_t>(linear << (64 - bits));
    return static_cast<uint64_t>(shifted >> (64 - bits)) == linear;
}

std::string hexadecimal(uint64_t value) {
    std::array<char, 20> text{};
    std::snprintf(text.data(), text.size(), "0x%llx", static_cast<unsigned long long>(value));
    return text.data();
}

}  // namespace

std::optional<Gpa> translate_linear(const VcpuRegisters& registers, uint64_t linear,
                                    const ReadPhysical& read) {
    const bool long_mode = (registers.efer & kEferLongModeActive) != 0;
    if (!long_mode) {
        linear &= 0xffff'ffff;
    }
    if ((registers.cr0 & kCr0Paging) == 0) {
        return Gpa(linear);
    }
    if (long_mode) {
        const bool five = (registers.cr4 & kCr4FiveLevels) != 0;
        if (!is_canonical(linear, five ? 57 : 48)) {
            return std::nullopt;
        }
        return walk({.levels = std::span(kLong).subspan(five ? 0 : 1),
                     .table = registers.cr3 & kFrame,
                     .entry_size = 8},
                    linear, read);
    }
    if ((registers.cr4 & kCr4PhysicalAddressExtension) != 0) {
        return walk({.levels = kPae, .table = registers.cr3 & 0xffff'ffe0, .entry_size = 8}, linear,
                    read);
    }
    std::array<Level, 2> levels = kLegacy;
    levels[0].may_be_large = (registers.cr4 & kCr4PageSizeExtensions) != 0;
    return walk({.levels = levels, .table = registers.cr3 & 0xffff'f000, .entry_size = 4}, linear,
                read);
}

Result<void> read_linear(const VcpuRegisters& registers, uint64_t linear, std::span<std::byte> out,
                         const ReadPhysical& read) {
    while (!out.empty()) {
        const size_t length = std::min<uint64_t>(out.size(), kPageSize - linear % kPageSize);
        const std::optional<Gpa> physical = translate_linear(registers, linear, read);
        if (!physical || !read(*physical, out.first(length))) {
            return Error("Cannot access memory at " + hexadecimal(linear),
                         ErrorCode::kInvalidArgument);
        }
        linear += length;
        out = out.subspan(length);
    }
    return {};
}

}  // namespace halcyon
