#include "accel/soft/soft_memory.h"

#include <algorithm>

namespace halcyon {

Result<SoftMemory> SoftMemory::create() {
    Mapping table = TRY(Mapping::anonymous((kReach >> kPageBits) * sizeof(uintptr_t),
                                           "the soft partition's page table"));
    return SoftMemory(std::move(table));
}

Result<void> SoftMemory::map(GpaRange range, std::byte* host, MemoryAccess access) {
    const uint64_t start = range.start.value();
    const bool aligned = start % kPageSize == 0 && range.size % kPageSize == 0 &&
                         reinterpret_cast<uintptr_t>(host) % kPageSize == 0;
    if (host == nullptr || range.size == 0 || !aligned || !range.start.checked_add(range.size)) {
        return Error("a memory mapping must be whole pages that do not wrap around",
                     ErrorCode::kInvalidArgument);
    }
    const auto overlaps = [&](const Slot& slot) { return slot.range.overlaps(range); };
    if (std::any_of(slots_.begin(), slots_.end(), overlaps)) {
        return Error("the memory mapping overlaps another one", ErrorCode::kInvalidArgument);
    }
    slots_.push_back({range});
    const uintptr_t flags = access == MemoryAccess::kReadWrite ? kWritable : 0;
    const uint64_t end = std::min(start + range.size, kReach);
    for (uint64_t page = start; page < end; page += kPageSize) {
        pages_[page >> kPageBits] = (reinterpret_cast<uintptr_t>(host) + (page - start)) | flags;
    }
    return {};
}

Result<void> SoftMemory::unmap(GpaRange range) {
    const auto slot = std::find_if(slots_.begin(), slots_.end(),
                                   [&](const Slot& other) { return other.range == range; });
    if (slot == slots_.end()) {
        return Error("no such memory mapping", ErrorCode::kNotFound);
    }
    slots_.erase(slot);
    const uint64_t end = std::min(range.start.value() + range.size, kReach);
    for (uint64_t page = range.start.value(); page < end; page += kPageSize) {
        pages_[page >> kPageBits] = 0;
    }
    return {};
}

}  // namespace halcyon
