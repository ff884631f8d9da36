/// From the machine's types to the schema's, and from replies to completions.
#pragma once

#include "machine/machine.h"
#include "protocol/reply.h"
#include "qmp_types.h"

namespace halcyon {

/// The state as clients see it: QAPI has no state of its own for preconfig, and QEMU says
/// "prelaunch" there.
[[nodiscard]] qmp::RunState to_qmp(RunState state);
[[nodiscard]] qmp::ShutdownCause to_qmp(ShutdownCause cause);

/// A completion that answers `reply`.
[[nodiscard]] Machine::Done answer(Reply<void> reply);

}  // namespace halcyon
