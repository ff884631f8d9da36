// Built without libsystemd (-Dsystemd=disabled).
#include "daemon/service/machined.h"
#include "daemon/service/systemd.h"

namespace halcyon {

bool has_service_manager() {
    return false;
}

void notify_service_manager(const std::string&) {}

std::vector<PassedSocket> take_passed_sockets() {
    return {};
}

bool stderr_is_journal() {
    return false;
}

std::shared_ptr<spdlog::sinks::sink> make_journal_sink(std::vector<std::string>) {
    return nullptr;
}

std::optional<std::chrono::microseconds> watchdog_period() {
    return std::nullopt;
}

Result<std::unique_ptr<MachineRegistration>> MachineRegistration::create(const MachineConfig&) {
    return Error("halcyond was built without libsystemd", ErrorCode::kUnsupported);
}

MachineRegistration::~MachineRegistration() = default;

}  // namespace halcyon
