/// AddressBlock: an entry of a machine's memory or port map, for people to look at.
#pragma once

#include <cstdint>
#include <string>

namespace halcyon {

/// What answers in a block of addresses.
enum class AddressKind : uint8_t {
    kRam,
    kRom,  ///< memory that a guest's writes do not change
    kIo,   ///< a device's registers
};

/// `size` bytes from `start`, in memory or port space.
struct AddressBlock {
    uint64_t start = 0;
    uint64_t size = 0;
    AddressKind kind = AddressKind::kIo;
    std::string name;
    friend bool operator==(const AddressBlock&, const AddressBlock&) = default;
};

}  // namespace halcyon
