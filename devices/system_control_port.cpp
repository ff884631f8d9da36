#include "devices/system_control_port.h"

#include <utility>

#include "devices/byte_access.h"
#include "devices/system_control_port_registers.h"

namespace halcyon {

using namespace system_control_port;

A20Gate::A20Gate(std::function<void(bool enabled)> changed) : changed_(std::move(changed)) {}

void A20Gate::set_keyboard_controller(bool enabled) {
    const std::lock_guard lock(mutex_);
    set(keyboard_controller_, enabled);
}

void A20Gate::set_fast(bool enabled) {
    const std::lock_guard lock(mutex_);
    set(fast_, enabled);
}

bool A20Gate::enabled() {
    const std::lock_guard lock(mutex_);
    return keyboard_controller_ || fast_;
}

void A20Gate::set(bool& input, bool enabled) {
    const bool before = keyboard_controller_ || fast_;
    input = enabled;
    const bool after = keyboard_controller_ || fast_;
    if (after != before && changed_) {
        changed_(after);
    }
}

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
