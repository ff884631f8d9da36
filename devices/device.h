/// What a device is to the machine: blocks of registers, an interrupt line, a clock.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

namespace halcyon {

/// One block of registers in port or memory space. The device learns the offset into its block,
/// never its address. Called on vCPU threads, several at once: each device locks itself, and may
/// raise an interrupt line or call its outputs with its lock held (order: device, then interrupt
/// controller, then backend).
class IoHandler {
public:
    virtual ~IoHandler() = default;
    /// For messages and the memory tree.
    [[nodiscard]] virtual std::string_view name() const = 0;
    /// Fills `data` (1, 2, 4 or 8 bytes, wholly inside the block) from `offset`, little endian.
    virtual void read(uint64_t offset, std::span<std::byte> data) = 0;
    virtual void write(uint64_t offset, std::span<const std::byte> data) = 0;
};

/// An interrupt wire into an interrupt controller. From any thread.
class IrqLine {
public:
    virtual ~IrqLine() = default;
    virtual void set(bool level) = 0;
};

/// Nanoseconds of the guest's clock: starts at 0, stands still while the VM is paused.
using GuestTime = std::chrono::nanoseconds;

/// A one-shot timer on the guest's clock. Its callback runs on the main thread with no lock held.
/// `arm` and `cancel` from any thread; a callback already on its way may still come after `cancel`,
/// so callbacks check the device's state. Destroyed on the main thread.
class GuestTimer {
public:
    virtual ~GuestTimer() = default;
    /// Replaces an earlier deadline. A deadline in the past fires at once.
    virtual void arm(GuestTime deadline) = 0;
    virtual void cancel() = 0;
};

/// The guest's clock and its timers.
class GuestClock {
public:
    virtual ~GuestClock() = default;
    /// From any thread.
    [[nodiscard]] virtual GuestTime now() const = 0;
    /// Main thread.
    virtual std::unique_ptr<GuestTimer> make_timer(std::function<void()> callback) = 0;
};

/// A device that has state to return to at a reset (not at a guest's own soft reset).
class Resettable {
public:
    virtual ~Resettable() = default;
    /// Power-on state. Main thread, while no vCPU runs.
    virtual void reset() = 0;
};

/// The little-endian number in 1 to 8 bytes.
[[nodiscard]] inline uint64_t load_le(std::span<const std::byte> data) {
    uint64_t value = 0;
    std::memcpy(&value, data.data(), data.size());
    return value;
}

/// Stores the low bytes of `value`, little endian.
inline void store_le(std::span<std::byte> data, uint64_t value) {
    std::memcpy(data.data(), &value, data.size());
}

}  // namespace halcyon
