/// DeviceDescription: what a board tells of one of its devices.
#pragma once

#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "devices/char_backend.h"

namespace halcyon {

/// The value of a property; a time is a broken-down one, as a clock shows it.
using PropertyValue = std::variant<bool, int64_t, std::string, std::tm, const CharBackend*>;

struct DeviceProperty {
    std::string_view name;
    PropertyValue value;
};

/// Which bus a device is on.
enum class DeviceBus : uint8_t { kSystem, kIsa, kPci };

/// A device and the present values of its properties. Names are those that QEMU has for the same
/// device and property, as clients know them.
struct DeviceDescription {
    std::string_view model;  ///< "isa-serial"
    DeviceBus bus = DeviceBus::kSystem;
    /// Its path below the machine ("i440fx/ioapic"); empty for one among the many.
    std::string_view place = {};
    std::vector<DeviceProperty> properties = {};
};

}  // namespace halcyon
