/// PortBlock: one of several blocks of registers that a device shows.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "devices/device.h"

namespace halcyon {

/// Hands the accesses to a block on to two member functions of the device that it is part of.
template <typename Device>
class PortBlock final : public IoHandler {
public:
    using ReadFunction = void (Device::*)(uint64_t offset, std::span<std::byte> data);
    using WriteFunction = void (Device::*)(uint64_t offset, std::span<const std::byte> data);

    /// `name` is a literal.
    PortBlock(Device& device, std::string_view name, ReadFunction on_read, WriteFunction on_write)
        : device_(device), name_(name), on_read_(on_read), on_write_(on_write) {}

    [[nodiscard]] std::string_view name() const override { return name_; }
    void read(uint64_t offset, std::span<std::byte> data) override {
        (device_.*on_read_)(offset, data);
    }
    void write(uint64_t offset, std::span<const std::byte> data) override {
        (device_.*on_write_)(offset, data);
    }

private:
    Device& device_;
    std::string_view name_;
    ReadFunction on_read_;
    WriteFunction on_write_;
};

}  // namespace halcyon
