/// How a test reaches configuration space: through CONFIG_ADDRESS and CONFIG_DATA, as a guest does.
#pragma once

#include <cstdint>

#include "devices/pci_bus.h"
#include "tests/devices/io_access.h"

namespace halcyon {

/// One function's configuration space on bus 0.
class PciConfig {
public:
    PciConfig(PciBus& bus, unsigned device, unsigned function = 0)
        : bus_(bus), base_(0x80000000 | device << 11 | function << 8) {}

    template <typename T>
    T read(uint8_t offset) {
        out32(bus_.address_port(), 0, base_ | (offset & 0xFC));
        return io_read<T>(bus_.data_port(), offset & 3);
    }
    uint8_t read8(uint8_t offset) { return read<uint8_t>(offset); }
    uint16_t read16(uint8_t offset) { return read<uint16_t>(offset); }
    uint32_t read32(uint8_t offset) { return read<uint32_t>(offset); }

    template <typename T>
    void write(uint8_t offset, T value) {
        out32(bus_.address_port(), 0, base_ | (offset & 0xFC));
        io_write(bus_.data_port(), offset & 3, value);
    }
    void write8(uint8_t offset, uint8_t value) { write(offset, value); }
    void write16(uint8_t offset, uint16_t value) { write(offset, value); }
    void write32(uint8_t offset, uint32_t value) { write(offset, value); }

private:
    PciBus& bus_;
    uint32_t base_;
};

}  // namespace halcyon
