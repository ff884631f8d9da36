#include "devices/system_control_port.h"

#include <utility>

#include "devices/byte_access.h"
#include "devices/system_control_port_registers.h"

namespace halcyon {

using namespace system_control_port;

SystemControlPortA::SystemControlPortA(Outputs outputs) : outputs_(std::move(outputs)) {}

void SystemControlPortA::read(uint64_t offset, std::span<std::byte> data) {
    const std::lock_guard lock(mutex_);
    read_bytewise(offset, data, [this](uint64_t) { return state_.value; });
}

void SystemControlPortA::write(uint64_t offset, std::span<const std::byte> data) {
    const std::lock_guard lock(mutex_);
    write_bytewise(offset, data, [this](uint64_t, uint8_t value) {
        store(static_cast<uint8_t>((value & kMask) | (state_.value & kPasswordLock)));
    });
}

void SystemControlPortA::reset() {
    const std::lock_guard lock(mutex_);
    store(0);
}

void SystemControlPortA::store(uint8_t value) {
    const uint8_t before = std::exchange(state_.value, value);
    if (((before ^ value) & kFastA20) != 0 && outputs_.a20_changed) {
        outputs_.a20_changed((value & kFastA20) != 0);
    }
    if ((~before & value & kFastReset) != 0 && outputs_.reset_requested) {
        outputs_.reset_requested();
    }
}

}  // namespace halcyon
