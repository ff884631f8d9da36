/// The few calls of libsystemd, behind one header: built without it, they find no systemd.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <spdlog/spdlog.h>

#include "daemon/options/options.h"

namespace halcyon {

/// Whether the process was started by a service manager that wants to be told of it
/// (NOTIFY_SOCKET).
[[nodiscard]] bool has_service_manager();

/// Sends `assignments` ("READY=1\nSTATUS=...") to the service manager; without one, or when it does
/// not listen, nothing happens: no VM ends because nobody watches it. Any thread.
void notify_service_manager(const std::string& assignments);

/// The sockets that systemd passes to this process (LISTEN_FDS, sd_listen_fds(3)), now closed on
/// exec; none when there is no such thing. The environment is then cleared of them, so that a
/// second call finds none. It means the process that was started, so call it before -daemonize
/// forks.
[[nodiscard]] std::vector<PassedSocket> take_passed_sockets();

/// Whether standard error goes to the journal (JOURNAL_STREAM, systemd.exec(5)).
[[nodiscard]] bool stderr_is_journal();

/// A sink that sends messages to the journal, in its own protocol: with their weight, with `fields`
/// ("VM_NAME=web"), and with those of the thread's LogScopes. Null without libsystemd.
[[nodiscard]] std::shared_ptr<spdlog::sinks::sink> make_journal_sink(
    std::vector<std::string> fields);

/// The time within which the service manager wants a sign of life each time (WatchdogSec=); nothing
/// when it wants none. It means the process that it started, so ask before -daemonize forks.
[[nodiscard]] std::optional<std::chrono::microseconds> watchdog_period();

}  // namespace halcyon
