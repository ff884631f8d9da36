#include "machine/run_state.h"

namespace halcyon {

std::string_view to_string(RunState state) {
    switch (state) {
        case RunState::kPreconfig:
            // QAPI has had no state of its own for preconfig since 6.0; query-status says
            // prelaunch.
            return "prelaunch";
        case RunState::kPrelaunch:
            return "prelaunch";
        case RunState::kRunning:
            return "running";
        case RunState::kPaused:
            return "paused";
        case RunState::kShutdown:
            return "shutdown";
        case RunState::kSaveVm:
            return "save-vm";
        case RunState::kInternalError:
            return "internal-error";
    }
    return "?";
}

std::string_view to_string(ShutdownCause cause) {
    switch (cause) {
        case ShutdownCause::kHostQmpQuit:
            return "host-qmp-quit";
        case ShutdownCause::kHostQmpSystemReset:
            return "host-qmp-system-reset";
        case ShutdownCause::kHostSignal:
            return "host-signal";
        case ShutdownCause::kHostError:
            return "host-error";
        case ShutdownCause::kGuestShutdown:
            return "guest-shutdown";
        case ShutdownCause::kGuestReset:
            return "guest-reset";
    }
    return "?";
}

bool is_guest_cause(ShutdownCause cause) {
    return cause == ShutdownCause::kGuestShutdown || cause == ShutdownCause::kGuestReset;
}

}  // namespace halcyon
