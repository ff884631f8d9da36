/// BytePorts: a block of byte-wide registers.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <utility>

#include "devices/device.h"

namespace halcyon {

/// An IoHandler for a device with 8-bit registers. A wider access becomes one access per byte at
/// ascending offsets, as the ISA bus splits it. The functions lock the device themselves, so other
/// vCPUs may come between the bytes of a wide access, as they may on the bus.
class BytePorts final : public IoHandler {
public:
    using Read = std::function<uint8_t(uint64_t offset)>;
    using Write = std::function<void(uint64_t offset, uint8_t value)>;

    /// `name` must outlive this object: a literal.
    BytePorts(std::string_view name, Read on_read, Write on_write)
        : name_(name), on_read_(std::move(on_read)), on_write_(std::move(on_write)) {}
    [[nodiscard]] std::string_view name() const override { return name_; }
    void read(uint64_t offset, std::span<std::byte> data) override {
        for (std::byte& byte : data) {
            byte = std::byte{on_read_(offset++)};
        }
    }
    void write(uint64_t offset, std::span<const std::byte> data) override {
        for (const std::byte byte : data) {
            on_write_(offset++, std::to_integer<uint8_t>(byte));
        }
    }

private:
    const std::string_view name_;
    const Read on_read_;
    const Write on_write_;
};

}  // namespace halcyon
