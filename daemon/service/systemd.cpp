#include "daemon/service/systemd.h"

#include <cstdlib>

#include "daemon/service/libsystemd.h"

namespace halcyon {
namespace {

/// The library, if the process was started with this variable, without which it has nothing to do.
const Libsystemd* library_for(const char* variable) {
    return std::getenv(variable) == nullptr ? nullptr : Libsystemd::get();
}

}  // namespace

bool has_service_manager() {
    return library_for("NOTIFY_SOCKET") != nullptr;
}

void notify_service_manager(const std::string& assignments) {
    if (const Libsystemd* library = library_for("NOTIFY_SOCKET")) {
        static_cast<void>(library->notify(0, assignments.c_str()));
    }
}

std::vector<PassedSocket> take_passed_sockets() {
    const Libsystemd* library = library_for("LISTEN_FDS");
    if (library == nullptr) {
        return {};
    }
    char** names = nullptr;
    const int count = library->listen_fds_with_names(1, &names);
    std::vector<PassedSocket> sockets;
    for (int index = 0; index < count; ++index) {
        sockets.push_back({.fd = SD_LISTEN_FDS_START + index, .name = names[index]});
        std::free(names[index]);
    }
    std::free(static_cast<void*>(names));
    return sockets;
}

std::optional<std::chrono::microseconds> watchdog_period() {
    const Libsystemd* library = library_for("WATCHDOG_USEC");
    uint64_t period = 0;
    if (library == nullptr || library->watchdog_enabled(0, &period) <= 0) {
        return std::nullopt;
    }
    return std::chrono::microseconds(period);
}

}  // namespace halcyon
