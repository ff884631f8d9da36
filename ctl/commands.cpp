#include "ctl/commands.h"

#include <array>
#include <cstdio>
#include <utility>

#include "ctl/arguments.h"
#include "ctl/exit_status.h"
#include "ctl/format.h"
#include "ctl/info.h"
#include "ctl/json_access.h"
#include "ctl/similar.h"

namespace halcyon {
namespace {

/// The short names of QMP commands without arguments.
constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kShortNames = {{
    {"cont", "cont"},
    {"powerdown", "system_powerdown"},
    {"quit", "quit"},
    {"reset", "system_reset"},
    {"stop", "stop"},
}};

std::optional<std::string_view> qmp_name(std::string_view command) {
    for (const auto& [ours, theirs] : kShortNames) {
        if (ours == command) {
            return theirs;
        }
    }
    return std::nullopt;
}

Result<void> run_status(MonitorClient& client, bool json, Deadline deadline) {
    const Reply reply = TRY(client.execute("query-status", nullptr, deadline));
    const std::string_view status = find_string(reply.value, "status");
    if (reply.error || json || status.empty()) {
        return print_reply("status", reply, json);
    }
    return print(printable(status, true) + "\n");
}

Result<void> run_info(MonitorClient& client, bool json, Deadline deadline) {
    const Json info = TRY(collect_info(client, deadline));
    return print(json ? to_wire(info) + "\n" : format_info(info));
}

Error unknown_command(const QmpSchema& schema, std::string_view command) {
    std::vector<std::string> known = schema.commands();
    known.insert(known.end(), own_commands().begin(), own_commands().end());
    return usage_error("there is no command '" + std::string(command) + "'" +
                       did_you_mean(command, known));
}

}  // namespace

Result<void> print(std::string_view text) {
    const size_t written = std::fwrite(text.data(), 1, text.size(), stdout);
    if (std::fflush(stdout) != 0 || written != text.size()) {
        return Error::from_errno("cannot write to standard output");
    }
    return {};
}

void complain(std::string_view message) {
    std::fprintf(stderr, "halcyonctl: %s\n", printable(message, true).c_str());
}

Result<std::optional<QmpSchema>> fetch_schema(MonitorClient& client, Deadline deadline) {
    const Reply reply = TRY(client.execute("query-qmp-schema", nullptr, deadline));
    if (reply.error) {
        return std::optional<QmpSchema>();
    }
    return std::optional<QmpSchema>(TRY(QmpSchema::parse(reply.value)));
}

Result<void> print_reply(std::string_view command, const Reply& reply, bool json) {
    if (!reply.error) {
        return print(json ? to_wire(reply.value) + "\n" : format_value(reply.value));
    }
    const auto& [error_class, description] = *reply.error;
    if (json) {
        const Json error{{"class", error_class}, {"desc", description}};
        TRY(print(to_wire(Json{{"error", error}}) + "\n"));
    }
    const bool plain = error_class.empty() || error_class == "GenericError";
    return server_error(std::string(command) + ": " + description +
                        (plain ? "" : " (" + error_class + ")"));
}

bool needs_schema(std::string_view command) {
    return command != "status" && command != "info" && !qmp_name(command);
}

Result<void> run_command(MonitorClient& client, const QmpSchema* schema, std::string_view command,
                         std::span<const std::string> words, bool json, Deadline deadline) {
    if (!needs_schema(command) && !words.empty()) {
        return usage_error(std::string(command) + " takes no arguments, but '" + words.front() +
                           "' is given");
    }
    if (command == "status") {
        return run_status(client, json, deadline);
    }
    if (command == "info") {
        return run_info(client, json, deadline);
    }
    const std::string_view name = qmp_name(command).value_or(command);
    Json arguments;
    if (needs_schema(command)) {
        if (schema != nullptr && !schema->has_command(name)) {
            return unknown_command(*schema, command);
        }
        arguments = TRY(build_arguments(schema, name, words));
    }
    return print_reply(command, TRY(client.execute(name, arguments, deadline)), json);
}

}  // namespace halcyon
