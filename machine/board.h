/// Board: the devices of a machine and their wiring.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "accel/guest_io.h"
#include "base/result.h"
#include "base/types.h"
#include "devices/pci_bus.h"
#include "machine/address_map.h"
#include "machine/device_description.h"
#include "machine/memory_view.h"

namespace halcyon {

/// What Machine needs of whatever is around the vCPUs. Its GuestIo is called by vCPU threads; the
/// rest on the main thread.
class Board {
public:
    virtual ~Board() = default;

    /// Where the vCPUs' accesses go.
    [[nodiscard]] virtual GuestIo& io() = 0;
    /// All devices to their state after power-on, memory mappings too; RAM keeps its contents. No
    /// vCPU runs.
    virtual Result<void> reset() = 0;
    /// The user's finger on the power button.
    virtual void press_power_button() = 0;
    /// The memory that the guest sees. From any thread, good while the board is.
    [[nodiscard]] virtual MemoryView memory() const = 0;
    /// The PCI bus; null when there is none. Main thread.
    [[nodiscard]] virtual const PciBus* pci_bus() const = 0;

    /// The devices and what their properties are now; each call lists them in the same order.
    [[nodiscard]] virtual std::vector<DeviceDescription> devices() = 0;
    /// What answers where at the moment, by address.
    [[nodiscard]] virtual std::vector<AddressBlock> memory_map() = 0;
    [[nodiscard]] virtual std::vector<AddressBlock> port_map() = 0;
};

}  // namespace halcyon
