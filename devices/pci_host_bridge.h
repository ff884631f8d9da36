/// I440fxHostBridge: the north bridge as firmware sees it, the 82441FX at 00:00.0 (Intel 440FX
/// PCIset data sheet, order number 290549).
#pragma once

#include <array>
#include <functional>

#include "devices/pci_function.h"
#include "devices/pci_host_bridge_registers.h"

namespace halcyon {

/// Where the accesses to one segment of the memory between C0000h and FFFFFh go: to RAM, or to the
/// PCI bus, where the ROM is.
struct PamMode {
    bool read_ram = false;
    bool write_ram = false;
    friend bool operator==(const PamMode&, const PamMode&) = default;
};

/// What the memory at A0000h to BFFFFh is.
struct SmramMode {
    /// SMRAM shows to every vCPU, not only to those in system management mode.
    bool open = false;
    /// SMRAM shows to vCPUs in system management mode.
    bool enabled = false;
    friend bool operator==(const SmramMode&, const SmramMode&) = default;
};

/// The bridge decides where the legacy memory segments go and says so through its outputs; the
/// registers of the DRAM controller keep what firmware writes and have no further effect.
class I440fxHostBridge final : public PciFunction {
public:
    /// Called when a mode changes, on the thread of the access (or the main thread, at a reset),
    /// inside that access and with the bridge's lock held: the guest's next instruction may rely on
    /// it. May be empty.
    struct Outputs {
        /// `segment` as in pci_host_bridge::segment_range.
        std::function<void(unsigned segment, PamMode mode)> pam_changed;
        std::function<void(SmramMode mode)> smram_changed;
    };

    /// At power-on every segment goes to PCI, and SMRAM is closed and disabled; the outputs are not
    /// called to say so.
    explicit I440fxHostBridge(Outputs outputs);

    /// A segment's mode. From any thread.
    [[nodiscard]] PamMode pam_mode(unsigned segment);

private:
    void on_config_written(size_t offset, size_t size) override;
    void on_reset() override;
    [[nodiscard]] PamMode decode_pam(unsigned segment) const;
    void enforce_smram_lock();
    void report_changes();

    // Runtime glue.
    const Outputs outputs_;

    // Bookkeeping, guarded by mutex(): what was last reported. The registers are the state.
    std::array<PamMode, pci_host_bridge::kSegmentCount> pam_{};
    SmramMode smram_mode_{};
    uint8_t smram_ = pci_host_bridge::kSmramBase;
};

}  // namespace halcyon
