/// MemoryMap: the guest's memory, as mapped into a partition of the mshv driver.
#pragma once

#include <atomic>
#include <cstdint>
#include <shared_mutex>
#include <span>
#include <vector>

#include "accel/mshv/mshv_driver.h"
#include "accel/partition.h"
#include "base/mapping.h"
#include "base/types.h"

namespace halcyon::mshv {

/// What is behind a guest-physical address.
enum class Backing { kNothing, kReadOnly, kReadWrite };

/// Maps memory into a partition (MSHV_SET_GUEST_MEMORY) and keeps the list of what is mapped, for
/// the instructions that this backend carries out itself. Any thread, also while vCPUs run.
///
/// Old drivers (before about Linux 6.19) do not map host memory a second time. A PC's firmware is
/// in two places, so a second read-only mapping is made of a copy there: what is mapped read-only
/// must not be written by the host afterwards. A second writable mapping fails on them.
class MemoryMap {
public:
    MemoryMap(Driver& driver, int partition_fd) : driver_(driver), fd_(partition_fd) {}
    MemoryMap(const MemoryMap&) = delete;
    MemoryMap& operator=(const MemoryMap&) = delete;

    /// As Partition::map_memory and unmap_memory.
    Result<void> map(GpaRange range, std::byte* host, MemoryAccess access);
    Result<void> unmap(GpaRange range);

    [[nodiscard]] Backing backing(Gpa address) const;
    /// Copies from or to guest memory; false, and nothing done, where it is not all in one mapping
    /// that allows it.
    [[nodiscard]] bool read(Gpa address, std::span<std::byte> data) const;
    [[nodiscard]] bool write(Gpa address, std::span<const std::byte> data) const;

    /// Changes with every map and unmap.
    [[nodiscard]] uint64_t generation() const {
        return generation_.load(std::memory_order_acquire);
    }

private:
    struct Slot {
        GpaRange range;
        std::byte* host;  ///< what the hypervisor was given
        MemoryAccess access;
        Mapping copy;  ///< of the caller's memory, when `host` is not that
    };

    [[nodiscard]] const Slot* find_locked(Gpa address) const;
    [[nodiscard]] bool host_is_mapped_locked(const std::byte* host, uint64_t size) const;
    Result<void> map_copy_locked(Slot& slot);
    int set_region(const Slot& slot, uint8_t flags);

    Driver& driver_;
    const int fd_;
    /// Guards slots_, and is held while the hypervisor changes the mapping that a slot stands for,
    /// so that whoever finds no slot knows that the hypervisor has none.
    mutable std::shared_mutex mutex_;
    std::vector<Slot> slots_;
    std::atomic<uint64_t> generation_{0};
};

}  // namespace halcyon::mshv
