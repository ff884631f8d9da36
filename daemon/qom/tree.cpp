#include "daemon/qom/tree.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "daemon/chardev/kinds.h"
#include "daemon/commands/convert.h"
#include "protocol/decode.h"

namespace halcyon::qom {

namespace {

std::string device_name(size_t index) {
    return "device[" + std::to_string(index) + "]";
}

/// As QEMU tells a time: the members of struct tm that a clock has.
Json encode(const std::tm& time) {
    return {{"tm_year", time.tm_year}, {"tm_mon", time.tm_mon}, {"tm_mday", time.tm_mday},
            {"tm_hour", time.tm_hour}, {"tm_min", time.tm_min}, {"tm_sec", time.tm_sec}};
}

class TreeBuilder {
public:
    TreeBuilder(Machine& machine, ChardevRegistry& chardevs, UserObjects& objects)
        : machine_(machine),
          chardevs_(chardevs),
          objects_(objects),
          root_(std::make_unique<Object>("", "container")) {}

    std::unique_ptr<Object> build() {
        add_objects(root_->container("objects"));
        add_machine(root_->add_child("machine", is_pc(machine_) ? "pc-machine" : "none-machine"));
        add_chardevs(root_->container("chardevs"));
        return std::move(root_);
    }

private:
    // -- machine ------------------------------------------------------------------------------

    void add_machine(Object& machine) {
        Object& unattached = machine.container("unattached");
        machine.container("peripheral");
        machine.container("peripheral-anon");
        put_machine_properties(machine);
        Object& system_bus = unattached.add_child("sysbus", "System");
        system_bus.put("realized", true);
        for (const VcpuInfo& vcpu : machine_.vcpus()) {
            add_vcpu(unattached, vcpu);
        }
        if (machine_.board() != nullptr) {
            add_devices(machine, system_bus);
        }
    }

    void put_machine_properties(Object& object) {
        const MachineConfig& config = machine_.config();
        const bool pc = is_pc(machine_);
        const uint32_t vcpus = pc ? config.vcpu_count : 0;
        object.put("firmware", pc ? config.firmware_path : "");
        object.put("memory", {{"size", pc ? config.ram_size : 0}});
        object.put("smp", {{"cpus", vcpus},
                           {"maxcpus", vcpus},
                           {"sockets", 1},
                           {"dies", 1},
                           {"clusters", 1},
                           {"cores", vcpus},
                           {"threads", 1}});
        object.put("graphics", false);
        object.put("usb", false);
        object.put("memory-backend", pc ? std::string("/objects/") + kMainMemoryId : "");
        // The rest is that of a PC.
        object.put("smm", "off");
        object.put("acpi", "on");
        object.put("pit", "on");
        object.put("pic", "on");
        object.put("vmport", "off");
        object.put("hpet", false);
        object.put("i8042", true);
    }

    void add_vcpu(Object& unattached, const VcpuInfo& vcpu) {
        const MachineConfig& config = machine_.config();
        Object& cpu =
            unattached.add_child(device_name(vcpu.index.value()), cpu_type_name(config.cpu_model));
        put_device_properties(cpu, "");
        const qmp::CpuInstanceProperties place = vcpu_properties(vcpu.index);
        cpu.put("apic-id", vcpu.index.value());
        cpu.put("socket-id", place.socket_id.value_or(0));
        cpu.put("die-id", place.die_id.value_or(0));
        cpu.put("core-id", place.core_id.value_or(0));
        cpu.put("thread-id", place.thread_id.value_or(0));
        cpu.put("__org.halcyon_host-thread-id", vcpu.thread_id);
        cpu.put("__org.halcyon_state", vcpu.state);
        const bool kvm =
            machine_.accelerator() != nullptr && machine_.accelerator()->name() == "kvm";
        Object& apic = cpu.add_child("lapic", kvm ? "kvm-apic" : "apic");
        put_device_properties(apic, "");
        apic.put("id", vcpu.index.value());
    }

    /// What every device has.
    static void put_device_properties(Object& device, const std::string& bus) {
        device.put("parent_bus", bus);
        const std::string type(device.type().name);
        device.put("realized", true, [type](const Json& value) -> Result<void> {
            bool realized = false;
            TRY(decode(value, MemberPath().member("realized"), realized));
            return realized ? Result<void>()
                            : Error("Device '" + type + "' does not support hotplugging");
        });
        device.put("hotplugged", false);
        device.put("hotpluggable", false);
    }

    // -- devices ------------------------------------------------------------------------------

    void add_devices(Object& machine, Object& system_bus) {
        Object* pci_bus = nullptr;
        Object* isa_bus = nullptr;
        size_t index = machine_.vcpus().size();
        for (const DeviceDescription& description : machine_.board()->devices()) {
            Object& parent = parent_of(machine, description);
            const std::string name =
                description.place.empty()
                    ? device_name(index++)
                    : std::string(description.place.substr(description.place.rfind('/') + 1));
            Object& device = parent.add_child(name, type_of(description));
            Object* const bus = description.bus == DeviceBus::kIsa   ? isa_bus
                                : description.bus == DeviceBus::kPci ? pci_bus
                                                                     : &system_bus;
            put_device_properties(device, bus != nullptr ? bus->path() : "");
            if (bus != nullptr) {
                const size_t number = links_[bus]++;
                bus->add_link("child[" + std::to_string(number) + "]", device.type().name,
                              device.path());
            }
            for (const DeviceProperty& property : description.properties) {
                device.put(property.name, encode(property.value));
            }
            if (device.type().name == "i440FX-pcihost") {
                pci_bus = &add_bus(device, "pci.0", "PCI");
            } else if (device.type().name == "PIIX3") {
                isa_bus = &add_bus(device, "isa.0", "ISA");
            }
            put_machine_links(machine, device);
        }
    }

