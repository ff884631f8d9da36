/// The trace events of the machine.
#pragma once

#include <array>

#include "base/trace.h"

namespace halcyon::trace {

// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): switches of the log
inline constinit TraceEvent runstate_set("runstate_set");
/// What the guest asked of a device: a reset, a power-off.
inline constinit TraceEvent guest_power_request("guest_power_request");
/// The run loop of a vCPU is told to leave the hypervisor; enters it; has left it.
inline constinit TraceEvent vcpu_kick("vcpu_kick");
inline constinit TraceEvent vcpu_run("vcpu_run");
inline constinit TraceEvent vcpu_stop("vcpu_stop");
/// Accesses of vCPUs to what is not memory, each when it is done.
inline constinit TraceEvent pio_read("pio_read");
inline constinit TraceEvent pio_write("pio_write");
inline constinit TraceEvent mmio_read("mmio_read");
inline constinit TraceEvent mmio_write("mmio_write");

/// All of them.
inline constexpr std::array<TraceEvent*, 9> kMachineEvents = {
    &runstate_set, &guest_power_request, &vcpu_kick, &vcpu_run,  &vcpu_stop,
    &pio_read,     &pio_write,           &mmio_read, &mmio_write};
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

}  // namespace halcyon::trace
