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

std::vector<PassedSocket> take_passed_sockets() {
    char** names = nullptr;
    const int count = sd_listen_fds_with_names(1, &names);
    std::vector<PassedSocket> sockets;
    for (int index = 0; index < count; ++index) {
        sockets.push_back({.fd = SD_LISTEN_FDS_START + index, .name = names[index]});
        std::free(names[index]);
    }
    std::free(static_cast<void*>(names));
    return sockets;
}

std::optional<std::chrono::microseconds> watchdog_period() {
    uint64_t period = 0;
    if (sd_watchdog_enabled(0, &period) <= 0) {
        return std::nullopt;
    }
    return std::chrono::microseconds(period);
}

}  // namespace halcyon
