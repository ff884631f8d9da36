/// PciBus: the root bus of the machine and the ports that reach its configuration space.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

#include "base/result.h"
#include "devices/device.h"
#include "devices/pci_function.h"
#include "devices/port_block.h"

namespace halcyon {

/// A place on the bus that is taken.
struct PciSlot {
    unsigned device;
    unsigned function;
    PciFunction* occupant;
};

/// Bus 0: up to 32 devices of 8 functions, reached by configuration mechanism #1 (PCI 3.0,
/// 3.2.2.3.2): a block of 4 ports for CONFIG_ADDRESS and one for CONFIG_DATA. What is not there
/// reads as all ones. The interrupt pins of its functions are folded onto four lines, as a PC's
/// mainboard wires them.
///
/// Functions are plugged in on the main thread before the guest runs; ports and interrupts from any
/// thread. A function's lock may be held when the bus's is taken, never the other way round.
class PciBus final : public Resettable, private PciInterruptSink {
public:
    /// `interrupt(line, level)` reports a change of one of the four lines, from any thread and with
    /// locks held; see `Piix3::set_pirq`.
    explicit PciBus(std::function<void(unsigned line, bool level)> interrupt);
    PciBus(const PciBus&) = delete;
    PciBus& operator=(const PciBus&) = delete;

    /// Plugs `function`, which stays its owner's and outlives the guest's run, into a slot. A
    /// second function of a device marks its function 0 as one of several. Fails when the slot is
    /// taken or does not exist.
    Result<void> attach(unsigned device, unsigned function_number, PciFunction& function);

    /// What is plugged in, by device and function. From any thread once the guest may run.
    [[nodiscard]] std::vector<PciSlot> slots() const;

    /// CONFIG_ADDRESS: only an aligned dword access reaches it. Narrower ones belong to whatever
    /// else decodes these ports (3.2.2.3.2), see `pass_through`.
    [[nodiscard]] IoHandler& address_port() { return address_port_; }
    /// CONFIG_DATA.
    [[nodiscard]] IoHandler& data_port() { return data_port_; }
    /// Gives byte accesses to the address port's byte `offset` to `handler`, a block of one port.
    /// Main thread, before the guest runs.
    void pass_through(uint64_t offset, IoHandler& handler);

    /// CONFIG_ADDRESS is cleared; the functions have their own reset.
    void reset() override;

private:
    void read_address(uint64_t offset, std::span<std::byte> data);
    void write_address(uint64_t offset, std::span<const std::byte> data);
    void read_data(uint64_t offset, std::span<std::byte> data);
    void write_data(uint64_t offset, std::span<const std::byte> data);
    [[nodiscard]] uint32_t address();
    [[nodiscard]] PciFunction* find(uint32_t address) const;
    void set_interrupt(unsigned device, unsigned pin, bool level) override;

    // Runtime glue. Fixed once the guest runs.
    const std::function<void(unsigned, bool)> interrupt_;
    std::array<PciFunction*, pci::kDeviceCount * pci::kFunctionCount> functions_{};
    std::array<IoHandler*, 4> pass_through_{};

    // Sub-parts.
    PortBlock<PciBus> address_port_;
    PortBlock<PciBus> data_port_;

    // Bookkeeping. The mutex guards everything below.
    std::mutex mutex_;

    struct State {
        uint32_t address = 0;
        /// How many functions drive each line.
        std::array<unsigned, pci::kInterruptCount> asserted{};
    };
    State state_;
};

}  // namespace halcyon
