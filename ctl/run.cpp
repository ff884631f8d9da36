#include <chrono>
#include <cstdlib>
#include <utility>

#include "ctl/commands.h"
#include "ctl/completion.h"
#include "ctl/exit_status.h"
#include "ctl/format.h"
#include "ctl/json_access.h"
#include "ctl/shell.h"

namespace halcyon {
namespace {

/// For the greeting when no --timeout says otherwise: a machine that is being started, or a monitor
/// that is another client's.
constexpr std::chrono::seconds kGreetingLimit{30};
/// The same for stop-service, where the service manager has another way.
constexpr std::chrono::seconds kStopGreetingLimit{10};
/// From the reply to quit to the end of the process.
constexpr std::chrono::seconds kEndLimit{5};

Deadline whole_deadline(const CtlOptions& options) {
    return options.timeout ? Deadline::after(*options.timeout) : Deadline::never();
}

Deadline greeting_deadline(const Deadline& whole) {
    return whole.is_never() ? Deadline::after(kGreetingLimit) : whole;
}

Result<void> print_event(const Json& event, bool json) {
    return print(json ? to_wire(event) + "\n" : format_event(event));
}

/// Until the event comes, or the server closes; prints all on the way, or the last only.
Result<void> follow(MonitorClient& client, const std::string& until, bool all, bool json,
                    Deadline deadline) {
    while (true) {
        Result<std::optional<Json>> event = client.next_event(deadline);
        if (!event) {
            const bool late = event.error().code() == ErrorCode::kNotActive;
            return late && !until.empty() ? timeout_error(until + " did not come in time")
                   : late                 ? timeout_error("the time is over")
                                          : std::move(event).error();
        }
        if (!*event) {
            return until.empty() ? Result<void>()
                                 : connection_error("the server closed the connection before " +
                                                    until + " came");
        }
        const bool found = find_string(**event, "event") == until;
        if (all || found) {
            TRY(print_event(**event, json));
        }
        if (found) {
            return {};
        }
    }
}

Result<void> check_event(const std::optional<QmpSchema>& schema, const std::string& event) {
    if (!event.empty() && schema && !schema->has_event(event)) {
        return usage_error("there is no event '" + event + "'; there are " +
                           join_names(schema->events()));
    }
    return {};
}

Result<void> run_lists(const CtlOptions& options) {
    const Deadline deadline = whole_deadline(options);
    MonitorClient client = TRY(MonitorClient::connect(options.socket, greeting_deadline(deadline)));
    const std::optional<QmpSchema> schema = TRY(fetch_schema(client, deadline));
    static const QmpSchema kNone = *QmpSchema::parse(Json::array());
    std::span<const std::string> words = options.words;
    const std::string partial = !options.complete || words.empty() ? "" : words.back();
    if (options.complete && !words.empty()) {
        words = words.first(words.size() - 1);
    }
    std::string text;
    for (const std::string& word :
         complete(schema ? *schema : kNone, own_commands(), words, partial)) {
        text += word + "\n";
    }
    return print(text);
}

/// The answer in time, or nothing when the machine ends before it: that is what was wanted.
Result<void> quit(MonitorClient& client, bool ending, Deadline deadline) {
    Result<Reply> reply = client.execute("quit", nullptr, deadline);
    if (!reply) {
        const bool gone = reply.error().code() == ErrorCode::kNotFound;
        return gone && ending ? Result<void>() : std::move(reply).error();
    }
    if (reply->error) {
        return print_reply("quit", *reply, false);
    }
    // The service manager is to find no process that it has to end.
    const Deadline end = Deadline::after(kEndLimit).earlier(deadline);
    while (true) {
        Result<std::optional<Json>> event = client.next_event(end);
        if (!event || !*event) {
            return {};
        }
    }
}

/// Whether the guest ended, or its time is over. A machine that does not run cannot listen.
Result<bool> ask_guest(MonitorClient& client, const CtlOptions& options, Deadline deadline) {
    const Reply status = TRY(client.execute("query-status", nullptr, deadline));
    if (find_string(status.value, "status") != "running") {
        complain("the guest does not run: the machine is ended without asking it");
        return false;
    }
    client.drop_events();
    const Reply reply = TRY(client.execute("system_powerdown", nullptr, deadline));
    if (reply.error) {
        complain("the guest cannot be asked: " + reply.error->description);
        return false;
    }
    const Deadline grace = Deadline::after(options.grace).earlier(deadline);
    while (true) {
        Result<std::optional<Json>> event = client.next_event(grace);
        if (!event && event.error().code() == ErrorCode::kNotActive) {
            complain("the guest did not power off in time: the machine is ended");
            return false;
        }
        const std::optional<Json> come = TRY(std::move(event));
        if (!come || find_string(*come, "event") == "SHUTDOWN") {
            return true;
        }
    }
}

/// systemd runs ExecStop= also after the service's process has ended by itself, then without
/// MAINPID. Who connected now would wait in the socket unit's queue and start the machine again.
bool has_ended_by_itself() {
    const char* pid = ::getenv("MAINPID");
    return ::getenv("SERVICE_RESULT") != nullptr && (pid == nullptr || *pid == '\0');
}

}  // namespace

Result<void> stop_service(const CtlOptions& options) {
    if (has_ended_by_itself()) {
        return {};
    }
    const Deadline deadline = whole_deadline(options);
    MonitorClient client = TRY(MonitorClient::connect(
        options.socket, Deadline::after(kStopGreetingLimit).earlier(deadline)));
    const bool ending = TRY(ask_guest(client, options, deadline));
    return quit(client, ending, deadline);
}

Result<void> run_ctl(const CtlOptions& options) {
    if (options.list_commands || options.complete) {
        return run_lists(options);
    }
    if (options.command == "stop-service" && options.words.empty()) {
        return stop_service(options);
    }
    const Deadline deadline = whole_deadline(options);
    MonitorClient client = TRY(MonitorClient::connect(options.socket, greeting_deadline(deadline)));
    const bool alone = options.command == "events" || options.command == "shell" ||
                       options.command == "stop-service";
    if (alone && !options.words.empty()) {
        return usage_error(options.command + " takes no arguments, but '" + options.words.front() +
                           "' is given");
    }
    if (options.command == "shell") {
        return run_shell(client, options);
    }
    std::optional<QmpSchema> schema;
    if (!options.wait_event.empty() ||
        (!options.command.empty() && !alone && needs_schema(options.command))) {
        schema = TRY(fetch_schema(client, deadline));
    }
    TRY(check_event(schema, options.wait_event));
    if (options.command == "events") {
        return follow(client, options.wait_event, true, options.json, deadline);
    }
    if (!options.command.empty()) {
        client.drop_events();
        TRY(run_command(client, schema ? &*schema : nullptr, options.command, options.words,
                        options.json, deadline));
    }
    return options.wait_event.empty()
               ? Result<void>()
               : follow(client, options.wait_event, false, options.json, deadline);
}

}  // namespace halcyon
