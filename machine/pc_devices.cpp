// What the PC's board tells of its devices. The names of models and properties are QEMU's.

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include "devices/cmos_rtc_registers.h"
#include "devices/debugcon_registers.h"
#include "devices/i8259_registers.h"
#include "devices/ioapic_registers.h"
#include "devices/piix_registers.h"
#include "devices/serial_16550_registers.h"
#include "machine/pc_board.h"
#include "machine/pc_layout.h"

namespace halcyon {

using namespace pc;

namespace {

uint64_t read_config(PciFunction& function, size_t offset, size_t size) {
    std::array<std::byte, 4> bytes{};
    function.read_config(offset, std::span(bytes).first(size));
    return load_le(std::span(bytes).first(size));
}

/// Value of a property that is a number, whatever its type was.
PropertyValue number(uint64_t value) {
    return static_cast<int64_t>(value);
}

/// "01.3"
std::string legacy_address(const PciSlot& slot) {
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), "%02x.%x", slot.device, slot.function);
    return text.data();
}

DeviceDescription describe(const PciSlot& slot) {
    PciFunction& function = *slot.occupant;
    return {.model = function.name(),
            .bus = DeviceBus::kPci,
            .properties = {
                {"addr", number(slot.device * pci::kFunctionCount + slot.function)},
                {"legacy-addr", legacy_address(slot)},
                {"multifunction",
                 (read_config(function, pci::kHeaderType, 1) & pci::kHeaderMultiFunction) != 0},
                {"x-pci-vendor-id", number(read_config(function, pci::kVendorId, 2))},
                {"x-pci-device-id", number(read_config(function, pci::kDeviceId, 2))},
                {"x-pci-sub-vendor-id", number(read_config(function, pci::kSubsystemVendorId, 2))},
                {"x-pci-sub-device-id", number(read_config(function, pci::kSubsystemId, 2))},
                {"x-pci-class", number(read_config(function, pci::kClassCode, 2) |
                                       read_config(function, pci::kClassCode + 2, 1) << 16)}}};
}

void add_power_management(DeviceDescription& device, PciFunction& function) {
    const bool decoded = (read_config(function, piix::kPmMisc, 1) & piix::kPmIoEnable) != 0;
    const uint64_t base = read_config(function, piix::kPmBase, 4) & piix::kPmBaseMask;
    device.properties.push_back({"pm_io_base", number(decoded ? base : 0)});
    device.properties.push_back({"sci_int", number(kSciIrq)});
    device.properties.push_back({"gpe0_blk", number(kGpe0Port)});
    device.properties.push_back({"gpe0_blk_len", number(acpi_pm::kGpeBlockSize)});
    device.properties.push_back({"acpi_enable_cmd", number(acpi_pm::kAcpiEnableCommand)});
    device.properties.push_back({"acpi_disable_cmd", number(acpi_pm::kAcpiDisableCommand)});
}

DeviceDescription describe_pic(bool master) {
    return {.model = "isa-i8259",
            .bus = DeviceBus::kIsa,
            .properties = {
                {"iobase", number(master ? kMasterPicPort : kSlavePicPort)},
                {"elcr_addr", number(master ? kElcrPort : kElcrPort + 1)},
                {"elcr_mask", number(master ? i8259::kElcrMasterMask : i8259::kElcrSlaveMask)},
                {"master", master}}};
}

DeviceDescription describe_serial(size_t index, const CharBackend* backend) {
    return {.model = "isa-serial",
            .bus = DeviceBus::kIsa,
            .properties = {
                {"index", number(index)},
                {"iobase", number(kSerialPorts[index].base)},
                {"irq", number(kSerialPorts[index].irq)},
                {"chardev", backend},
                {"baudbase", number(serial_16550::kCrystalHz / serial_16550::kClocksPerBit)}}};
}

}  // namespace

/// QEMU's name of a function.
std::string_view PcBoard::pci_model(const PciFunction& function) const {
    if (&function == &host_bridge_) {
        return "i440FX";
    }
    if (&function == &isa_bridge_) {
        return "PIIX3";
    }
    return &function == &pm_function_ ? "PIIX4_PM" : function.name();
}

std::vector<DeviceDescription> PcBoard::devices() {
    std::vector<DeviceDescription> devices;
    devices.push_back({.model = "i440FX-pcihost", .place = "i440fx"});
    for (const PciSlot& slot : pci_.slots()) {
        devices.push_back(describe(slot));
        devices.back().model = pci_model(*slot.occupant);
        if (slot.occupant == &pm_function_) {
            add_power_management(devices.back(), pm_function_);
        }
    }
    devices.push_back({.model = "ioapic",
                       .place = "i440fx/ioapic",
                       .properties = {{"version", number(ioapic::kVersionValue & 0xff)}}});
    devices.push_back(
        {.model = "fw_cfg_io", .place = "fw_cfg", .properties = {{"dma_enabled", true}}});
    devices.push_back(describe_pic(true));
    devices.push_back(describe_pic(false));
    devices.push_back({.model = "mc146818rtc",
                       .bus = DeviceBus::kIsa,
                       .place = "unattached/rtc",
                       .properties = {{"iobase", number(kRtcPort)},
                                      {"irq", number(kRtcIrq)},
                                      {"base_year", number(0)},
                                      {"date", cmos_.date()}}});
    devices.push_back({.model = "isa-pit",
                       .bus = DeviceBus::kIsa,
                       .properties = {{"iobase", number(kTimerPort)}}});
    for (size_t i = 0; i < config_.serial_ports.size() && i < kSerialPorts.size(); ++i) {
        if (config_.serial_ports[i] != nullptr) {
            devices.push_back(describe_serial(i, config_.serial_ports[i]));
        }
    }
    devices.push_back(
        {.model = "i8042",
         .bus = DeviceBus::kIsa,
         .properties = {{"kbd-irq", number(kKeyboardIrq)}, {"mouse-irq", number(kMouseIrq)}}});
    devices.push_back({.model = "port92", .bus = DeviceBus::kIsa});
    if (debugcon_) {
        devices.push_back({.model = "isa-debugcon",
                           .bus = DeviceBus::kIsa,
                           .place = "peripheral/debugcon",
                           .properties = {{"iobase", number(kDebugconPort)},
                                          {"readback", number(debugcon::kReadback)},
                                          {"chardev", config_.debug_console}}});
    }
    return devices;
}

std::vector<AddressBlock> PcBoard::memory_map() {
    std::vector<AddressBlock> blocks = pc_memory_->map();
    for (AddressBlock& block : mmio_.blocks()) {
        // What the shadowed area shows is in the memory's own map.
        if (block.start != PcMemory::kShadowStart) {
            blocks.push_back(std::move(block));
        }
    }
    std::ranges::sort(blocks, {}, &AddressBlock::start);
    return blocks;
}

}  // namespace halcyon
