#include "daemon/service/systemd.h"

#include <cstdlib>

#include <systemd/sd-daemon.h>

namespace halcyon {

bool has_service_manager() {
    return std::getenv("NOTIFY_SOCKET") != nullptr;
}

void notify_service_manager(const std::string& assignments) {
    static_cast<void>(sd_notify(0, assignments.c_str()));
}

std::optional<std::chrono::microseconds> watchdog_period() {
    uint64_t period = 0;
    if (sd_watchdog_enabled(0, &period) <= 0) {
        return std::nullopt;
    }
    return std::chrono::microseconds(period);
}

}  // namespace halcyon
