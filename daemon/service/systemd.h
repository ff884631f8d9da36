/// The few calls of libsystemd, behind one header: built without it, they find no systemd.
#pragma once

#include <string>

namespace halcyon {

/// Whether the process was started by a service manager that wants to be told of it
/// (NOTIFY_SOCKET).
[[nodiscard]] bool has_service_manager();

/// Sends `assignments` ("READY=1\nSTATUS=...") to the service manager; without one, or when it does
/// not listen, nothing happens: no VM ends because nobody watches it. Any thread.
void notify_service_manager(const std::string& assignments);

}  // namespace halcyon
