#include "tools/mshv-emulator/guest_memory.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <limits>

#include "tools/mshv-emulator/trap.h"

namespace halcyon::emulator {

namespace {

constexpr uint64_t kPage = mshv::kHvPageSize;

/// KVM's limit of a guest-physical address: 52 bits of address.
constexpr uint64_t kMaxPages = uint64_t{1} << 40;

bool overlaps(uint64_t first, uint64_t count, uint64_t other_first, uint64_t other_count) {
    return first < other_first + other_count && other_first < first + count;
}

/// Whether the program has something mapped there: the driver looks at the first address alone.
/// mincore fails with ENOMEM where nothing is.
bool is_mapped_in_program(uint64_t address) {
    unsigned char resident = 0;
    return raw_syscall(SYS_mincore, static_cast<long>(address), static_cast<long>(kPage),
                       reinterpret_cast<long>(&resident)) != -ENOMEM;
}

/// access_ok(): within the address space of a program.
bool in_user_space(uint64_t address, uint64_t size) {
    constexpr uint64_t kEnd = (uint64_t{1} << 56) - kPage;
    return size <= kEnd && address <= kEnd - size;
}

}  // namespace

// ---- The rules ---------------------------------------------------------------------------------

long check_memory_argument(const mshv::UserMemoryRegion& argument) {
    constexpr uint8_t kKnown = mshv::kMemoryWritable | mshv::kMemoryExecutable | mshv::kMemoryUnmap;
    const bool reserved = std::any_of(std::begin(argument.reserved), std::end(argument.reserved),
                                      [](uint8_t byte) { return byte != 0; });
    if (argument.size == 0 || argument.size % kPage != 0 ||
        argument.userspace_address % kPage != 0 || (argument.flags & ~kKnown) != 0 || reserved) {
        return -EINVAL;
    }
    return 0;
}

long check_memory_overlap(const std::vector<MemoryRegion>& regions,
                          const mshv::UserMemoryRegion& argument, Kernel kernel) {
    const uint64_t first = argument.guest_pfn;
    const uint64_t count = argument.size / kPage;
    for (const MemoryRegion& region : regions) {
        if (kernel == Kernel::kNew) {
            if (overlaps(first, count, region.first_page, region.page_count)) {
                return -EEXIST;
            }
            continue;
        }
        const bool ends = region.contains(first) || region.contains(first + count - 1);
        const bool alias = overlaps(argument.userspace_address / kPage, count, region.host / kPage,
                                    region.page_count);
        if (ends || alias) {
            return -EEXIST;
        }
    }
    return 0;
}

long find_memory_to_unmap(const std::vector<MemoryRegion>& regions,
                          const mshv::UserMemoryRegion& argument, Kernel kernel) {
    const auto region = std::find_if(
        regions.begin(), regions.end(),
        [&](const MemoryRegion& candidate) { return candidate.contains(argument.guest_pfn); });
    if (region == regions.end()) {
        return kernel == Kernel::kNew ? -ENOENT : -EINVAL;
    }
    if (region->first_page != argument.guest_pfn || region->host != argument.userspace_address ||
        region->page_count != argument.size / kPage) {
        return -EINVAL;
    }
    return region - regions.begin();
}

// ---- Changes -----------------------------------------------------------------------------------

long GuestMemory::set(const mshv::UserMemoryRegion& argument) {
    if (const long error = check_memory_argument(argument); error < 0) {
        return error;
    }
    const std::unique_lock lock(mutex_);
    return (argument.flags & mshv::kMemoryUnmap) != 0 ? unmap(argument) : map(argument);
}

long GuestMemory::map(const mshv::UserMemoryRegion& argument) {
    if (!in_user_space(argument.userspace_address, argument.size) ||
        !is_mapped_in_program(argument.userspace_address)) {
        return -EINVAL;
    }
    if (const long error = check_memory_overlap(regions_, argument, options().kernel); error < 0) {
        return error;
    }
    const uint64_t count = argument.size / kPage;
    if (argument.guest_pfn >= kMaxPages || count > kMaxPages - argument.guest_pfn) {
        return -EINVAL;  // the hypervisor's: there is no such address
    }
    MemoryRegion region{};
    region.first_page = argument.guest_pfn;
    region.page_count = count;
    region.host = argument.userspace_address;
    region.flags = argument.flags;
    region.slot = free_slot();
    const long result = set_slot(region, true);
    if (result < 0) {
        return result == -EEXIST ? -EEXIST : result == -ENOMEM ? -ENOMEM : -EINVAL;
    }
    regions_.insert(std::upper_bound(regions_.begin(), regions_.end(), region,
                                     [](const MemoryRegion& a, const MemoryRegion& b) {
                                         return a.first_page < b.first_page;
                                     }),
                    region);
    return 0;
}

long GuestMemory::unmap(const mshv::UserMemoryRegion& argument) {
    const long found = find_memory_to_unmap(regions_, argument, options().kernel);
    if (found < 0) {
        return found;
    }
    const auto region = regions_.begin() + found;
    const long result = set_slot(*region, false);
    if (result < 0) {
        return result;
    }
    regions_.erase(region);
    return 0;
}

long GuestMemory::set_slot(const MemoryRegion& region, bool present) const {
    kvm_userspace_memory_region slot{};
    slot.slot = region.slot;
    slot.guest_phys_addr = region.first_page * kPage;
    slot.memory_size = present ? region.page_count * kPage : 0;
    slot.userspace_addr = region.host;
    if (!region.writable()) {
        slot.flags |= KVM_MEM_READONLY;
    } else if (tracking_) {
        slot.flags |= KVM_MEM_LOG_DIRTY_PAGES;
    }
    return vm_.ioctl(KVM_SET_USER_MEMORY_REGION, &slot);
}

uint32_t GuestMemory::free_slot() const {
    std::vector<bool> used(regions_.size() + 1);
    for (const MemoryRegion& region : regions_) {
        if (region.slot < used.size()) {
            used[region.slot] = true;
        }
    }
    return static_cast<uint32_t>(std::find(used.begin(), used.end(), false) - used.begin());
}

// ---- Look-up -----------------------------------------------------------------------------------

const MemoryRegion* GuestMemory::find_region(uint64_t page) const {
    const auto after = std::upper_bound(
        regions_.begin(), regions_.end(), page,
        [](uint64_t value, const MemoryRegion& region) { return value < region.first_page; });
    if (after == regions_.begin()) {
        return nullptr;
    }
    const MemoryRegion& region = *(after - 1);
    return region.contains(page) ? &region : nullptr;
}

std::optional<GuestMemory::Place> GuestMemory::find(uint64_t gpa) const {
    const std::shared_lock lock(mutex_);
    const MemoryRegion* region = find_region(gpa / kPage);
    if (region == nullptr) {
        return std::nullopt;
    }
    const uint64_t offset = gpa - region->first_page * kPage;
    return Place{.host = region->host + offset,
                 .bytes = region->page_count * kPage - offset,
                 .writable = region->writable()};
}

bool GuestMemory::read(uint64_t gpa, void* to, uint64_t size) const {
    auto* bytes = static_cast<uint8_t*>(to);
    while (size != 0) {
        const std::optional<Place> place = find(gpa);
        if (!place) {
            return false;
        }
        const uint64_t count = std::min(size, place->bytes);
        if (copy_from_program(bytes, place->host, count) != 0) {
            return false;
        }
        bytes += count;
        gpa += count;
        size -= count;
    }
    return true;
}

bool GuestMemory::write(uint64_t gpa, const void* from, uint64_t size) {
    const auto* bytes = static_cast<const uint8_t*>(from);
    while (size != 0) {
        const std::optional<Place> place = find(gpa);
        if (!place) {
            return false;
        }
        const uint64_t count = std::min(size, place->bytes);
        if (copy_to_program(place->host, bytes, count) != 0) {
            return false;
        }
        bytes += count;
        gpa += count;
        size -= count;
    }
    return true;
}

PhysicalMemory::Access GuestMemory::access(uint64_t gpa) const {
    const std::optional<Place> place = find(gpa);
    if (!place) {
        return Access::kNone;
    }
    return place->writable ? Access::kReadWrite : Access::kReadOnly;
}

void GuestMemory::set_entry_bits(uint64_t gpa, uint64_t bits) {
    const std::optional<Place> place = find(gpa);
    uint64_t entry = 0;
    // The copy shows that the entry is there: a direct access cannot fault then.
    if (!place || !place->writable || place->bytes < sizeof(entry) ||
        place->host % sizeof(uint32_t) != 0 ||
        copy_from_program(&entry, place->host, sizeof(entry)) != 0 || (entry & bits) == bits) {
        return;
    }
    // Accessed and dirty bits are in the low half, so that 32-bit entries are served too.
    auto* low = reinterpret_cast<uint32_t*>(place->host);
    std::atomic_ref(*low).fetch_or(static_cast<uint32_t>(bits));
}

}  // namespace halcyon::emulator
