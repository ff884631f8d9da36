#include "machine/page_walk.h"

namespace halcyon {

namespace {

// Intel SDM 3A 2.5, 2.2.1 and tables 4-5 to 4-19.
constexpr uint64_t kCr0Paging = uint64_t{1} << 31;
constexpr uint64_t kCr4PageSizeExtensions = uint64_t{1} << 4;
constexpr uint64_t kCr4PhysicalAddressExtension = uint64_t{1} << 5;
constexpr uint64_t kCr4Linear57 = uint64_t{1} << 12;
constexpr uint64_t kEferLongModeActive = uint64_t{1} << 10;
constexpr uint64_t kPresent = 1;
constexpr uint64_t kLarge = uint64_t{1} << 7;
constexpr uint64_t kAddressBits = 0x000f'ffff'ffff'f000;

constexpr uint64_t low_bits(unsigned count) {
    return (uint64_t{1} << count) - 1;
}

/// Tables of 512 entries of 8 bytes: the entry of a level is picked by 9 bits of the address.
std::optional<Gpa> walk_wide(const MemoryView& memory, uint64_t table, unsigned levels,
                             unsigned top_index_bits, uint64_t linear) {
    for (unsigned level = levels; level > 0; --level) {
        const unsigned shift = 12 + 9 * (level - 1);
        const uint64_t index = linear >> shift & low_bits(level == levels ? top_index_bits : 9);
        const auto entry = memory.read_integer<uint64_t>(table + index * 8);
        if (!entry || (*entry & kPresent) == 0) {
            return std::nullopt;
        }
        // Pages of 2 MiB and 1 GiB; above, the bit is reserved, as it is in PAE's top table.
        const bool may_be_large = level == 2 || (level == 3 && levels > 3);
        if (level == 1 || (may_be_large && (*entry & kLarge) != 0)) {
            return Gpa((*entry & kAddressBits & ~low_bits(shift)) | (linear & low_bits(shift)));
        }
        table = *entry & kAddressBits;
    }
    return std::nullopt;
}

std::optional<Gpa> walk_32(const VcpuRegisters& registers, const MemoryView& memory,
                           uint32_t linear) {
    const uint64_t directory = registers.cr3 & 0xffff'f000;
    const auto entry = memory.read_integer<uint32_t>(directory + (linear >> 22) * 4);
    if (!entry || (*entry & kPresent) == 0) {
        return std::nullopt;
    }
    if ((*entry & kLarge) != 0 && (registers.cr4 & kCr4PageSizeExtensions) != 0) {
        // PSE-36: bits 13-20 are bits 32-39 of the address.
        const uint64_t high = uint64_t{*entry >> 13 & 0xff} << 32;
        return Gpa(high | (*entry & 0xffc0'0000) | (linear & low_bits(22)));
    }
    const uint64_t table = *entry & 0xffff'f000;
    const auto page = memory.read_integer<uint32_t>(table + (linear >> 12 & 0x3ff) * 4);
    if (!page || (*page & kPresent) == 0) {
        return std::nullopt;
    }
    return Gpa((*page & 0xffff'f000) | (linear & 0xfff));
}

bool is_canonical(uint64_t linear, unsigned bits) {
    const uint64_t upper = linear >> (bits - 1);
    return upper == 0 || upper == low_bits(64 - bits + 1);
}

}  // namespace

std::optional<Gpa> translate(const VcpuRegisters& registers, const MemoryView& memory,
                             uint64_t linear) {
    if ((registers.cr0 & kCr0Paging) == 0) {
        return Gpa(linear);
    }
    if ((registers.efer & kEferLongModeActive) != 0) {
        const unsigned levels = (registers.cr4 & kCr4Linear57) != 0 ? 5 : 4;
        if (!is_canonical(linear, 12 + 9 * levels)) {
            return std::nullopt;
        }
        return walk_wide(memory, registers.cr3 & kAddressBits, levels, 9, linear);
    }
    if (linear > 0xffff'ffff) {
        return std::nullopt;
    }
    if ((registers.cr4 & kCr4PhysicalAddressExtension) != 0) {
        return walk_wide(memory, registers.cr3 & 0xffff'ffe0, 3, 2, linear);
    }
    return walk_32(registers, memory, static_cast<uint32_t>(linear));
}

}  // namespace halcyon
