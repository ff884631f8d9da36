/// The part of GuestMemory that knows which pages the guest wrote.
#include <algorithm>
#include <mutex>

#include "tools/mshv-emulator/guest_memory.h"

namespace halcyon::emulator {

namespace {

constexpr unsigned kBits = 64;
constexpr uint8_t kAccessedState = 1U << 0;
constexpr uint8_t kDirtyState = 1U << 1;

bool all_set(const std::vector<uint64_t>& bits, uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) {
        if ((bits[i / kBits] >> i % kBits & 1) == 0) {
            return false;
        }
    }
    return true;
}

}  // namespace

bool GuestMemory::tracking() const {
    const std::shared_lock lock(mutex_);
    return tracking_;
}

/// Moves KVM's dirty bits of a mapping into its own.
long GuestMemory::collect_dirty(MemoryRegion& region) {
    region.dirty.resize((region.page_count + kBits - 1) / kBits);
    if (!region.writable()) {
        return 0;
    }
    std::vector<uint64_t> fresh(region.dirty.size());
    kvm_dirty_log log{};
    log.slot = region.slot;
    log.dirty_bitmap = fresh.data();
    const long result = vm_.ioctl(KVM_GET_DIRTY_LOG, &log);
    for (size_t i = 0; i < fresh.size(); ++i) {
        region.dirty[i] |= fresh[i];
    }
    return result;
}

mshv::HvStatus GuestMemory::set_tracking(bool on) {
    const std::unique_lock lock(mutex_);
    if (tracking_ == on) {
        return mshv::HvStatus::kSuccess;
    }
    if (!on) {
        for (MemoryRegion& region : regions_) {
            if (region.writable() &&
                (collect_dirty(region) < 0 || !all_set(region.dirty, region.page_count))) {
                return mshv::HvStatus::kOperationFailed;
            }
        }
    }
    tracking_ = on;
    for (MemoryRegion& region : regions_) {
        region.dirty.clear();
        if (region.writable() && set_slot(region, true) < 0) {
            return mshv::HvStatus::kOperationFailed;
        }
    }
    return mshv::HvStatus::kSuccess;
}

mshv::HvStatus GuestMemory::page_states(uint64_t first_page, uint64_t count, uint64_t flags,
                                        uint8_t* states, uint64_t& done) {
    const std::unique_lock lock(mutex_);
    done = 0;
    if (!tracking_) {
        return mshv::HvStatus::kInvalidPartitionState;
    }
    while (done < count) {
        MemoryRegion* region = find_region(first_page + done);
        if (region == nullptr) {
            return mshv::HvStatus::kInvalidParameter;
        }
        if (collect_dirty(*region) < 0) {
            return mshv::HvStatus::kOperationFailed;
        }
        const uint64_t offset = first_page + done - region->first_page;
        const uint64_t here = std::min(count - done, region->page_count - offset);
        for (uint64_t i = 0; i < here; ++i) {
            uint64_t& word = region->dirty[(offset + i) / kBits];
            const uint64_t bit = uint64_t{1} << (offset + i) % kBits;
            states[done + i] =
                static_cast<uint8_t>(kAccessedState | ((word & bit) != 0 ? kDirtyState : 0));
            // A page that was not accessed cannot be dirty, so that clearing the one clears both.
            if ((flags & (kClearDirty | kClearAccessed)) != 0) {
                word &= ~bit;
            }
            if ((flags & kSetDirty) != 0) {
                word |= bit;
            }
        }
        done += here;
    }
    return mshv::HvStatus::kSuccess;
}

}  // namespace halcyon::emulator
