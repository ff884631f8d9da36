/// Ps2Keyboard: a 101-key keyboard at the end of the keyboard controller's cable (IBM PS/2 Hardware
/// Interface Technical Reference, "Keyboards (101- and 102-key)").
#pragma once

#include <bitset>
#include <cstdint>
#include <span>
#include <vector>

#include "devices/fixed_fifo.h"
#include "devices/ps2_keyboard_registers.h"

namespace halcyon {

/// Answers commands, and reports keys while scanning is enabled, in the scan code set that the
/// guest selected. Not locked: it belongs to its controller, which locks.
class Ps2Keyboard {
public:
    Ps2Keyboard() { reset(); }

    /// A command or its parameter from the controller. The reply takes no time.
    void write(uint8_t byte);
    /// Whether it has a byte to send.
    [[nodiscard]] bool has_output() const;
    /// The next byte; replies come before keys. Only with `has_output`.
    [[nodiscard]] uint8_t take_output();

    /// Keys go down and up: whole codes of set 2. Ignored while scanning is disabled; what does not
    /// fit the buffer is lost and reported as an overrun.
    void press(std::span<const uint8_t> set2);

    /// Power-on. The self-test's AAh is taken as sent and flushed, as it is long before firmware
    /// looks.
    void reset();

    /// Bit 0 Scroll Lock, 1 Num Lock, 2 Caps Lock.
    [[nodiscard]] uint8_t leds() const { return state_.leds; }

private:
    void reply(uint8_t byte) { state_.replies.push(byte); }
    void command(uint8_t byte);
    /// False when `byte` is no parameter, but a new command.
    [[nodiscard]] bool parameter(uint8_t byte);
    void select_scancode_set(uint8_t byte);
    void set_defaults();
    void queue(std::span<const uint8_t> codes);
    [[nodiscard]] std::vector<uint8_t> encode(std::span<const uint8_t> set2) const;

    struct State {
        /// The command that waits for its parameter; 0 if none.
        uint8_t pending_command = 0;
        uint8_t scancode_set = 2;
        uint8_t leds = 0;
        bool scanning = true;
        /// The last byte sent, for a resend.
        uint8_t last_sent = 0;
        /// Keys that report their release in set 3.
        std::bitset<256> set3_release;
        FixedFifo<uint8_t, 8> replies;
        /// The last place is the overrun code's.
        FixedFifo<uint8_t, ps2_keyboard::kBufferSize + 1> keys;
    };
    State state_;
};

}  // namespace halcyon
