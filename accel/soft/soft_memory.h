/// SoftMemory: the guest-physical address space of a soft partition, as a table of pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "accel/partition.h"
#include "base/mapping.h"
#include "base/result.h"
#include "base/types.h"

namespace halcyon {

/// Which host memory stands behind each 4 KiB page below 4 GiB; unpaged 32-bit guests reach no
/// further, so mappings above are kept but have no pages here. Changes need the exclusive section
/// of ExecutionToken; look-ups are made by the vCPU that holds the token.
class SoftMemory {
public:
    static Result<SoftMemory> create();

    /// As Partition::map_memory and unmap_memory.
    Result<void> map(GpaRange range, std::byte* host, MemoryAccess access);
    Result<void> unmap(GpaRange range);

    /// Host address of the byte at `address`, good to the end of its page; null when no memory is
    /// there.
    [[nodiscard]] std::byte* readable(uint32_t address) const {
        const uintptr_t entry = pages_[address >> kPageBits];
        return entry == 0 ? nullptr : host_byte(entry, address);
    }
    /// The same, null also when the memory is read-only.
    [[nodiscard]] std::byte* writable(uint32_t address) const {
        const uintptr_t entry = pages_[address >> kPageBits];
        return (entry & kWritable) == 0 ? nullptr : host_byte(entry, address);
    }
    /// Bytes from `address` to the end of its page.
    [[nodiscard]] static uint32_t left_in_page(uint32_t address) {
        return static_cast<uint32_t>(kPageSize) - (address & kOffsetMask);
    }

private:
    static constexpr unsigned kPageBits = 12;
    static constexpr uint32_t kOffsetMask = (1U << kPageBits) - 1;
    static constexpr uint64_t kReach = 1ULL << 32;
    /// Set in an entry beside the page-aligned host address.
    static constexpr uintptr_t kWritable = 1;

    struct Slot {
        GpaRange range;
    };

    explicit SoftMemory(Mapping table)
        : table_(std::move(table)), pages_(reinterpret_cast<uintptr_t*>(table_.data())) {}

    static std::byte* host_byte(uintptr_t entry, uint32_t address) {
        return reinterpret_cast<std::byte*>(entry & ~static_cast<uintptr_t>(kOffsetMask)) +
               (address & kOffsetMask);
    }

    /// One entry per page, 8 MiB of address space of which the host backs only what is used.
    Mapping table_;
    uintptr_t* pages_;
    std::vector<Slot> slots_;
};

}  // namespace halcyon
