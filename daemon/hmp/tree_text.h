/// The machine's trees as text: devices by bus, objects, addresses.
#pragma once

#include <span>
#include <string>

#include "daemon/qom/object.h"
#include "machine/address_map.h"

namespace halcyon::hmp {

/// "info qtree": the devices on the system's bus, those on the buses of these, and so on, with the
/// properties that make them up.
[[nodiscard]] std::string format_device_tree(const qom::Object& root);

/// "info qom-tree": `top` and what is below it, each with its type.
[[nodiscard]] std::string format_object_tree(const qom::Object& top);

/// A part of "info mtree": an address space of `size` bytes (0 for all 64 bits) and its blocks.
[[nodiscard]] std::string format_address_space(const char* space, const char* container,
                                               uint64_t size, std::span<const AddressBlock> blocks);

}  // namespace halcyon::hmp
