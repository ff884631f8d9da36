/// The object types that clients can ask about, and their properties.
#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace halcyon::qom {

/// A property that every object of a type has.
struct PropertySpec {
    std::string_view name;
    std::string_view type;  ///< as QEMU names it: "uint16", "str", "link<bus>"
    std::string_view description = {};
    /// The default in JSON; empty where there is none to tell.
    std::string_view default_value = {};
    /// It belongs to a device's make-up and is fixed with it; device-list-properties tells of it.
    bool of_device = false;
};

/// A type. Names and parents are QEMU's where it is the same thing.
struct TypeSpec {
    std::string_view name;
    std::string_view parent;  ///< empty for the two roots, object and interface
    bool is_abstract = false;
    std::span<const PropertySpec> properties = {};  ///< besides the parent's
    std::string_view interface = {};                ///< that it implements; empty for none
};

/// All types.
[[nodiscard]] std::span<const TypeSpec> types();
/// The type of that name, or null.
[[nodiscard]] const TypeSpec* find_type(std::string_view name);
/// Whether `type` is `ancestor`, descends from it, or implements it.
[[nodiscard]] bool is_a(const TypeSpec& type, std::string_view ancestor);
/// The properties of a type, its ancestors' first.
[[nodiscard]] std::vector<const PropertySpec*> properties_of(const TypeSpec& type);
/// One of them, or null.
[[nodiscard]] const PropertySpec* find_property(const TypeSpec& type, std::string_view name);

}  // namespace halcyon::qom
