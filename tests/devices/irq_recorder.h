/// IrqRecorder: an interrupt line that remembers what was done to it.
#pragma once

#include <atomic>

#include "devices/device.h"

namespace halcyon {

/// The level of the line now and how often it rose. From any thread.
class IrqRecorder final : public IrqLine {
public:
    void set(bool level) override {
        if (!level_.exchange(level) && level) {
            ++rises_;
        }
    }
    [[nodiscard]] bool level() const { return level_; }
    [[nodiscard]] int rises() const { return rises_; }

private:
    std::atomic<bool> level_{false};
    std::atomic<int> rises_{0};
};

/// Byte accesses to a block of registers.
inline uint8_t read_byte(IoHandler& ports, uint64_t offset) {
    std::byte byte{};
    ports.read(offset, {&byte, 1});
    return std::to_integer<uint8_t>(byte);
}
inline void write_byte(IoHandler& ports, uint64_t offset, uint8_t value) {
    const std::byte byte{value};
    ports.write(offset, {&byte, 1});
}

}  // namespace halcyon
