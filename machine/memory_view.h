/// MemoryView: guest-physical memory as the guest sees it at one moment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/types.h"

namespace halcyon {

/// RAM or ROM that the guest sees at `start`.
struct MemoryBlock {
    Gpa start;
    std::span<const std::byte> bytes;
};

/// The memory of a machine, holes between. It is read from any thread and while the guest runs,
/// which may change what is read meanwhile; the machine that it comes from must not have ended.
class MemoryView {
public:
    MemoryView() = default;
    /// Blocks in any order, not overlapping; those that continue each other become one.
    explicit MemoryView(std::vector<MemoryBlock> blocks);

    /// By address.
    [[nodiscard]] const std::vector<MemoryBlock>& blocks() const { return blocks_; }
    /// Bytes in all blocks.
    [[nodiscard]] uint64_t size() const;
    /// Only what is in `[begin, begin + length)`, which may wrap: it then ends at the top.
    [[nodiscard]] MemoryView clipped(uint64_t begin, uint64_t length) const;

    /// Copies from `address` on; what is no memory reads as zero. Whether all of it was memory.
    bool read(uint64_t address, std::span<std::byte> out) const;
    /// A little-endian number of 4 or 8 bytes; nothing when it is not in memory.
    template <typename Integer>
    [[nodiscard]] std::optional<Integer> read_integer(uint64_t address) const {
        Integer value = 0;
        const bool found = read(address, std::as_writable_bytes(std::span(&value, 1)));
        return found ? std::optional(value) : std::nullopt;
    }

private:
    std::vector<MemoryBlock> blocks_;
};

}  // namespace halcyon
