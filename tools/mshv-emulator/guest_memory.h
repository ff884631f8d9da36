/// GuestMemory: which of the program's memory the guest sees, and where (SET_GUEST_MEMORY).
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <vector>

#include "accel/mshv/mshv_abi.h"
#include "tools/mshv-emulator/kvm.h"
#include "tools/mshv-emulator/options.h"
#include "tools/mshv-emulator/translate.h"

namespace halcyon::emulator {

/// One mapping. Pages are numbers of 4 KiB pages.
struct MemoryRegion {
    uint64_t first_page;
    uint64_t page_count;
    uint64_t host;  ///< address in the program
    uint8_t flags;  ///< mshv::MemoryFlag, without kMemoryUnmap
    uint32_t slot;  ///< KVM's number of it

    [[nodiscard]] bool contains(uint64_t page) const {
        return page >= first_page && page - first_page < page_count;
    }
    [[nodiscard]] bool writable() const { return (flags & mshv::kMemoryWritable) != 0; }
};

/// Checks SET_GUEST_MEMORY's argument by itself: 0 or -EINVAL.
long check_memory_argument(const mshv::UserMemoryRegion& argument);
/// Whether a mapping may be added: 0 or -EEXIST. Old kernels look at the ends of the new one only,
/// but also refuse memory of the program that is mapped already.
long check_memory_overlap(const std::vector<MemoryRegion>& regions,
                          const mshv::UserMemoryRegion& argument, Kernel kernel);
/// The position of the mapping to remove, or -errno.
long find_memory_to_unmap(const std::vector<MemoryRegion>& regions,
                          const mshv::UserMemoryRegion& argument, Kernel kernel);

/// Any thread: vCPU threads look up while the partition's ioctls change.
class GuestMemory final : public PhysicalMemory {
public:
    explicit GuestMemory(KvmVm& vm) : vm_(vm) {}

    /// SET_GUEST_MEMORY after its argument was copied: 0 or -errno.
    long set(const mshv::UserMemoryRegion& argument);

    /// Where a guest-physical address is.
    struct Place {
        uint64_t host;   ///< address in the program; may be inaccessible, so use the copies below
        uint64_t bytes;  ///< to the end of the mapping, at least 1
        bool writable;
    };
    [[nodiscard]] std::optional<Place> find(uint64_t gpa) const;
    /// Whether an access to `gpa` is a GPA_INTERCEPT (there is memory) or an UNMAPPED_GPA.
    [[nodiscard]] bool is_mapped(uint64_t gpa) const { return find(gpa).has_value(); }

    /// Copies; true when all of it is there. `write` takes no heed of read-only mappings.
    bool read(uint64_t gpa, void* to, uint64_t size) const override;
    bool write(uint64_t gpa, const void* from, uint64_t size);
    [[nodiscard]] Access access(uint64_t gpa) const override;
    void set_entry_bits(uint64_t gpa, uint64_t bits) override;

    /// GPA_PAGE_ACCESS_TRACKING: KVM's dirty log for all mappings, present and to come.
    long set_tracking(bool on);
    [[nodiscard]] bool tracking() const;
    /// Reads and clears KVM's dirty bits of the mapping with that page: a bit for each of its
    /// pages. -ENOENT without such a mapping.
    long take_dirty_log(uint64_t page, MemoryRegion& region, std::vector<uint64_t>& bits);

private:
    long map(const mshv::UserMemoryRegion& argument);
    long unmap(const mshv::UserMemoryRegion& argument);
    [[nodiscard]] long set_slot(const MemoryRegion& region, bool present) const;
    [[nodiscard]] uint32_t free_slot() const;
    [[nodiscard]] const MemoryRegion* find_region(uint64_t page) const;

    KvmVm& vm_;
    mutable std::shared_mutex mutex_;
    std::vector<MemoryRegion> regions_;  ///< by first_page
    bool tracking_ = false;
};

}  // namespace halcyon::emulator
