/// halcyonctl's command line.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace halcyon {

/// What is to be done, and where.
struct CtlOptions {
    std::string name;    ///< of the machine; empty with -s
    std::string socket;  ///< the monitor's path
    /// The units' sockets are there, but the service's directory is not: who connects starts it.
    bool off = false;
    std::string command;
    std::vector<std::string> words;  ///< after the command
    std::string wait_event;
    std::optional<std::chrono::milliseconds> timeout;
    std::chrono::milliseconds grace{90'000};  ///< stop-service: how long the guest has
    bool json = false;
    bool list_commands = false;
    bool complete = false;  ///< print what the last word can become
    /// --help or --version was asked for: this is printed instead.
    std::optional<std::string> information;
};

/// The commands that are not the server's, but ours.
[[nodiscard]] std::span<const std::string_view> own_commands();

/// Reads the command line and the environment variables that stand for options. Main thread, once:
/// getopt has state. Errors are usage errors.
[[nodiscard]] Result<CtlOptions> parse_ctl_options(int argc, char** argv);

/// "1.5" as a time; at most about 24 days, so that it fits wherever times go.
[[nodiscard]] Result<std::chrono::milliseconds> parse_seconds(std::string_view text);

}  // namespace halcyon
