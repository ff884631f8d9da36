/// Strong types for the numbers that must not be mixed up: guest-physical addresses, ports,
/// interrupt numbers, vCPU numbers. Construction is explicit, arithmetic that could wrap is
/// checked.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

namespace halcyon {

/// An integer with a name. `Tag` keeps two of them apart.
template <typename Tag, typename Integer>
class StrongInteger {
public:
    constexpr StrongInteger() = default;
    constexpr explicit StrongInteger(Integer value) : value_(value) {}
    [[nodiscard]] constexpr Integer value() const { return value_; }
    friend constexpr auto operator<=>(StrongInteger, StrongInteger) = default;

private:
    Integer value_ = 0;
};

/// A port of the x86 I/O space.
using PioPort = StrongInteger<struct PioPortTag, uint16_t>;
/// A global system interrupt: an IOAPIC pin, or an MSI route above the pins.
using Gsi = StrongInteger<struct GsiTag, uint32_t>;
/// A vCPU's number, counted from 0; also its initial APIC id.
using VcpuIndex = StrongInteger<struct VcpuIndexTag, uint32_t>;

/// A guest-physical address.
class Gpa {
public:
    constexpr Gpa() = default;
    constexpr explicit Gpa(uint64_t value) : value_(value) {}
    [[nodiscard]] constexpr uint64_t value() const { return value_; }
    /// This address plus `offset` bytes; nothing when that wraps around.
    [[nodiscard]] constexpr std::optional<Gpa> checked_add(uint64_t offset) const {
        if (offset > std::numeric_limits<uint64_t>::max() - value_) {
            return std::nullopt;
        }
        return Gpa(value_ + offset);
    }
    friend constexpr auto operator<=>(Gpa, Gpa) = default;

private:
    uint64_t value_ = 0;
};

/// `size` bytes of guest-physical address space from `start`. May be empty; never wraps when made
/// by the board, and `contains` is safe for any values.
struct GpaRange {
    Gpa start;
    uint64_t size = 0;

    [[nodiscard]] constexpr bool contains(Gpa address, uint64_t length = 1) const {
        const uint64_t offset = address.value() - start.value();
        return address >= start && length <= size && offset <= size - length;
    }
    [[nodiscard]] constexpr bool overlaps(const GpaRange& other) const {
        return size != 0 && other.size != 0 && (contains(other.start) || other.contains(start));
    }
    friend constexpr bool operator==(const GpaRange&, const GpaRange&) = default;
};

/// The page size of every backend (MSHV_HV_PAGE_SIZE of Linux's mshv.h; KVM memory slots).
inline constexpr uint64_t kPageSize = 4096;

constexpr uint64_t operator""_KiB(unsigned long long value) {
    return value << 10;
}
constexpr uint64_t operator""_MiB(unsigned long long value) {
    return value << 20;
}
constexpr uint64_t operator""_GiB(unsigned long long value) {
    return value << 30;
}

}  // namespace halcyon
