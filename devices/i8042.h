/// I8042: the PS/2 keyboard controller with a keyboard and no mouse (IBM PS/2 Hardware Interface
/// Technical Reference, "Keyboard and Auxiliary Device Controller").
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>

#include "devices/byte_ports.h"
#include "devices/device.h"
#include "devices/fixed_fifo.h"
#include "devices/i8042_registers.h"
#include "devices/ps2_keyboard.h"
#include "devices/scancodes.h"

namespace halcyon {

/// Two blocks of one port each. Everything takes effect at once: the input buffer is never full.
/// Ports and `press` from any thread.
class I8042 final : public Resettable {
public:
    /// What it drives besides the interrupts; called with its lock held.
    struct Outputs {
        /// The controller's A20 output changed; it is on at power-on.
        std::function<void(bool enabled)> a20_changed;
        /// The guest pulled the processor's reset line.
        std::function<void()> reset_requested;
    };

    /// The lines (IRQ1 and IRQ12) outlive the device.
    I8042(IrqLine& keyboard_irq, IrqLine& auxiliary_irq, Outputs outputs);
    I8042(const I8042&) = delete;
    I8042& operator=(const I8042&) = delete;

    /// Port 60h of a PC.
    [[nodiscard]] IoHandler& data_port() { return data_port_; }
    /// Port 64h of a PC: status when read, commands when written.
    [[nodiscard]] IoHandler& command_port() { return command_port_; }

    /// Keys go down and up: whole scan codes of set 2 (make: code, or E0h code; break: F0h before
    /// the code).
    void press(std::span<const uint8_t> set2);

    void reset() override;

private:
    /// A byte on its way to the guest.
    struct Output {
        uint8_t byte = 0;
        bool auxiliary = false;
        bool timeout = false;
    };

    [[nodiscard]] uint8_t read_data();
    [[nodiscard]] uint8_t read_status();
    void write_data(uint8_t value);
    void write_command(uint8_t value);

    // All below with the lock held.
    void start_command(uint8_t command);
    void finish_command(uint8_t command, uint8_t value);
    [[nodiscard]] uint8_t& command_byte() { return state_.ram[0]; }
    [[nodiscard]] uint8_t output_port() const;
    [[nodiscard]] uint8_t test_inputs() const;
    void reply(Output output) { state_.replies.push(output); }
    void set_a20(bool enabled);
    void write_output_port(uint8_t value);
    /// Fills the output buffer if it is empty, and drives the interrupts.
    void update();

    // Runtime glue.
    IrqLine& keyboard_irq_;
    IrqLine& auxiliary_irq_;
    const Outputs outputs_;

    // Sub-parts.
    BytePorts data_port_;
    BytePorts command_port_;
    Ps2Keyboard keyboard_;

    // Bookkeeping. The mutex guards everything below, and the keyboard.
    std::mutex mutex_;
    bool keyboard_irq_level_ = false;
    bool auxiliary_irq_level_ = false;

    struct State {
        /// Both interrupts are enabled at power-on, as in QEMU.
        std::array<uint8_t, i8042::kRamSize> ram = {i8042::kKeyboardInterrupt |
                                                    i8042::kAuxiliaryInterrupt};
        bool last_write_was_command = false;
        /// The command that waits for its byte; 0 if none.
        uint8_t pending_command = 0;
        /// The output port but for the two buffer bits.
        uint8_t output_port = i8042::kOutputNoReset | i8042::kOutputA20 | i8042::kOutputLines;
        /// The output buffer; it keeps its byte after it was read.
        Output output;
        bool output_full = false;
        ScancodeTranslator translator;
        /// The controller's own answers, which wait for the output buffer.
        FixedFifo<Output, 16> replies;
    };
    State state_;
};

}  // namespace halcyon
