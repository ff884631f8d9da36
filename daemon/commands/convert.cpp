#include "daemon/commands/convert.h"

#include <memory>
#include <utility>

namespace halcyon {

qmp::RunState to_qmp(RunState state) {
    switch (state) {
        case RunState::kPreconfig:
        case RunState::kPrelaunch:
            return qmp::RunState::kPrelaunch;
        case RunState::kRunning:
            return qmp::RunState::kRunning;
        case RunState::kPaused:
            return qmp::RunState::kPaused;
        case RunState::kShutdown:
            return qmp::RunState::kShutdown;
        case RunState::kSaveVm:
            return qmp::RunState::kSaveVm;
        case RunState::kInternalError:
            return qmp::RunState::kInternalError;
    }
    return qmp::RunState::kInternalError;
}

qmp::ShutdownCause to_qmp(ShutdownCause cause) {
    switch (cause) {
        case ShutdownCause::kHostQmpQuit:
            return qmp::ShutdownCause::kHostQmpQuit;
        case ShutdownCause::kHostQmpSystemReset:
            return qmp::ShutdownCause::kHostQmpSystemReset;
        case ShutdownCause::kHostSignal:
            return qmp::ShutdownCause::kHostSignal;
        case ShutdownCause::kHostError:
            return qmp::ShutdownCause::kHostError;
        case ShutdownCause::kGuestShutdown:
            return qmp::ShutdownCause::kGuestShutdown;
        case ShutdownCause::kGuestReset:
            return qmp::ShutdownCause::kGuestReset;
    }
    return qmp::ShutdownCause::kNone;
}

qmp::DumpQueryResult to_qmp(const DumpStatus& status) {
    qmp::DumpQueryResult result;
    switch (status.state) {
        case DumpStatus::State::kNone:
            result.status = qmp::DumpStatus::kNone;
            break;
        case DumpStatus::State::kActive:
            result.status = qmp::DumpStatus::kActive;
            break;
        case DumpStatus::State::kCompleted:
            result.status = qmp::DumpStatus::kCompleted;
            break;
        case DumpStatus::State::kFailed:
            result.status = qmp::DumpStatus::kFailed;
            break;
    }
    result.completed = static_cast<int64_t>(status.completed);
    result.total = static_cast<int64_t>(status.total);
    return result;
}

std::string cpu_type_name(std::string_view model) {
    return std::string(model) + "-x86_64-cpu";
}

std::string vcpu_path(VcpuIndex index) {
    return "/machine/unattached/device[" + std::to_string(index.value()) + "]";
}

qmp::CpuInstanceProperties vcpu_properties(VcpuIndex index) {
    qmp::CpuInstanceProperties properties;
    properties.socket_id = 0;
    properties.core_id = index.value();
    properties.thread_id = 0;
    return properties;
}

Machine::Done answer(Reply<void> reply) {
    // A std::function must be copyable, a reply must not.
    return [shared = std::make_shared<Reply<void>>(std::move(reply))](const Result<void>& result) {
        (*shared)(result);
    };
}

}  // namespace halcyon
