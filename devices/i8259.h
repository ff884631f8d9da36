/// I8259Pair: the two interrupt controllers of a PC.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>

#include "devices/byte_ports.h"
#include "devices/device.h"
#include "devices/i8259_chip.h"

namespace halcyon {

/// Two 8259As, the slave's INT on the master's input 2, with the PIIX4's ELCR. All functions from
/// any thread. The INTR output is called with the pair's lock held, and only when it changes.
class I8259Pair final : public Resettable {
public:
    /// `intr` is the INTR pin to the processor (or LINT0, or IOAPIC pin 0). It must not call back
    /// into the pair.
    explicit I8259Pair(std::function<void(bool)> intr);
    I8259Pair(const I8259Pair&) = delete;
    I8259Pair& operator=(const I8259Pair&) = delete;

    /// The registers: two ports each.
    [[nodiscard]] IoHandler& master() { return master_ports_; }  ///< 20h, 21h
    [[nodiscard]] IoHandler& slave() { return slave_ports_; }    ///< A0h, A1h
    [[nodiscard]] IoHandler& elcr() { return elcr_ports_; }      ///< 4D0h, 4D1h

    /// Input `irq`, 0 to 15 (taken modulo 16). Input 2 is the cascade: what is set there is
    /// ignored, as a PC has no such pin.
    [[nodiscard]] IrqLine& input(unsigned irq) { return inputs_[irq % inputs_.size()]; }

    /// The level of INTR.
    [[nodiscard]] bool intr() const;

    /// The INTA cycles: the vector to take. When the request has gone meanwhile it is the master's
    /// spurious vector (base + 7) and nothing is in service.
    uint8_t acknowledge();

    /// What a processor does that samples INTR at an instruction boundary: no INTA cycle and no
    /// vector when INTR is low.
    std::optional<uint8_t> try_acknowledge();

    void reset() override;

private:
    class Input final : public IrqLine {
    public:
        void set(bool level) override { pair->set_input(irq, level); }
        I8259Pair* pair = nullptr;
        unsigned irq = 0;
    };

    void set_input(unsigned irq, bool level);
    uint8_t read_chip(I8259Chip& chip, uint64_t offset);
    void write_chip(I8259Chip& chip, uint64_t offset, uint8_t value);
    uint8_t read_elcr(uint64_t offset);
    void write_elcr(uint64_t offset, uint8_t value);
    uint8_t acknowledge_locked();
    void propagate_locked();

    const std::function<void(bool)> intr_;

    BytePorts master_ports_;
    BytePorts slave_ports_;
    BytePorts elcr_ports_;
    std::array<Input, 16> inputs_;

    /// Guards everything below.
    mutable std::mutex mutex_;
    bool intr_level_ = false;

    /// The guest-visible state is inside the chips.
    I8259Chip master_{I8259Chip::Role::kMaster};
    I8259Chip slave_{I8259Chip::Role::kSlave};
};

}  // namespace halcyon