    static Object& add_bus(Object& bridge, const char* name, const char* type) {
        Object& bus = bridge.add_child(name, type);
        bus.put("realized", true);
        return bus;
    }

    static Object& parent_of(Object& machine, const DeviceDescription& description) {
        Object* parent = description.place.empty() ? &machine.container("unattached") : &machine;
        std::string_view place = description.place;
        for (size_t end = place.find('/'); end != std::string_view::npos; end = place.find('/')) {
            parent = &parent->container(place.substr(0, end));
            place.remove_prefix(end + 1);
        }
        return *parent;
    }

    static std::string_view type_of(const DeviceDescription& description) {
        const TypeSpec* const type = find_type(description.model);
        if (type != nullptr) {
            return type->name;
        }
        switch (description.bus) {
            case DeviceBus::kIsa:
                return "isa-device";
            case DeviceBus::kPci:
                return "pci-device";
            case DeviceBus::kSystem:
                break;
        }
        return "sys-bus-device";
    }

    static void put_machine_links(Object& machine, const Object& device) {
        if (device.type().name == "mc146818rtc") {
            machine.put("rtc_state", device.path());
            machine.put("rtc-time", device.find_property("date")->value);
        } else if (device.type().name == "PIIX4_PM") {
            machine.put("acpi-device", device.path());
        }
    }

    Json encode(const PropertyValue& value) {
        if (const auto* flag = std::get_if<bool>(&value)) {
            return *flag;
        }
        if (const auto* number = std::get_if<int64_t>(&value)) {
            return *number;
        }
        if (const auto* text = std::get_if<std::string>(&value)) {
            return *text;
        }
        if (const auto* time = std::get_if<std::tm>(&value)) {
            return qom::encode(*time);
        }
        return backend_id(std::get<const CharBackend*>(value));
    }

    /// The identifier of what a device's console is connected to.
    std::string backend_id(const CharBackend* backend) {
        for (const auto& chardev : chardevs_.all()) {
            if (chardevs_.find_slot(*chardev) == backend) {
                return chardev->id();
            }
        }
        return "";
    }

    // -- back ends ----------------------------------------------------------------------------

    void add_objects(Object& container) {
        if (is_pc(machine_)) {
            Object& ram = container.add_child(kMainMemoryId, "memory-backend-ram");
            // As query-memdev tells it.
            ram.put("size", machine_.config().ram_size);
            ram.put("share", false);
            ram.put("dump", true);
            ram.put("merge", false);
            ram.put("prealloc", false);
            ram.put("reserve", false);
            ram.put("policy", "default");
            ram.put("host-nodes", Json::array());
        }
        for (auto& [id, secret] : objects_.secrets()) {
            add_secret(container, id, secret);
        }
    }

    /// A property that holds a text which may be absent.
    static void put_text(Object& object, const char* name, std::optional<std::string>& text) {
        object.put(name, text.value_or(""), [name, &text](const Json& value) {
            return decode(value, MemberPath().member(name), text.emplace());
        });
    }

    static void add_secret(Object& container, const std::string& id, Secret& secret) {
        Object& object = container.add_child(id, "secret");
        SecretSettings& settings = secret.settings();
        // Of encrypted secrets, which there are none of.
        object.put("iv", "");
        object.put("keyid", "");
        object.put("loaded", true);
        object.put("format", settings.format == SecretFormat::kRaw ? "raw" : "base64",
                   [&settings](const Json& value) -> Result<void> {
                       std::string text;
                       TRY(decode(value, MemberPath().member("format"), text));
                       if (text != "raw" && text != "base64") {
                           return not_accepted(MemberPath().member("format"), text);
                       }
                       settings.format = text == "raw" ? SecretFormat::kRaw : SecretFormat::kBase64;
                       return {};
                   });
        put_text(object, "file", settings.file);
        put_text(object, "data", settings.data);
    }

    void add_chardevs(Object& container) {
        for (const std::unique_ptr<Chardev>& chardev : chardevs_.all()) {
            Object& object = container.add_child(chardev->id(), chardev_type(*chardev));
            object.put("connected", chardev->is_open());
        }
    }

    static std::string_view chardev_type(const Chardev& chardev) {
        if (dynamic_cast<const SocketChardev*>(&chardev) != nullptr) {
            return "chardev-socket";
        }
        if (dynamic_cast<const FileChardev*>(&chardev) != nullptr) {
            return "chardev-file";
        }
        if (dynamic_cast<const StdioChardev*>(&chardev) != nullptr) {
            return "chardev-stdio";
        }
        if (dynamic_cast<const PtyChardev*>(&chardev) != nullptr) {
            return "chardev-pty";
        }
        return dynamic_cast<const RingbufChardev*>(&chardev) != nullptr ? "chardev-ringbuf"
                                                                        : "chardev-null";
    }

    Machine& machine_;
    ChardevRegistry& chardevs_;
    UserObjects& objects_;
    std::unique_ptr<Object> root_;
    std::map<const Object*, size_t> links_;  ///< how many devices each bus has so far
};

}  // namespace

std::unique_ptr<Object> build_tree(Machine& machine, ChardevRegistry& chardevs,
                                   UserObjects& objects) {
    return TreeBuilder(machine, chardevs, objects).build();
}

}  // namespace halcyon::qom
