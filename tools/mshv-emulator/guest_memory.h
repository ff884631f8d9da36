/// GuestMemory: which of the program's memory the guest sees, and where (SET_GUEST_MEMORY).
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <utility>
#include <vector>

#include "accel/mshv/mshv_abi.h"
#include "accel/mshv/mshv_hypercalls.h"
#include "tools/mshv-emulator/kvm.h"
#include "tools/mshv-emulator/options.h"
#include "tools/mshv-emulator/translate.h"

namespace halcyon::emulator {

/// One mapping. Pages are numbers of 4 KiB pages.
struct MemoryRegion {
    uint64_t first_page;
    uint64_t page_count;
    uint64_t host;                ///< address in the program
    uint8_t flags;                ///< mshv::MemoryFlag, without kMemoryUnmap
    uint32_t slot;                ///< KVM's number of it
    std::vector<uint64_t> dirty;  ///< a bit for each page, while tracking

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

/// Flags of GET_GPA_PAGES_ACCESS_STATES (struct hv_input_get_gpa_pages_access_state).
enum PageStateFlag : uint64_t {
    kClearAccessed = 1U << 0,
    kSetAccessed = 1U << 1,
    kClearDirty = 1U << 2,
    kSetDirty = 1U << 3,
};

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

    /// GPA_PAGE_ACCESS_TRACKING: KVM's dirty log for all mappings, present and to come. It can only
    /// be switched off while every writable page is dirty.
    mshv::HvStatus set_tracking(bool on);
    [[nodiscard]] bool tracking() const;
    /// GET_GPA_PAGES_ACCESS_STATES: a byte for each page, bit 0 accessed, bit 1 dirty, as before
    /// the change that `flags` (PageStateFlag) asks for. `done` pages were served, up to the first
    /// that is not mapped. KVM does not know which pages were accessed: all of them are.
    mshv::HvStatus page_states(uint64_t first_page, uint64_t count, uint64_t flags, uint8_t* states,
                               uint64_t& done);

private:
    long map(const mshv::UserMemoryRegion& argument);
    long unmap(const mshv::UserMemoryRegion& argument);
    [[nodiscard]] long set_slot(const MemoryRegion& region, bool present) const;
    [[nodiscard]] uint32_t free_slot() const;
    [[nodiscard]] const MemoryRegion* find_region(uint64_t page) const;
    [[nodiscard]] MemoryRegion* find_region(uint64_t page) {
        return const_cast<MemoryRegion*>(std::as_const(*this).find_region(page));
    }
    long collect_dirty(MemoryRegion& region);

    KvmVm& vm_;
    mutable std::shared_mutex mutex_;
    std::vector<MemoryRegion> regions_;  ///< by first_page
    bool tracking_ = false;
};

}  // namespace halcyon::emulator
