/// IsaIrq: an ISA interrupt wire of the board.
#pragma once

#include <mutex>

#include "devices/device.h"
#include "devices/i8259.h"
#include "devices/ioapic.h"

namespace halcyon {

/// One interrupt with its possible sources, up to two ISA devices (COM3 shares COM1's interrupt)
/// and the PCI lines that are routed to it, and the two controllers it ends at: input `irq` of the
/// 8259 pair, and the IOAPIC pin of the same number, IRQ 0 pin 2 (the wiring that fw_cfg's
/// irq0-override item and the ACPI MADT describe). The guest masks the controller it does not use.
/// From any thread; its lock comes after a device's and before a controller's.
class IsaIrq {
public:
    IsaIrq(I8259Pair& pic, Ioapic& ioapic, unsigned irq)
        : pic_(pic.input(irq)), ioapic_(ioapic.input(irq == 0 ? 2 : irq)) {}
    IsaIrq(const IsaIrq&) = delete;
    IsaIrq& operator=(const IsaIrq&) = delete;

    /// Where the device of this interrupt is connected.
    [[nodiscard]] IrqLine& device() { return device_; }
    /// Where a second one is.
    [[nodiscard]] IrqLine& second_device() { return second_device_; }
    /// Where the PCI interrupt router is connected.
    [[nodiscard]] IrqLine& pci() { return pci_; }

private:
    class Source final : public IrqLine {
    public:
        explicit Source(IsaIrq& wire) : wire_(wire) {}
        void set(bool level) override { wire_.set(*this, level); }
        /// Both with the wire's lock held.
        void store(bool level) { level_ = level; }
        [[nodiscard]] bool level() const { return level_; }

    private:
        IsaIrq& wire_;
        bool level_ = false;
    };

    void set(Source& source, bool level) {
        const std::lock_guard lock(mutex_);
        source.store(level);
        const bool wired_or = device_.level() || second_device_.level() || pci_.level();
        pic_.set(wired_or);
        ioapic_.set(wired_or);
    }

    IrqLine& pic_;
    IrqLine& ioapic_;
    std::mutex mutex_;  ///< guards the sources' levels, and keeps the controllers in step
    Source device_{*this};
    Source second_device_{*this};
    Source pci_{*this};
};

}  // namespace halcyon
