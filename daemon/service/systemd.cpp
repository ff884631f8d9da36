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

}  // namespace halcyon
