#include "daemon/qom/types.h"

#include <algorithm>
#include <array>

namespace halcyon::qom {

namespace {

constexpr std::array<PropertySpec, 1> kObject = {{{"type", "string"}}};

// -- devices --------------------------------------------------------------------------------------

constexpr std::array<PropertySpec, 4> kDevice = {{
    {"parent_bus", "link<bus>"},
    {"realized", "bool"},
    {"hotplugged", "bool"},
    {"hotpluggable", "bool"},
}};
constexpr std::array<PropertySpec, 1> kBus = {{{"realized", "bool"}}};
constexpr std::array<PropertySpec, 8> kPciDevice = {{
    {"addr", "int32", "Slot and optional function number, example: 06.0 or 06", "-1", true},
    {"legacy-addr", "str"},
    {"multifunction", "bool", "on/off", "false", true},
    {"x-pci-vendor-id", "uint32"},
    {"x-pci-device-id", "uint32"},
    {"x-pci-sub-vendor-id", "uint32"},
    {"x-pci-sub-device-id", "uint32"},
    {"x-pci-class", "uint32", "base class, sub-class, interface: 0xBBSSII"},
}};
constexpr std::array<PropertySpec, 6> kPiix4Pm = {{
    {"pm_io_base", "uint32"},
    {"sci_int", "uint16"},
    {"gpe0_blk", "uint32"},
    {"gpe0_blk_len", "uint32"},
    {"acpi_enable_cmd", "uint8"},
    {"acpi_disable_cmd", "uint8"},
}};
constexpr std::array<PropertySpec, 7> kCpu = {{
    {"apic-id", "uint32", "", "4294967295", true},
    {"socket-id", "int32", "", "-1", true},
    {"die-id", "int32", "", "-1", true},
    {"core-id", "int32", "", "-1", true},
    {"thread-id", "int32", "", "-1", true},
    {"__org.halcyon_host-thread-id", "int64", "the Linux thread that runs it; 0 without"},
    {"__org.halcyon_state", "str", "what its thread is doing"},
}};
constexpr std::array<PropertySpec, 1> kApic = {{{"id", "uint32", "", "", true}}};
constexpr std::array<PropertySpec, 1> kIoapic = {{{"version", "uint8", "", "32", true}}};
constexpr std::array<PropertySpec, 1> kFwCfg = {{{"dma_enabled", "bool", "", "true", true}}};
constexpr std::array<PropertySpec, 4> kPic = {{
    {"iobase", "uint32", "", "4294967295", true},
    {"elcr_addr", "uint32", "", "4294967295", true},
    {"elcr_mask", "uint8", "", "255", true},
    {"master", "bool", "on/off", "false", true},
}};
constexpr std::array<PropertySpec, 4> kRtc = {{
    {"iobase", "uint16", "", "112", true},
    {"irq", "uint8", "", "8", true},
    {"base_year", "int32", "", "1980", true},
    {"date", "struct tm", "what the clock shows"},
}};
constexpr std::array<PropertySpec, 1> kPit = {{{"iobase", "uint32", "", "4294967295", true}}};
constexpr std::array<PropertySpec, 5> kIsaSerial = {{
    {"index", "uint32", "", "4294967295", true},
    {"iobase", "uint32", "", "4294967295", true},
    {"irq", "uint32", "", "4294967295", true},
    {"chardev", "str", "ID of a chardev to use as a backend", "", true},
    {"baudbase", "uint32", "", "115200", true},
}};
constexpr std::array<PropertySpec, 2> kI8042 = {{
    {"kbd-irq", "uint8", "", "1", true},
    {"mouse-irq", "uint8", "", "12", true},
}};
constexpr std::array<PropertySpec, 3> kDebugcon = {{
    {"iobase", "uint32", "", "1026", true},
    {"readback", "uint32", "", "233", true},
    {"chardev", "str", "ID of a chardev to use as a backend", "", true},
}};

// -- machines -------------------------------------------------------------------------------------

constexpr std::array<PropertySpec, 6> kMachine = {{
    {"firmware", "string", "Firmware image"},
    {"memory", "MemorySizeConfiguration", "Memory size configuration"},
    {"smp", "SMPConfiguration", "CPU topology"},
    {"graphics", "bool", "Set on/off to enable/disable graphics emulation"},
    {"usb", "bool", "Set on/off to enable/disable usb"},
    {"memory-backend", "link<memory-backend>",
     "Set RAM backendValid value is ID of hostmem based backend"},
}};
constexpr std::array<PropertySpec, 4> kX86Machine = {{
    {"smm", "OnOffAuto", "Enable SMM"},
    {"acpi", "OnOffAuto", "Enable ACPI"},
    {"pit", "OnOffAuto", "Enable i8254 PIT"},
    {"pic", "OnOffAuto", "Enable i8259 PIC"},
}};
constexpr std::array<PropertySpec, 6> kPcMachine = {{
    {"vmport", "OnOffAuto", "Enable vmport (pc & q35)"},
    {"hpet", "bool", "Enable/disable high precision event timer emulation"},
    {"i8042", "bool"},
    {"rtc_state", "link<isa-device>"},
    {"rtc-time", "struct tm"},
    {"acpi-device", "link<hotplug-handler>"},
}};

// -- back ends ------------------------------------------------------------------------------------

constexpr std::array<PropertySpec, 1> kSocket = {{{"connected", "bool"}}};
constexpr std::array<PropertySpec, 8> kMemoryBackend = {{
    {"size", "int", "Size of the memory region (ex: 500M)"},
    {"share", "bool", "Mark the memory as private to QEMU or shared"},
    {"dump", "bool", "Set to 'off' to exclude from core dump"},
    {"merge", "bool", "Mark memory as mergeable"},
    {"prealloc", "bool", "Preallocate memory"},
    {"reserve", "bool", "Reserve swap space (or huge pages) if applicable"},
    {"policy", "HostMemPolicy", "Set the NUMA policy"},
    {"host-nodes", "int", "Binds memory to the list of NUMA host nodes"},
}};
constexpr std::array<PropertySpec, 4> kSecretCommon = {{
    {"iv", "string"},
    {"keyid", "string"},
    {"loaded", "bool"},
    {"format", "QCryptoSecretFormat"},
}};
constexpr std::array<PropertySpec, 2> kSecret = {{{"file", "string"}, {"data", "string"}}};

constexpr auto kTypes = std::to_array<TypeSpec>({
    {"object", "", true, kObject},
    {"interface", "", true},
    {"user-creatable", "interface", true},
    {"container", "object"},

    {"machine", "object", true, kMachine},
    {"x86-machine", "machine", true, kX86Machine},
    {"generic-pc-machine", "x86-machine", true, kPcMachine},
    {"pc-machine", "generic-pc-machine"},
    {"none-machine", "machine"},

    {"bus", "object", true, kBus},
    {"System", "bus"},
    {"ISA", "bus"},
    {"PCI", "bus"},

    {"device", "object", true, kDevice},
    {"cpu", "device", true},
    {"x86_64-cpu", "cpu", true, kCpu},
    {"max-x86_64-cpu", "x86_64-cpu"},
    {"host-x86_64-cpu", "max-x86_64-cpu"},
    {"apic-common", "device", true, kApic},
    {"apic", "apic-common"},
    {"kvm-apic", "apic-common"},

    {"sys-bus-device", "device", true},
    {"ioapic-common", "sys-bus-device", true, kIoapic},
    {"ioapic", "ioapic-common"},
    {"fw_cfg", "sys-bus-device", true, kFwCfg},
    {"fw_cfg_io", "fw_cfg"},
    {"pci-host-bridge", "sys-bus-device", true},
    {"i440FX-pcihost", "pci-host-bridge"},

    {"pci-device", "device", true, kPciDevice},
    {"i440FX", "pci-device"},
    {"pci-piix3", "pci-device", true},
    {"PIIX3", "pci-piix3"},
    {"PIIX4_PM", "pci-device", false, kPiix4Pm},

    {"isa-device", "device", true},
    {"pic-common", "isa-device", true, kPic},
    {"isa-i8259", "pic-common"},
    {"pit-common", "isa-device", true, kPit},
    {"isa-pit", "pit-common"},
    {"mc146818rtc", "isa-device", false, kRtc},
    {"isa-serial", "isa-device", false, kIsaSerial},
    {"i8042", "isa-device", false, kI8042},
    {"port92", "isa-device"},
    {"isa-debugcon", "isa-device", false, kDebugcon},

    {"chardev", "object", true},
    {"chardev-fd", "chardev", true},
    {"chardev-file", "chardev-fd"},
    {"chardev-stdio", "chardev-fd"},
    {"chardev-null", "chardev"},
    {"chardev-pty", "chardev"},
    {"chardev-ringbuf", "chardev"},
    {"chardev-socket", "chardev", false, kSocket},

    {"memory-backend", "object", true, kMemoryBackend},
    {"memory-backend-ram", "memory-backend"},
    {"secret_common", "object", true, kSecretCommon},
    {"secret", "secret_common", false, kSecret, "user-creatable"},
});

}  // namespace

std::span<const TypeSpec> types() {
    return kTypes;
}

const TypeSpec* find_type(std::string_view name) {
    const auto* const found = std::ranges::find(kTypes, name, &TypeSpec::name);
    return found == kTypes.end() ? nullptr : found;
}

bool is_a(const TypeSpec& type, std::string_view ancestor) {
    for (const TypeSpec* next = &type; next != nullptr; next = find_type(next->parent)) {
        if (next->name == ancestor) {
            return true;
        }
        const TypeSpec* const interface = find_type(next->interface);
        if (interface != nullptr && is_a(*interface, ancestor)) {
            return true;
        }
    }
    return false;
}

std::vector<const PropertySpec*> properties_of(const TypeSpec& type) {
    std::vector<const PropertySpec*> all;
    if (const TypeSpec* const parent = find_type(type.parent)) {
        all = properties_of(*parent);
    }
    for (const PropertySpec& property : type.properties) {
        all.push_back(&property);
    }
    return all;
}

const PropertySpec* find_property(const TypeSpec& type, std::string_view name) {
    for (const TypeSpec* next = &type; next != nullptr; next = find_type(next->parent)) {
        const auto found = std::ranges::find(next->properties, name, &PropertySpec::name);
        if (found != next->properties.end()) {
            return &*found;
        }
    }
    return nullptr;
}

}  // namespace halcyon::qom
