/// PciFunction: one function of a PCI device, as its configuration space shows it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/device.h"
#include "devices/pci_registers.h"

namespace halcyon {

/// The interrupt pins of a bus, as a function drives them. From any thread, with the function's
/// lock held.
class PciInterruptSink {
public:
    virtual ~PciInterruptSink() = default;
    /// `pin` 0 is INTA#. Called only when the function's level changes.
    virtual void set_interrupt(unsigned device, unsigned pin, bool level) = 0;
};

/// What never changes about a function.
struct PciIdentity {
    uint16_t vendor = 0;
    uint16_t device = 0;
    uint8_t revision = 0;
    uint32_t class_code = 0;  ///< base class, sub-class, interface: 0xBBSSII
    uint16_t subsystem_vendor = pci::kSubsystemVendorQemu;
    uint16_t subsystem = pci::kSubsystemQemu;
    uint8_t interrupt_pin = 0;  ///< 0 none, 1 INTA# to 4 INTD#
};

/// A window of a function into port or memory space.
struct PciBar {
    enum class Kind { kIo, kMemory32, kMemory64 };
    Kind kind = Kind::kMemory32;
    uint64_t size = 0;  ///< bytes; a power of two, at least 4 (ports) or 16 (memory)
    bool prefetchable = false;
};

/// A base address register as the guest has set it.
struct PciRegion {
    unsigned index = 0;
    PciBar bar;
    /// Where the window is; nothing while it is not mapped.
    std::optional<uint64_t> address;
};

/// A type 0 header (PCI 3.0, 6.1), its registers' write masks, BARs that can be sized, a list of
/// capabilities, the interrupt pin; a derived class adds its own registers and is told of changes.
/// Configuration accesses come from any thread, one at a time: `mutex()` guards the space, and a
/// derived class guards its own state with it too.
class PciFunction : public Resettable {
public:
    PciFunction(std::string name, const PciIdentity& identity);
    PciFunction(const PciFunction&) = delete;
    PciFunction& operator=(const PciFunction&) = delete;

    [[nodiscard]] std::string_view name() const { return name_; }
    /// Fills 1, 2 or 4 bytes that lie inside the space.
    void read_config(size_t offset, std::span<std::byte> data);
    void write_config(size_t offset, std::span<const std::byte> data);
    /// The BARs, in order.
    [[nodiscard]] std::vector<PciRegion> regions();
    /// The power-on values; BARs are unmapped and the interrupt is lowered.
    void reset() override;

    /// Called by the bus when the function is plugged in, on the main thread before the guest runs.
    void attach(unsigned device, PciInterruptSink& sink);
    void set_multi_function();

protected:
    // For constructors, before any access. Offsets are bytes; registers are little endian.

    /// A register of `size` (1, 2 or 4) bytes with its power-on value and the bits that the guest
    /// can write; the others are read-only.
    void define(size_t offset, size_t size, uint32_t value, uint32_t writable);
    /// Bits that the guest clears by writing 1.
    void define_write_one_to_clear(size_t offset, size_t size, uint32_t bits);
    /// Base address register `index`; a 64-bit one takes the next as well.
    void define_bar(unsigned index, const PciBar& bar);
    /// Appends a capability of `size` bytes, its 2-byte header included (6.7), and returns where it
    /// is. Its other bytes are zero and read-only until `define`d. The space must suffice.
    size_t define_capability(uint8_t id, size_t size);

    // For derived classes, with the lock held.

    [[nodiscard]] uint32_t get(size_t offset, size_t size) const;
    /// Sets a register as the hardware does, past the write masks.
    void put(size_t offset, size_t size, uint32_t value);
    /// Drives the interrupt pin, unless the command register disables it (6.2.2, bit 10).
    void set_interrupt_locked(bool asserted);

    /// A guest's write touched `[offset, offset + size)`. With the lock held.
    virtual void on_config_written(size_t offset, size_t size);
    /// A BAR's window appeared at `address`, moved, or (nothing) went. With the lock held.
    virtual void on_bar_changed(unsigned index, std::optional<uint64_t> address);
    /// The space has its power-on values again. With the lock held.
    virtual void on_reset();

    [[nodiscard]] std::mutex& mutex() { return mutex_; }

private:
    [[nodiscard]] std::optional<uint64_t> bar_address(unsigned index) const;
    void update_bars();
    void update_interrupt();

    // Runtime glue.
    const std::string name_;
    PciInterruptSink* sink_ = nullptr;
    unsigned device_ = 0;

    // Bookkeeping. The mutex guards everything below.
    std::mutex mutex_;
    std::array<uint8_t, pci::kConfigSize> initial_{};
    std::array<uint8_t, pci::kConfigSize> writable_{};
    std::array<uint8_t, pci::kConfigSize> write_one_to_clear_{};
    std::array<std::optional<PciBar>, pci::kBarCount> bars_{};
    /// Where each BAR was last reported.
    std::array<std::optional<uint64_t>, pci::kBarCount> mapped_{};
    size_t last_capability_ = 0;
    size_t capabilities_end_ = pci::kHeaderEnd;
    bool interrupt_level_ = false;

    struct State {
        std::array<uint8_t, pci::kConfigSize> config{};
        /// What the device asks of its interrupt pin, before the command register's gate.
        bool interrupt_asserted = false;
    };
    State state_;
};

}  // namespace halcyon
