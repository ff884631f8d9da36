/// I8254Counter: one counter of an 8254, the logic without lock and clock.
#pragma once

#include <cstdint>
#include <optional>

#include "devices/i8254_registers.h"

namespace halcyon {

/// One of the three counters of an Intel 8254 (data sheet 231164, "Mode Definitions"). Time is a
/// number of input clocks; `advance` brings the counter there in constant time, so every read is
/// exact at the clock it is made. Not thread-safe. No function fails, any value may be written.
///
/// The data sheet leaves the state at power-on open: here a counter has OUT low and does not count
/// until it is programmed. A count of 1 is illegal in modes 2 and 3: OUT then stays low in mode 2
/// and high in mode 3. Digits above 9 written to a BCD counter count as 10 to 15 of their place.
class I8254Counter {
public:
    /// Power-on state at clock `tick`, with the gate at `gate`.
    void reset(uint64_t tick, bool gate);

    /// Everything that happens up to and with clock `tick`; earlier clocks are ignored. All other
    /// functions act on the state that this leaves.
    void advance(uint64_t tick);

    /// A control word for this counter that is neither a latch nor a read-back command.
    void program(uint8_t control);
    void write(uint8_t value);
    uint8_t read();
    /// The latch commands. A second one before the first was read is ignored.
    void latch_count();
    void latch_status();
    /// The GATE pin; a rise is the trigger of modes 1, 2, 3 and 5.
    void set_gate(bool level);

    [[nodiscard]] bool out() const { return state_.out; }

    /// The clock at which OUT rises next if nobody touches the counter; nothing when it will not.
    [[nodiscard]] std::optional<uint64_t> next_rise() const;

private:
    [[nodiscard]] unsigned mode() const;
    [[nodiscard]] i8254::Access access() const;
    [[nodiscard]] uint32_t modulus() const;
    [[nodiscard]] uint32_t initial_count() const;
    [[nodiscard]] uint16_t visible_count() const;
    [[nodiscard]] uint32_t half_cycle_left() const;
    [[nodiscard]] uint64_t rise_after_load() const;
    void load();
    void count_down(uint64_t clocks);
    void count_rate(uint64_t clocks);
    void count_square(uint64_t clocks);
    void write_count(uint16_t count);

    struct State {
        uint64_t tick = 0;    ///< the clock that the rest of the state belongs to
        uint8_t control = 0;  ///< access, mode and BCD as programmed
        bool gate = false;
        bool out = false;
        uint16_t initial = 0;      ///< CR, the count register
        bool has_initial = false;  ///< CR was written since the control word
        bool null_count = true;    ///< CR was not yet copied into CE
        uint32_t count = 0;        ///< CE in binary, 0 to the modulus (which reads as 0)
        bool odd = false;          ///< mode 3: CE was loaded from an odd count
        bool load_next = false;    ///< the next clock copies CR into CE
        bool counting = false;     ///< CE was loaded since the control word
        bool armed = false;        ///< modes 0, 1, 4, 5: zero has not been reached since the load
        bool high_byte_next_write = false;
        uint8_t low_byte = 0;
        bool high_byte_next_read = false;
        std::optional<uint16_t> latched_count;
        std::optional<uint8_t> latched_status;
    } state_;
};

}  // namespace halcyon
