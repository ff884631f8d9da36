// Built without libsystemd (-Dsystemd=disabled).
#include "daemon/service/systemd.h"

namespace halcyon {

bool has_service_manager() {
    return false;
}

void notify_service_manager(const std::string&) {}

std::vector<PassedSocket> take_passed_sockets() {
    return {};
}

std::optional<std::chrono::microseconds> watchdog_period() {
    return std::nullopt;
}

}  // namespace halcyon
