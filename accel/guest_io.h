/// GuestIo: how a running vCPU reaches the devices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/types.h"

namespace halcyon {

/// Called by a backend from inside `Vcpu::run`, on the vCPU's thread, so several vCPUs may be
/// inside at once. The implementation belongs to machine/. No call fails: an access that nothing
/// answers reads as all ones and writes to nowhere, as on a PC. `data.size()` is the access width.
class GuestIo {
public:
    virtual ~GuestIo() = default;

    /// IN. Width 1, 2 or 4. A string instruction makes one call per element.
    virtual void pio_read(PioPort port, std::span<std::byte> data) = 0;
    /// OUT. Width 1, 2 or 4.
    virtual void pio_write(PioPort port, std::span<const std::byte> data) = 0;
    /// A read of an address with no memory behind it. Width 1, 2, 4 or 8.
    virtual void mmio_read(Gpa address, std::span<std::byte> data) = 0;
    /// A write to an address with no memory, or read-only memory, behind it. Width 1, 2, 4 or 8.
    virtual void mmio_write(Gpa address, std::span<const std::byte> data) = 0;

    /// The interrupt acknowledge cycle of an ExtINT: the vector the 8259 pair gives. Called only
    /// when the vCPU will take it. Nothing when the PIC's INTR went low meanwhile.
    virtual std::optional<uint8_t> acknowledge_extint() = 0;
    /// A local APIC ended a level-triggered interrupt of this vector: IOAPICs clear Remote-IRR.
    virtual void end_of_interrupt(uint8_t vector) = 0;
};

}  // namespace halcyon
