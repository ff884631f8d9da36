#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/unique_fd.h"
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
constexpr std::chrono::seconds kStopGreetingLimit{5};
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

/// The schema of a machine that runs. To connect would start another one, which nobody expects of
/// a completion.
Result<std::optional<QmpSchema>> schema_if_running(const CtlOptions& options) {
    if (options.off) {
        return std::optional<QmpSchema>();
    }
    const Deadline deadline = whole_deadline(options);
    MonitorClient client = TRY(MonitorClient::connect(options.socket, greeting_deadline(deadline)));
    return fetch_schema(client, deadline);
}

Result<void> run_lists(const CtlOptions& options) {
    const std::optional<QmpSchema> schema = TRY(schema_if_running(options));
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

/// The run state; while the guest is only held for a dump, that which follows.
Result<std::string> state_to_ask(MonitorClient& client, Deadline deadline) {
    while (true) {
        const Reply status = TRY(client.execute("query-status", nullptr, deadline));
        std::string state(find_string(status.value, "status"));
        if (state != "save-vm" || !client.next_event(deadline)) {
            return state;
        }
    }
}

/// Whether the guest ended, or its time is over. A machine that does not run cannot listen.
Result<bool> ask_guest(MonitorClient& client, const CtlOptions& options, Deadline deadline) {
    const Deadline grace = Deadline::after(options.grace).earlier(deadline);
    if (TRY(state_to_ask(client, grace)) != "running") {
        complain("the guest does not run: the machine is ended without asking it");
        return false;
    }
    client.drop_events();
    const Reply reply = TRY(client.execute("system_powerdown", nullptr, deadline));
    if (reply.error) {
        complain("the guest cannot be asked: " + reply.error->description);
        return false;
    }
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

/// Presses the power button of the service's machine by its signal (halcyond(1)), and gives the
/// guest its time. systemd ends what is left.
Result<void> press_button(pid_t pid, const CtlOptions& options) {
    complain("no monitor answers: the power button is pressed by a signal");
    const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!process || ::kill(pid, SIGRTMIN + 4) != 0) {
        return errno == ESRCH ? Result<void>()
                              : connection_error("process " + std::to_string(pid) + ": " +
                                                 std::strerror(errno));
    }
    pollfd wait_for{.fd = process.get(), .events = POLLIN, .revents = 0};
    if (::poll(&wait_for, 1, Deadline::after(options.grace).poll_timeout()) == 0) {
        complain("the guest did not power off in time");
    }
    return {};
}

/// The service's process, when a service manager has started this one for it; or 0.
pid_t main_process() {
    const char* pid = ::getenv("MAINPID");
    return pid == nullptr ? 0 : static_cast<pid_t>(std::strtol(pid, nullptr, 10));
}

/// systemd runs ExecStop= also after the service's process has ended by itself, then without
/// MAINPID. Who connected now would wait in the socket unit's queue and start the machine again.
bool has_ended_by_itself() {
    return ::getenv("SERVICE_RESULT") != nullptr && main_process() == 0;
}

}  // namespace

Result<void> stop_service(const CtlOptions& options) {
    if (has_ended_by_itself()) {
        return {};
    }
    const Deadline deadline = whole_deadline(options);
    Result<MonitorClient> client = MonitorClient::connect(
        options.socket, Deadline::after(kStopGreetingLimit).earlier(deadline));
    if (!client && client.error().code() == ErrorCode::kNotActive && main_process() > 0) {
        return press_button(main_process(), options);
    }
    if (!client) {
        return std::move(client).error();
    }
    const Result<bool> ending = ask_guest(*client, options, deadline);
    if (!ending) {
        // The machine has ended meanwhile: that is what was wanted.
        return ending.error().code() == ErrorCode::kNotFound ? Result<void>() : ending.error();
    }
    return quit(*client, *ending, deadline);
}

Result<void> run_ctl(const CtlOptions& options) {
    if (options.list_commands || options.complete) {
        return run_lists(options);
    }
    if (options.command == "stop-service" && options.words.empty()) {
        return stop_service(options);
    }
    if (options.off && (options.command == "status" || options.command == "info")) {
        return connection_error(options.name + " is not running");
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
