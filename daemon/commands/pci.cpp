// Commands about the PCI bus.

#include <algorithm>
#include <array>
#include <string_view>

#include "daemon/command_context.h"
#include "devices/pci_bus.h"
#include "qmp_commands.h"

namespace halcyon::qmp {
namespace {

/// Base class and sub-class (PCI 3.0, appendix D), in the words of QEMU's query-pci.
struct ClassName {
    uint16_t number;
    std::string_view name;
};
constexpr std::array<ClassName, 9> kClassNames = {{
    {0x0100, "SCSI controller"},
    {0x0101, "IDE controller"},
    {0x0106, "SATA controller"},
    {0x0200, "Ethernet controller"},
    {0x0600, "Host bridge"},
    {0x0601, "ISA bridge"},
    {0x0604, "PCI bridge"},
    {0x0680, "Bridge"},
    {0x0780, "Communication controller"},
}};

uint16_t read_word(PciFunction& function, size_t offset) {
    std::array<std::byte, 2> bytes{};
    function.read_config(offset, bytes);
    return static_cast<uint16_t>(load_le(bytes));
}

uint8_t read_byte(PciFunction& function, size_t offset) {
    std::array<std::byte, 1> bytes{};
    function.read_config(offset, bytes);
    return static_cast<uint8_t>(bytes[0]);
}

PciDeviceClass describe_class(PciFunction& function) {
    PciDeviceClass info;
    // The interface byte comes first.
    info.class_ = read_word(function, pci::kClassCode + 1);
    const auto found = std::ranges::find(kClassNames, info.class_, &ClassName::number);
    if (found != kClassNames.end()) {
        info.desc = found->name;
    }
    return info;
}

PciMemoryRegion describe_region(const PciRegion& region) {
    PciMemoryRegion info;
    info.bar = region.index;
    info.address = region.address ? static_cast<int64_t>(*region.address) : -1;
    info.size = static_cast<int64_t>(region.bar.size);
    if (region.bar.kind == PciBar::Kind::kIo) {
        info.type = "io";
        return info;
    }
    info.type = "memory";
    info.prefetch = region.bar.prefetchable;
    info.mem_type_64 = region.bar.kind == PciBar::Kind::kMemory64;
    return info;
}

PciDeviceInfo describe(const PciSlot& slot) {
    PciFunction& function = *slot.occupant;
    PciDeviceInfo info;
    info.slot = slot.device;
    info.function = slot.function;
    info.class_info = describe_class(function);
    info.id.vendor = read_word(function, pci::kVendorId);
    info.id.device = read_word(function, pci::kDeviceId);
    info.id.subsystem_vendor = read_word(function, pci::kSubsystemVendorId);
    info.id.subsystem = read_word(function, pci::kSubsystemId);
    info.irq_pin = read_byte(function, pci::kInterruptPin);
    if (info.irq_pin != 0) {
        info.irq = read_byte(function, pci::kInterruptLine);
    }
    for (const PciRegion& region : function.regions()) {
        info.regions.push_back(describe_region(region));
    }
    return info;
}

}  // namespace

Result<std::vector<PciInfo>> qmp_query_pci(CommandContext& context) {
    const PciBus* const bus = context.machine().pci_bus();
    if (bus == nullptr) {
        return std::vector<PciInfo>();
    }
    PciInfo info;
    for (const PciSlot& slot : bus->slots()) {
        info.devices.push_back(describe(slot));
    }
    return std::vector{info};
}

}  // namespace halcyon::qmp
