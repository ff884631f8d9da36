#include "devices/pci_bus.h"

#include <algorithm>
#include <utility>

namespace halcyon {

using namespace pci;

PciBus::PciBus(std::function<void(unsigned line, bool level)> interrupt)
    : interrupt_(std::move(interrupt)),
      address_port_(*this, "pci-config-address", &PciBus::read_address, &PciBus::write_address),
      data_port_(*this, "pci-config-data", &PciBus::read_data, &PciBus::write_data) {}

Result<void> PciBus::attach(unsigned device, unsigned function_number, PciFunction& function) {
    const std::string slot = std::to_string(device) + "." + std::to_string(function_number);
    if (device >= kDeviceCount || function_number >= kFunctionCount) {
        return Error("PCI slot " + slot + " does not exist", ErrorCode::kInvalidArgument);
    }
    PciFunction*& place = functions_[device * kFunctionCount + function_number];
    if (place != nullptr) {
        return Error("PCI slot " + slot + " is taken by " + std::string(place->name()),
                     ErrorCode::kInvalidArgument);
    }
    place = &function;
    function.attach(device, *this);

    const auto functions = std::span(functions_).subspan(device * kFunctionCount, kFunctionCount);
    const bool several = std::any_of(functions.begin() + 1, functions.end(),
                                     [](const PciFunction* other) { return other != nullptr; });
    if (several && functions[0] != nullptr) {
        functions[0]->set_multi_function();
    }
    return {};
}

std::vector<PciSlot> PciBus::slots() const {
    std::vector<PciSlot> slots;
    for (unsigned index = 0; index < functions_.size(); ++index) {
        if (functions_[index] != nullptr) {
            slots.push_back({.device = index / kFunctionCount,
                             .function = index % kFunctionCount,
                             .occupant = functions_[index]});
        }
    }
    return slots;
}

void PciBus::pass_through(uint64_t offset, IoHandler& handler) {
    pass_through_.at(offset) = &handler;
}

void PciBus::reset() {
    const std::lock_guard lock(mutex_);
    state_.address = 0;
}

uint32_t PciBus::address() {
    const std::lock_guard lock(mutex_);
    return state_.address;
}

void PciBus::read_address(uint64_t offset, std::span<std::byte> data) {
    if (data.size() == 4) {
        store_le(data, address());
        return;
    }
    for (size_t i = 0; i < data.size(); ++i) {
        IoHandler* handler = pass_through_[(offset + i) % pass_through_.size()];
        data[i] = std::byte{0xFF};
        if (handler != nullptr) {
            handler->read(0, data.subspan(i, 1));
        }
    }
}

void PciBus::write_address(uint64_t offset, std::span<const std::byte> data) {
    if (data.size() == 4) {
        const std::lock_guard lock(mutex_);
        state_.address = static_cast<uint32_t>(load_le(data)) & kAddressMask;
        return;
    }
    for (size_t i = 0; i < data.size(); ++i) {
        IoHandler* handler = pass_through_[(offset + i) % pass_through_.size()];
        if (handler != nullptr) {
            handler->write(0, data.subspan(i, 1));
        }
    }
}

/// The function that CONFIG_ADDRESS names, or null: without its enable bit, on another bus, in an
/// empty slot, or in a device without function 0 (6.1: such a device is not there).
PciFunction* PciBus::find(uint32_t address) const {
    const uint32_t bus = address >> 16 & 0xFF;
    const uint32_t slot = address >> 8 & 0xFF;
    if ((address & kAddressEnable) == 0 || bus != 0 ||
        functions_[slot & ~(kFunctionCount - 1)] == nullptr) {
        return nullptr;
    }
    return functions_[slot];
}

// The bus's lock is released before the function's is taken.

void PciBus::read_data(uint64_t offset, std::span<std::byte> data) {
    const uint32_t target = address();
    if (PciFunction* function = find(target)) {
        function->read_config((target & 0xFC) + offset, data);
    } else {
        std::fill(data.begin(), data.end(), std::byte{0xFF});
    }
}

void PciBus::write_data(uint64_t offset, std::span<const std::byte> data) {
    const uint32_t target = address();
    if (PciFunction* function = find(target)) {
        function->write_config((target & 0xFC) + offset, data);
    }
}

/// A PC's mainboard turns the pins by one line from slot to slot, so that the single-function
/// devices, which all use INTA#, spread over the lines (SeaBIOS, piix_pci_slot_get_irq).
void PciBus::set_interrupt(unsigned device, unsigned pin, bool level) {
    const unsigned line = (pin + device + kInterruptCount - 1) % kInterruptCount;
    const std::lock_guard lock(mutex_);
    unsigned& asserted = state_.asserted[line];
    const bool was_high = asserted != 0;
    asserted = level ? asserted + 1 : asserted - 1;
    if (was_high != (asserted != 0)) {
        interrupt_(line, level);
    }
}

}  // namespace halcyon
