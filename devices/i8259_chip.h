/// I8259Chip: one 8259A, the logic without lock and wires. I8259Pair makes a PC's pair of it.
#pragma once

#include <cstdint>
#include <optional>

namespace halcyon {

/// One Intel 8259A (data sheet 231468) in 8086 mode. Not thread-safe: its owner locks. No function
/// fails, any value may be written at any time.
class I8259Chip {
public:
    /// Master or slave: what ICW3 means and which ELCR bits exist.
    enum class Role : uint8_t { kMaster, kSlave };

    explicit I8259Chip(Role role);

    /// Power-on state: as after an ICW sequence with vector base 0 and everything unmasked. The
    /// levels of the inputs stay, since others drive them.
    void reset();

    /// The level of input `irq` (0 to 7). A rise is latched for an edge-triggered input and
    /// forgotten when the input falls before the acknowledge ("the IR inputs must remain high until
    /// after the falling edge of the first INTA").
    void set_input(unsigned irq, bool level);

    /// Offset 0 or 1 (A0).
    uint8_t read(uint64_t offset);
    void write(uint64_t offset, uint8_t value);

    [[nodiscard]] uint8_t elcr() const { return state_.elcr; }
    void write_elcr(uint8_t value);

    /// The INT pin. Low while an initialisation sequence is under way.
    [[nodiscard]] bool output() const { return pending().has_value(); }

    /// The INTA sequence: the level that is now in service; nothing when the request has gone, and
    /// then nothing is put into service and the level to report is i8259::kSpuriousLevel.
    std::optional<unsigned> acknowledge();

    /// The vector that ICW2 gives `level`.
    [[nodiscard]] uint8_t vector(unsigned level) const;

    /// Master: whether ICW1 and ICW3 say that a slave drives input `irq`.
    [[nodiscard]] bool cascades(unsigned irq) const;
    /// Slave: whether it answers to cascade number `id`.
    [[nodiscard]] bool answers_to(unsigned id) const;

private:
    /// What the next write to offset 1 is.
    enum class Expect : uint8_t { kOcw1, kIcw2, kIcw3, kIcw4 };

    [[nodiscard]] uint8_t irr() const;
    [[nodiscard]] uint8_t level_triggered() const;
    [[nodiscard]] std::optional<unsigned> pending() const;
    [[nodiscard]] std::optional<unsigned> highest_of(uint8_t levels) const;
    void start_initialisation(uint8_t icw1);
    void write_data(uint8_t value);
    void write_ocw2(uint8_t value);
    void write_ocw3(uint8_t value);
    void end_of_interrupt(std::optional<unsigned> level, bool rotate);
    uint8_t poll();

    const Role role_;

    struct State {
        uint8_t inputs = 0;   ///< the pins
        uint8_t latched = 0;  ///< edges seen and not yet acknowledged
        uint8_t isr = 0;
        uint8_t imr = 0;
        uint8_t elcr = 0;
        uint8_t icw1 = 0;
        uint8_t vector_base = 0;
        uint8_t icw3 = 0;
        uint8_t icw4 = 0;
        uint8_t lowest_priority = 7;
        Expect expect = Expect::kOcw1;
        bool special_mask = false;
        bool rotate_in_auto_eoi = false;
        bool poll = false;
        bool read_isr = false;
    } state_;
};

}  // namespace halcyon
