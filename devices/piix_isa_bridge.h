/// Piix3IsaBridge: the south bridge's function 0, the 82371SB's PCI-to-ISA bridge (Intel data
/// sheet, order number 290550).
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "devices/byte_ports.h"
#include "devices/pci_function.h"
#include "devices/piix_registers.h"

namespace halcyon {

/// Routes the PCI bus's four interrupt lines to ISA interrupts, and carries the reset control
/// register. Its other registers keep what firmware writes: what they switch on is decoded always.
class Piix3IsaBridge final : public PciFunction {
public:
    /// Called from any thread with the bridge's lock held.
    struct Outputs {
        /// The level that the PCI lines give to an ISA interrupt. Only changes are reported.
        std::function<void(unsigned irq, bool level)> isa_interrupt;
        /// The guest asked for a reset; `hard` is the whole system, else the CPU alone.
        std::function<void(bool hard)> reset_requested;
    };

    explicit Piix3IsaBridge(Outputs outputs);

    /// The level of PIRQA# (0) to PIRQD# (3). From any thread.
    void set_pirq(unsigned line, bool level);

    /// The reset control register, a block of one port. It lies inside CONFIG_ADDRESS, see
    /// `PciBus::pass_through`.
    [[nodiscard]] IoHandler& reset_port() { return reset_port_; }

private:
    void on_config_written(size_t offset, size_t size) override;
    void on_reset() override;
    [[nodiscard]] uint8_t read_reset_control();
    void write_reset_control(uint8_t value);
    void update_interrupts();

    // Runtime glue.
    const Outputs outputs_;

    // Sub-parts.
    BytePorts reset_port_;

    // Bookkeeping, guarded by mutex(): the ISA interrupts that were reported as high.
    uint16_t isa_levels_ = 0;

    /// Besides configuration space.
    struct State {
        uint8_t reset_control = 0;
        std::array<bool, pci::kInterruptCount> pirq{};
    };
    State state_;
};

}  // namespace halcyon
