/// GuestMemory: the guest's RAM and ROM as the host sees them, and the safe way to copy in and out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"
#include "base/types.h"

namespace halcyon {

/// Guest RAM, by guest-physical address. Regions are added while the machine is built and stay; the
/// main thread adds, any thread may copy afterwards. A guest controls the addresses that reach
/// `read` and `write`, so an access outside RAM is an Error, never an abort. No pointer into guest
/// memory is handed out but `region_data`, for the partition's mappings.
class GuestMemory {
public:
    struct Region {
        GpaRange range;
        Mapping mapping;
        std::string name;
    };

    /// Allocates zeroed memory for `range` (page aligned). Fails when it overlaps a region, or the
    /// host refuses the memory.
    Result<void> add(GpaRange range, std::string name);

    /// Copies guest memory; the range may cross regions that touch.
    Result<void> read(Gpa address, std::span<std::byte> out) const;
    Result<void> write(Gpa address, std::span<const std::byte> in) const;

    template <typename T>
    [[nodiscard]] Result<T> read_object(Gpa address) const {
        static_assert(std::is_trivially_copyable_v<T>);
        T value{};
        TRY(read(address, std::as_writable_bytes(std::span(&value, 1))));
        return value;
    }
    template <typename T>
    Result<void> write_object(Gpa address, const T& value) const {
        static_assert(std::is_trivially_copyable_v<T>);
        return write(address, std::as_bytes(std::span(&value, 1)));
    }

    [[nodiscard]] const std::vector<Region>& regions() const { return regions_; }
    /// Host address of a range that lies in one region; null otherwise. Only for mapping it into a
    /// partition, and for the loaders that fill it before the guest runs.
    [[nodiscard]] std::byte* host_address(GpaRange range) const;

private:
    std::vector<Region> regions_;
};

}  // namespace halcyon
