/// What halcyonctl does with a connection.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "ctl/ctl_options.h"
#include "ctl/deadline.h"
#include "ctl/monitor_client.h"
#include "ctl/qmp_schema.h"

namespace halcyon {

/// Writes to standard output at once. Fails when that fails.
[[nodiscard]] Result<void> print(std::string_view text);
/// A line on standard error: "halcyonctl: MESSAGE".
void complain(std::string_view message);

/// The server's schema; nothing when it has no such command.
[[nodiscard]] Result<std::optional<QmpSchema>> fetch_schema(MonitorClient& client,
                                                            Deadline deadline);

/// Prints an answer, or makes an Error of the server's. `command` is what the user called it.
[[nodiscard]] Result<void> print_reply(std::string_view command, const Reply& reply, bool json);

/// Carries out a one-shot command, ours or the server's, and prints its answer. Without a schema,
/// arguments are not typed.
[[nodiscard]] Result<void> run_command(MonitorClient& client, const QmpSchema* schema,
                                       std::string_view command, std::span<const std::string> words,
                                       bool json, Deadline deadline);

/// Whether arguments of the command, or its name, need a schema.
[[nodiscard]] bool needs_schema(std::string_view command);

/// Asks the guest to power off, waits, then quits.
[[nodiscard]] Result<void> stop_service(const CtlOptions& options);

/// The whole of the program.
[[nodiscard]] Result<void> run_ctl(const CtlOptions& options);

}  // namespace halcyon
