/// From the machine's types to the schema's, and from replies to completions.
#pragma once

#include <string>
#include <string_view>

#include "machine/machine.h"
#include "protocol/reply.h"
#include "qmp_types.h"

namespace halcyon {

/// The state as clients see it: QAPI has no state of its own for preconfig, and QEMU says
/// "prelaunch" there.
[[nodiscard]] qmp::RunState to_qmp(RunState state);
[[nodiscard]] qmp::ShutdownCause to_qmp(ShutdownCause cause);
[[nodiscard]] qmp::DumpQueryResult to_qmp(const DumpStatus& status);

[[nodiscard]] inline bool is_pc(const Machine& machine) {
    return machine.config().board == BoardKind::kPc;
}

/// The identifier of the guest's main memory, as QEMU's "pc" machine has it.
inline constexpr const char* kMainMemoryId = "pc.ram";

/// The object type of a CPU model, by QEMU's rule: "host" is "host-x86_64-cpu".
[[nodiscard]] std::string cpu_type_name(std::string_view model);
/// The path of a vCPU in the object tree.
[[nodiscard]] std::string vcpu_path(VcpuIndex index);
/// The path of the real-time clock in the object tree.
inline constexpr const char* kRtcPath = "/machine/unattached/rtc";
/// Where a vCPU is in the topology that guests see: one socket with a core for each.
[[nodiscard]] qmp::CpuInstanceProperties vcpu_properties(VcpuIndex index);

/// A completion that answers `reply`.
[[nodiscard]] Machine::Done answer(Reply<void> reply);

}  // namespace halcyon
