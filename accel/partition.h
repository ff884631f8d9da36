/// Partition: one VM's address space, interrupts and vCPUs in a hypervisor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "accel/guest_io.h"
#include "accel/vcpu.h"
#include "base/result.h"
#include "base/types.h"

namespace halcyon {

/// What a partition is made with; cannot change afterwards.
struct PartitionConfig {
    /// vCPUs that will be created, numbered from 0.
    uint32_t vcpu_count = 1;
    /// Each vCPU has a local APIC in the backend, HLT waits inside `run`. Without, HLT ends the
    /// run.
    bool local_apic = true;
    /// Guest CPU model (-cpu): "host" or "max" pass on what the host has.
    std::string cpu_model = "host";
};

/// How the guest may use a mapping. Writes to read-only memory go to `GuestIo::mmio_write`.
enum class MemoryAccess { kReadWrite, kReadOnly };

/// A message-signalled interrupt as it stands on the bus: address FEExxxxxh and data (Intel SDM
/// 3A 11.11).
struct MsiMessage {
    uint64_t address = 0;
    uint32_t data = 0;
    friend bool operator==(const MsiMessage&, const MsiMessage&) = default;
};

/// Interrupt line `gsi` delivers `message`.
struct MsiRoute {
    Gsi gsi;
    MsiMessage message;
};

/// A guest's write that signals an eventfd: to `address`, of `length` bytes (1, 2, 4 or 8; 0 for a
/// write of any length), and of `value` if one is given. The address has no memory behind it.
struct Doorbell {
    Gpa address;
    uint32_t length = 0;
    std::optional<uint64_t> value = {};
};

/// Interrupts and doorbells that the kernel carries between eventfd(2) descriptors and the guest,
/// without a vCPU's thread and without GuestIo. The descriptors stay the caller's, and may be
/// closed while connected. Any thread, also while vCPUs run.
class EventfdWiring {
public:
    virtual ~EventfdWiring() = default;

    /// From now on a write to `eventfd` sends the message that the route of `gsi` stands for at
    /// that time (Partition::set_msi_routes), or none without a route; at once if it is readable
    /// already. Several writes may be one interrupt, which is for edge-triggered ones. Fails when
    /// the eventfd is connected already, and in a partition without local APICs.
    virtual Result<void> connect_irqfd(Gsi gsi, int eventfd) = 0;
    /// After it no interrupt comes from there. No failure when they were not connected.
    virtual Result<void> disconnect_irqfd(Gsi gsi, int eventfd) = 0;

    /// From now on the guest's write signals `eventfd` and is seen by nobody else. Fails when it
    /// overlaps in meaning with another doorbell of the same address and length.
    virtual Result<void> connect_ioeventfd(const Doorbell& doorbell, int eventfd) = 0;
    /// Takes back exactly one connection.
    virtual Result<void> disconnect_ioeventfd(const Doorbell& doorbell, int eventfd) = 0;
};

/// One VM. Owned by machine/. All methods may be called from any thread and while vCPUs run, unless
/// said otherwise. A partition is destroyed after its vCPUs; then everything of it in the
/// hypervisor is gone.
class Partition {
public:
    virtual ~Partition() = default;

    /// Maps `host` (page aligned, `range.size` bytes, outlives the mapping) at `range`. Fails when
    /// it overlaps another mapping.
    virtual Result<void> map_memory(GpaRange range, std::byte* host, MemoryAccess access) = 0;
    /// Takes back exactly one earlier mapping.
    virtual Result<void> unmap_memory(GpaRange range) = 0;

    /// A new vCPU in its reset state. `io` outlives it. Main thread.
    virtual Result<std::unique_ptr<Vcpu>> create_vcpu(VcpuIndex index, GuestIo& io) = 0;

    /// Delivers one interrupt message to the local APICs (fixed, NMI, ... as its data says). A
    /// message no APIC accepts is dropped, as on the bus.
    virtual Result<void> signal_msi(const MsiMessage& message) = 0;
    /// Replaces the whole routing table: which message each interrupt line stands for. Backends
    /// need it to report the end of level-triggered interrupts, and later for eventfds.
    virtual Result<void> set_msi_routes(std::span<const MsiRoute> routes) = 0;
    /// The level of the 8259's INTR output, wired to LINT0 of vCPU 0 as ExtINT.
    virtual void set_extint(bool level) = 0;

    /// Stops or restarts the partition's own clocks (local APIC timers, TSC where the backend can)
    /// so that a paused guest's time stands still. Main thread, while no vCPU runs.
    virtual Result<void> set_time_frozen(bool frozen) = 0;

    /// Interrupts and doorbells by eventfd; null when the backend has none. The partition's.
    [[nodiscard]] virtual EventfdWiring* eventfds() { return nullptr; }
};

}  // namespace halcyon
