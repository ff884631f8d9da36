#include "ctl/shell.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <iostream>
#include <utility>

#include "ctl/arguments.h"
#include "ctl/completion.h"
#include "ctl/exit_status.h"
#include "ctl/format.h"
#include "ctl/json_access.h"
#include "ctl/shell_words.h"

namespace halcyon {
namespace {

constexpr const char* kHelp = R"(A command and its arguments: COMMAND KEY=VALUE KEY.MEMBER=VALUE..
or a QMP request in JSON. TAB completes, `help COMMAND` tells a command's arguments.

  status, info, stop, cont, reset, powerdown   as on halcyonctl's command line
  quit                                         ends the machine
  help, exit                                   of this shell; so is ^D

Events are printed as they come. The server's commands:
)";

/// The first words of a line that are not the server's commands.
constexpr std::array<std::string_view, 9> kShellCommands = {
    "cont", "exit", "help", "info", "powerdown", "quit", "reset", "status", "stop"};

std::string environment(const char* name) {
    const char* value = ::getenv(name);
    return value == nullptr ? std::string() : std::string(value);
}

/// A connection that is lost ends the shell; anything else is the line's own fault.
bool is_fatal(const Error& error) {
    return status_of(error) == CtlStatus::kNoConnection;
}

std::string describe_arguments(const QmpSchema& schema, std::string_view command) {
    const SchemaType* type = schema.arguments_of(command);
    std::string text = std::string(command) + "\n";
    if (type == nullptr) {
        return text;
    }
    std::vector<SchemaMember> members = type->members;
    for (const SchemaMember& member : members) {
        text += "  " + member.name + "=" + (member.optional ? "  (optional) " : "  ") +
                schema.describe(member.type) + "\n";
    }
    for (const SchemaVariant& variant : type->variants) {
        const SchemaType* chosen = schema.find_type(variant.type);
        for (const SchemaMember& member : chosen == nullptr ? members : chosen->members) {
            text += "  " + member.name + "=  (" + type->tag + "=" + variant.tag_value + ") " +
                    schema.describe(member.type) + "\n";
        }
    }
    return text;
}

Result<void> run_plain(ShellInterpreter& interpreter) {
    std::string line;
    while (std::getline(std::cin, line)) {
        const ShellInterpreter::Next next = TRY(interpreter.run_line(line));
        TRY(interpreter.print_events());
        if (next == ShellInterpreter::Next::kEnd) {
            break;
        }
    }
    return interpreter.last_result();
}

}  // namespace

ShellInterpreter::ShellInterpreter(MonitorClient& client, QmpSchema schema, bool json)
    : client_(client), schema_(std::move(schema)), json_(json) {}

Result<ShellInterpreter::Next> ShellInterpreter::run_line(std::string_view line) {
    const size_t begin = std::min(line.find_first_not_of(" \t"), line.size());
    line.remove_prefix(begin);
    if (line.empty() || line.front() == '#') {
        return Next::kGoOn;
    }
    bool quits = false;
    if (line.front() == '{') {
        last_result_ = run_json(line);
    } else {
        const Result<std::vector<std::string>> words = split_shell_words(line);
        if (words && words->front() == "exit") {
            return Next::kEnd;
        }
        quits = words && words->front() == "quit";
        last_result_ = words ? run_words(*words) : Result<void>(words.error());
    }
    if (last_result_) {
        return quits ? Next::kEnd : Next::kGoOn;
    }
    if (is_fatal(last_result_.error())) {
        return last_result_.error();
    }
    complain(last_result_.error().message());
    return Next::kGoOn;
}

Result<void> ShellInterpreter::run_words(std::span<const std::string> words) {
    if (words.front() == "help") {
        return help(words.subspan(1));
    }
    for (const char* other : {"events", "shell", "stop-service"}) {
        if (words.front() == other) {
            return usage_error(words.front() + " is not for the shell");
        }
    }
    return run_command(client_, schema_.commands().empty() ? nullptr : &schema_, words.front(),
                       words.subspan(1), json_, Deadline::never());
}

Result<void> ShellInterpreter::run_json(std::string_view line) {
    Json request = TRY(parse_json(line));
    const std::string name(find_string(request, "execute"));
    return print_reply(name.empty() ? "request" : name,
                       TRY(client_.request(std::move(request), Deadline::never())), json_);
}

Result<void> ShellInterpreter::help(std::span<const std::string> words) {
    if (words.empty()) {
        std::string text = kHelp;
        for (const std::string& command : schema_.commands()) {
            text += "  " + command + "\n";
        }
        return print(text);
    }
    if (!schema_.has_command(words.front())) {
        return usage_error("the server has no command '" + words.front() + "'");
    }
    return print(describe_arguments(schema_, words.front()));
}

Result<void> ShellInterpreter::print_events() {
    while (const std::optional<Json> event = client_.take_event()) {
        TRY(print(json_ ? to_wire(*event) + "\n" : format_event(*event)));
    }
    return {};
}

std::vector<std::string> ShellInterpreter::complete(std::string_view line_before,
                                                    std::string_view partial) const {
    Result<std::vector<std::string>> words = split_shell_words(line_before);
    if (!words) {
        return {};
    }
    if (words->size() == 1 && words->front() == "help") {
        words->clear();
    }
    return halcyon::complete(schema_, kShellCommands, *words, partial);
}

Result<void> run_shell(MonitorClient& client, const CtlOptions& options) {
    std::optional<QmpSchema> schema = TRY(fetch_schema(client, Deadline::never()));
    if (!schema) {
        schema = TRY(QmpSchema::parse(Json::array()));
    }
    ShellInterpreter interpreter(client, *std::move(schema), options.json);
    if (::isatty(STDIN_FILENO) == 0) {
        return run_plain(interpreter);
    }
    return run_terminal(interpreter, (options.name.empty() ? "qmp" : options.name) + "> ");
}

std::string history_path() {
    std::string directory = environment("XDG_STATE_HOME");
    const std::string home = environment("HOME");
    if (directory.empty() && !home.empty()) {
        directory = home + "/.local/state";
    }
    if (!directory.starts_with('/')) {  // as the XDG specification asks
        return {};
    }
    directory += "/halcyon";
    for (size_t end = directory.find('/', 1); end != std::string::npos;
         end = directory.find('/', end + 1)) {
        ::mkdir(directory.substr(0, end).c_str(), 0700);
    }
    ::mkdir(directory.c_str(), 0700);
    return ::access(directory.c_str(), W_OK) == 0 ? directory + "/history" : std::string();
}

}  // namespace halcyon
