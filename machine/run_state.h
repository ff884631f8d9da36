/// The run states of a machine and the causes of its end, after QAPI's RunState and ShutdownCause.
#pragma once

#include <string_view>

namespace halcyon {

/// Where the machine stands. docs/architecture.md has the table of transitions and their events.
enum class RunState {
    kPreconfig,      ///< --preconfig: waits for x-exit-preconfig, then becomes prelaunch or runs
    kPrelaunch,      ///< never started (-S), or reset while it was not running
    kRunning,        ///< the vCPUs run
    kPaused,         ///< stopped by `stop`
    kShutdown,       ///< the guest switched itself off, and -no-shutdown keeps the process
    kSaveVm,         ///< stopped while its memory is dumped
    kInternalError,  ///< a backend could not go on with the guest; only a reset leads out
};

/// QAPI's spelling: "prelaunch", "running", ...
[[nodiscard]] std::string_view to_string(RunState state);

/// Why a machine ends or resets.
enum class ShutdownCause {
    kHostQmpQuit,         ///< the quit command
    kHostQmpSystemReset,  ///< the system_reset command
    kHostSignal,          ///< SIGTERM, SIGINT or SIGHUP
    kHostError,           ///< the host cannot go on
    kGuestShutdown,       ///< the guest switched itself off
    kGuestReset,          ///< the guest asked for a reset, or triple-faulted
};

/// QAPI's spelling: "host-qmp-quit", ...
[[nodiscard]] std::string_view to_string(ShutdownCause cause);

/// Whether the guest caused it: the `guest` member of SHUTDOWN and RESET.
[[nodiscard]] bool is_guest_cause(ShutdownCause cause);

}  // namespace halcyon
