/// Piix4Pm: the south bridge's function 3, the 82371AB's power management function (Intel data
/// sheet, order number 290562): where the ACPI registers are in port space.
#pragma once

#include <cstdint>
#include <functional>

#include "devices/pci_function.h"
#include "devices/piix_registers.h"

namespace halcyon {

/// The configuration space of the function. The ACPI registers themselves are a device of their
/// own, which the board maps where this one says. There is no SMBus controller behind the SMBus
/// base register; it keeps what firmware writes.
class Piix4Pm final : public PciFunction {
public:
    struct Options {
        /// What the guest has: firmware and ACPI tables read it from DEVRESA and DEVRESC.
        bool parallel = false;
        bool serial_a = false;
        bool serial_b = false;
        /// Whether vCPUs can enter system management mode. If not, APMC_EN is set from power-on, by
        /// which firmware knows that SMM is set up already and does not wait for an SMI that never
        /// comes (QEMU, hw/acpi/piix4.c; SeaBIOS, piix4_apmc_smm_setup).
        bool smm = false;
    };
    /// The block of ACPI registers moved, appeared or went. On the thread of the access (or the
    /// main thread, at a reset), inside that access and with the lock held. Only changes are
    /// reported; at power-on it is at 0 and disabled.
    using PmIoChanged = std::function<void(uint16_t base, bool enabled)>;

    Piix4Pm(const Options& options, PmIoChanged pm_io_changed);

private:
    void on_config_written(size_t offset, size_t size) override;
    void on_reset() override;
    void report_pm_io();

    // Runtime glue.
    const PmIoChanged pm_io_changed_;

    // Bookkeeping, guarded by mutex(): what was last reported. The registers are the state.
    uint16_t base_ = 0;
    bool enabled_ = false;
};

}  // namespace halcyon
