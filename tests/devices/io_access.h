/// How a test pokes a device's registers, and the wires it hangs on it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "devices/device.h"

namespace halcyon {

/// Reads `Width` bytes from a block, as a vCPU does.
template <typename T>
T io_read(IoHandler& handler, uint64_t offset) {
    std::array<std::byte, sizeof(T)> data{};
    handler.read(offset, data);
    return static_cast<T>(load_le(data));
}
inline uint8_t in8(IoHandler& handler, uint64_t offset = 0) {
    return io_read<uint8_t>(handler, offset);
}
inline uint16_t in16(IoHandler& handler, uint64_t offset = 0) {
    return io_read<uint16_t>(handler, offset);
}
inline uint32_t in32(IoHandler& handler, uint64_t offset = 0) {
    return io_read<uint32_t>(handler, offset);
}

/// Writes the bytes of `value` to a block, as a vCPU does.
template <typename T>
void io_write(IoHandler& handler, uint64_t offset, T value) {
    std::array<std::byte, sizeof(T)> data{};
    store_le(data, value);
    handler.write(offset, data);
}
inline void out8(IoHandler& handler, uint64_t offset, uint8_t value) {
    io_write(handler, offset, value);
}
inline void out16(IoHandler& handler, uint64_t offset, uint16_t value) {
    io_write(handler, offset, value);
}
inline void out32(IoHandler& handler, uint64_t offset, uint32_t value) {
    io_write(handler, offset, value);
}

/// A wire that remembers its level and how often it rose.
class FakeIrqLine final : public IrqLine {
public:
    void set(bool level) override {
        if (level && !level_) {
            ++rises_;
        }
        level_ = level;
    }
    [[nodiscard]] bool level() const { return level_; }
    [[nodiscard]] int rises() const { return rises_; }

private:
    std::atomic<bool> level_ = false;
    std::atomic<int> rises_ = 0;
};

}  // namespace halcyon
