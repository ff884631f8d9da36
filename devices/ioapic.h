/// Ioapic: the I/O interrupt controller.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "devices/device.h"
#include "devices/ioapic_registers.h"

namespace halcyon {

/// The interrupt message that input `gsi` stands for: `address` is FEE00000h with the destination
/// in bits 19-12 and the logical mode in bit 2; `data` has the vector, the delivery mode in bits
/// 10-8, and bits 15 and 14 (level triggered, asserted) for a level-triggered entry.
struct IoapicRoute {
    uint32_t gsi = 0;
    uint64_t address = 0;
    uint32_t data = 0;
    friend bool operator==(const IoapicRoute&, const IoapicRoute&) = default;
};

/// An 82093AA with 24 inputs and version 20h's EOI register. All functions from any thread. The
/// outputs are called with its lock held and must not call back into it.
///
/// Delivery to the local APICs takes no time, so delivery status always reads 0. The polarity bit
/// is kept but changes nothing: an IrqLine says whether its interrupt is asserted, not the voltage.
/// Delivery modes with edge semantics only (SMI, NMI, INIT, ExtINT) are edge triggered whatever the
/// trigger bit says. An ExtINT entry sends a message with delivery mode 7; the vector in it means
/// nothing, its receiver gets one from the 8259 pair. The reserved modes 3 and 6 deliver nothing.
class Ioapic final : public IoHandler, public Resettable {
public:
    struct Outputs {
        /// Sends one message.
        std::function<void(uint64_t address, uint32_t data)> deliver;
        /// The whole table of inputs that can deliver now or whose end of interrupt is still to
        /// come; masked inputs are not in it. Called when it changes.
        std::function<void(std::span<const IoapicRoute>)> routes_changed;
    };

    explicit Ioapic(Outputs outputs);
    Ioapic(const Ioapic&) = delete;
    Ioapic& operator=(const Ioapic&) = delete;

    /// Input `pin`, 0 to 23 (taken modulo 24).
    [[nodiscard]] IrqLine& input(unsigned pin) { return inputs_[pin % ioapic::kPins]; }

    /// A local APIC ended a level-triggered interrupt: every level-triggered entry with this vector
    /// may deliver again, and does at once when its line is still asserted and not masked.
    void end_of_interrupt(uint8_t vector);

    [[nodiscard]] std::string_view name() const override { return "ioapic"; }
    /// The registers are 32 bits wide. A narrower read gives its part; a narrower write of the
    /// window is ignored, since the data sheet allows none.
    void read(uint64_t offset, std::span<std::byte> data) override;
    void write(uint64_t offset, std::span<const std::byte> data) override;

    /// All entries masked. The levels of the inputs stay, since others drive them.
    void reset() override;

private:
    class Input final : public IrqLine {
    public:
        void set(bool level) override { ioapic->set_input(pin, level); }
        Ioapic* ioapic = nullptr;
        unsigned pin = 0;
    };

    void set_input(unsigned pin, bool level);
    [[nodiscard]] uint32_t read_register_locked(uint64_t offset) const;
    [[nodiscard]] uint32_t read_window_locked() const;
    void write_window_locked(uint32_t value);
    void write_entry_locked(unsigned pin, bool high, uint32_t value);
    void end_of_interrupt_locked(uint8_t vector);
    void deliver_level_locked(unsigned pin);
    void deliver_locked(unsigned pin);
    void publish_routes_locked();

    const Outputs outputs_;

    std::array<Input, ioapic::kPins> inputs_;

    /// Guards everything below.
    std::mutex mutex_;
    std::vector<IoapicRoute> routes_;  ///< as last published

    struct State {
        uint8_t index = 0;
        uint32_t id = 0;
        uint32_t arbitration = 0;
        uint32_t asserted = 0;  ///< the inputs, a bit each
        std::array<uint64_t, ioapic::kPins> entries{};
    } state_;
};

}  // namespace halcyon
