#include "daemon/hmp/tree_text.h"

#include <algorithm>
#include <vector>

#include <spdlog/fmt/fmt.h>

namespace halcyon::hmp {

namespace {

using qom::Object;

std::string indent(unsigned depth) {
    return std::string(depth * 2, ' ');
}

/// A property's value as "info qtree" has it.
std::string format_value(const Object& device, const Object::Property& property) {
    if (property.name == "addr") {
        return device.find_property("legacy-addr")->value.get<std::string>();
    }
    if (property.type.starts_with("uint")) {
        return fmt::format("{0} ({0:#x})", property.value.get<uint64_t>());
    }
    return property.value.dump();
}

/// What QEMU says of a PCI function behind its properties.
std::string format_pci_function(const Object& device) {
    const auto number = [&](const char* name) {
        return device.find_property(name)->value.get<uint64_t>();
    };
    return fmt::format("class {:04x}, addr 00:{}, pci id {:04x}:{:04x} (sub {:04x}:{:04x})\n",
                       number("x-pci-class") >> 8,
                       device.find_property("legacy-addr")->value.get<std::string>(),
                       number("x-pci-vendor-id"), number("x-pci-device-id"),
                       number("x-pci-sub-vendor-id"), number("x-pci-sub-device-id"));
}

class DeviceTree {
public:
    explicit DeviceTree(const Object& root) : root_(root) {}

    void add_bus(const Object& bus, const std::string& name, unsigned depth) {
        text_ += indent(depth) + "bus: " + name + "\n";
        text_ += indent(depth + 1) + "type " + std::string(bus.type().name) + "\n";
        for (const Object::Property& property : bus.properties()) {
            if (property.name.starts_with("child[")) {
                const std::string& path = property.value.get_ref<const std::string&>();
                add_device(*qom::resolve(root_, path).object, depth + 1);
            }
        }
    }

    [[nodiscard]] const std::string& text() const { return text_; }

private:
    void add_device(const Object& device, unsigned depth) {
        const bool named = device.path().starts_with("/machine/peripheral/");
        text_ += fmt::format("{}dev: {}, id \"{}\"\n", indent(depth), device.type().name,
                             named ? device.name() : "");
        for (const Object::Property& property : device.properties()) {
            if (property.of_device) {
                text_ += indent(depth + 1) + property.name + " = " +
                         format_value(device, property) + "\n";
            }
        }
        if (qom::is_a(device.type(), "pci-device")) {
            text_ += indent(depth + 1) + format_pci_function(device);
        }
        for (const auto& child : device.children()) {
            if (qom::is_a(child->type(), "bus")) {
                add_bus(*child, child->name(), depth + 1);
            }
        }
    }

    const Object& root_;
    std::string text_;
};

void append_object(std::string& text, const Object& object, unsigned depth) {
    text += fmt::format("{}/{} ({})\n", indent(depth), object.name(), object.type().name);
    std::vector<const Object*> children;
    for (const auto& child : object.children()) {
        children.push_back(child.get());
    }
    std::ranges::sort(children, {}, &Object::name);
    for (const Object* child : children) {
        append_object(text, *child, depth + 1);
    }
}

std::string_view kind_name(AddressKind kind) {
    switch (kind) {
        case AddressKind::kRam:
            return "ram";
        case AddressKind::kRom:
            return "rom";
        case AddressKind::kIo:
            return "i/o";
    }
    return "";
}

std::string format_block(unsigned depth, uint64_t start, uint64_t last, AddressKind kind,
                         const std::string& name) {
    return fmt::format("{}{:016x}-{:016x} (prio 0, {}): {}\n", indent(depth), start, last,
                       kind_name(kind), name);
}

}  // namespace

std::string format_device_tree(const qom::Object& root) {
    const Object* const bus = qom::resolve(root, "/machine/unattached/sysbus").object;
    DeviceTree tree(root);
    if (bus != nullptr) {
        tree.add_bus(*bus, "main-system-bus", 0);
    }
    return tree.text();
}

std::string format_object_tree(const qom::Object& top) {
    std::string text;
    append_object(text, top, 0);
    return text;
}

std::string format_address_space(const char* space, const char* container, uint64_t size,
                                 std::span<const AddressBlock> blocks) {
    std::string text = fmt::format("address-space: {}\n", space);
    text += format_block(1, 0, size - 1, AddressKind::kIo, container);
    for (const AddressBlock& block : blocks) {
        text += format_block(2, block.start, block.start + block.size - 1, block.kind, block.name);
    }
    return text + "\n";
}

}  // namespace halcyon::hmp
