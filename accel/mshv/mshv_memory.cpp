#include "accel/mshv/mshv_memory.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>

namespace halcyon::mshv {

namespace {

std::string describe(GpaRange range) {
    char text[64];
    std::snprintf(text, sizeof(text), "0x%llx, %llu bytes",
                  static_cast<unsigned long long>(range.start.value()),
                  static_cast<unsigned long long>(range.size));
    return text;
}

bool whole_pages(GpaRange range, const std::byte* host) {
    const bool aligned = range.start.value() % kPageSize == 0 && range.size % kPageSize == 0 &&
                         reinterpret_cast<uintptr_t>(host) % kPageSize == 0;
    // The driver computes with page numbers and bytes; neither may wrap there.
    const bool wraps = range.size != 0 && !range.start.checked_add(range.size - 1);
    return aligned && !wraps && range.size != 0 && host != nullptr;
}

/// A copy that the guest's processors and other threads may see half way, so in one access where
/// the size is a machine's own.
template <typename T>
void copy_as(std::byte* to, const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof(value));
    std::memcpy(to, &value, sizeof(value));
}

void copy_bytes(std::byte* to, const std::byte* from, size_t size) {
    switch (size) {
        case 1:
            return copy_as<uint8_t>(to, from);
        case 2:
            return copy_as<uint16_t>(to, from);
        case 4:
            return copy_as<uint32_t>(to, from);
        case 8:
            return copy_as<uint64_t>(to, from);
        default:
            std::memcpy(to, from, size);
    }
}

}  // namespace

int MemoryMap::set_region(const Slot& slot, uint8_t flags) {
    UserMemoryRegion region{};
    region.size = slot.range.size;
    region.guest_pfn = slot.range.start.value() / kHvPageSize;
    region.userspace_address = reinterpret_cast<uint64_t>(slot.host);
    region.flags = flags;
    const auto done =
        call_driver(driver_, fd_, kIoctlSetGuestMemory, "MSHV_SET_GUEST_MEMORY", &region);
    return done ? 0 : done.error().errno_value();
}

Result<void> MemoryMap::map(GpaRange range, std::byte* host, MemoryAccess access) {
    const std::string what = "cannot map guest memory (" + describe(range) + ")";
    if (!whole_pages(range, host)) {
        return Error(what + ": not whole pages", ErrorCode::kInvalidArgument);
    }
    const std::lock_guard lock(mutex_);
    for (const Slot& slot : slots_) {
        if (slot.range.overlaps(range)) {
            return Error(what + ": it overlaps a mapping (" + describe(slot.range) + ")",
                         ErrorCode::kInvalidArgument);
        }
    }
    Slot slot{.range = range, .host = host, .access = access, .copy = {}};
    const bool writable = access == MemoryAccess::kReadWrite;
    const int error = set_region(
        slot, static_cast<uint8_t>(kMemoryExecutable | (writable ? kMemoryWritable : 0)));
    if (error == EEXIST && host_is_mapped_locked(host, range.size)) {
        if (writable) {
            return Error(what +
                             ": this kernel's mshv driver does not map the same host memory "
                             "twice (Linux 6.19 does)",
                         ErrorCode::kUnsupported);
        }
        auto copied = map_copy_locked(slot);
        if (!copied) {
            return std::move(copied).error().with_context(what);
        }
    } else if (error != 0) {
        return Error::from_errno(what + ": MSHV_SET_GUEST_MEMORY", error);
    }
    slots_.push_back(std::move(slot));
    generation_.fetch_add(1, std::memory_order_release);
    return {};
}

bool MemoryMap::host_is_mapped_locked(const std::byte* host, uint64_t size) const {
    return std::any_of(slots_.begin(), slots_.end(), [&](const Slot& slot) {
        return host < slot.host + slot.range.size && slot.host < host + size;
    });
}

Result<void> MemoryMap::map_copy_locked(Slot& slot) {
    slot.copy = TRY(Mapping::anonymous(slot.range.size, "a copy of guest memory"));
    std::memcpy(slot.copy.data(), slot.host, slot.range.size);
    slot.host = slot.copy.data();
    if (const int error = set_region(slot, kMemoryExecutable); error != 0) {
        return Error::from_errno("MSHV_SET_GUEST_MEMORY", error);
    }
    return {};
}

Result<void> MemoryMap::unmap(GpaRange range) {
    const std::string what = "cannot unmap guest memory (" + describe(range) + ")";
    const std::lock_guard lock(mutex_);
    const auto slot = std::find_if(slots_.begin(), slots_.end(),
                                   [&](const Slot& candidate) { return candidate.range == range; });
    if (slot == slots_.end()) {
        return Error(what + ": no such mapping", ErrorCode::kNotFound);
    }
    if (const int error = set_region(*slot, kMemoryUnmap); error != 0) {
        return Error::from_errno(what + ": MSHV_SET_GUEST_MEMORY", error);
    }
    slots_.erase(slot);
    generation_.fetch_add(1, std::memory_order_release);
    return {};
}

const MemoryMap::Slot* MemoryMap::find_locked(Gpa address) const {
    const auto slot = std::find_if(slots_.begin(), slots_.end(), [&](const Slot& candidate) {
        return candidate.range.contains(address);
    });
    return slot == slots_.end() ? nullptr : &*slot;
}

Backing MemoryMap::backing(Gpa address) const {
    const std::shared_lock lock(mutex_);
    const Slot* const slot = find_locked(address);
    if (slot == nullptr) {
        return Backing::kNothing;
    }
    return slot->access == MemoryAccess::kReadWrite ? Backing::kReadWrite : Backing::kReadOnly;
}

bool MemoryMap::read(Gpa address, std::span<std::byte> data) const {
    const std::shared_lock lock(mutex_);
    const Slot* const slot = find_locked(address);
    if (slot == nullptr || !slot->range.contains(address, data.size())) {
        return false;
    }
    copy_bytes(data.data(), slot->host + (address.value() - slot->range.start.value()),
               data.size());
    return true;
}

bool MemoryMap::write(Gpa address, std::span<const std::byte> data) const {
    const std::shared_lock lock(mutex_);
    const Slot* const slot = find_locked(address);
    if (slot == nullptr || slot->access != MemoryAccess::kReadWrite ||
        !slot->range.contains(address, data.size())) {
        return false;
    }
    copy_bytes(slot->host + (address.value() - slot->range.start.value()), data.data(),
               data.size());
    return true;
}

}  // namespace halcyon::mshv
