#include "daemon/hmp/monitor.h"

#include <algorithm>
#include <array>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "daemon/hmp/call.h"
#include "daemon/hmp/expression.h"
#include "qmp_commands.h"

namespace halcyon::hmp {

namespace {

std::string help_line(std::string_view prefix, const Command& command) {
    return fmt::format("{}{} {} -- {}\n", prefix, command.name, command.parameters, command.help);
}

std::string help_all(std::string_view prefix, std::span<const Command> table) {
    std::string text;
    for (const Command& command : table) {
        text += help_line(prefix, command);
    }
    return text;
}

void run_help(const Call& call);
void run_info(const Call& call);

void run_cpu(const Call& call) {
    std::string_view rest = call.arguments;
    const Result<int64_t> index =
        read_expression(rest, [](std::string_view) { return std::nullopt; });
    if (!index) {
        answer_misuse(call, index.error().message());
    } else if (expect_end(call, rest)) {
        // The choice holds for a monitor, and each line here is one of its own.
        const bool known =
            *index >= 0 && static_cast<uint64_t>(*index) < call.machine().vcpus().size();
        call.done(known ? "" : "invalid CPU index\n");
    }
}

constexpr auto kCommands = std::to_array<Command>({
    {"cont|c", "", "resume emulation",
     [](const Call& call) { call.machine().resume(answer_outcome(call)); }},
    {"cpu", "index", "set the default CPU", run_cpu, true},
    {"gva2gpa", "addr", "print the guest physical address corresponding to a guest virtual address",
     show_translation, true},
    {"help|?", "[cmd]", "show the help", run_help, true},
    {"info", "[subcommand]", "show various information about the system state", run_info, true},
    {"nmi", "", "inject an NMI",
     [](const Call& call) { answer_outcome(call)(qmp::qmp_inject_nmi(*call.context)); }},
    {"print|p", "/fmt expr", "print expression value (use $reg for CPU register access)",
     show_value, true},
    {"quit|q", "", "quit the emulator",
     [](const Call& call) {
         call.context->end(ShutdownCause::kHostQmpQuit, answer_outcome(call));
     }},
    {"stop|s", "", "stop emulation",
     [](const Call& call) { call.machine().pause(answer_outcome(call)); }},
    {"system_powerdown", "", "send system power down event",
     [](const Call& call) { answer_outcome(call)(qmp::qmp_system_powerdown(*call.context)); }},
    {"system_reset", "", "reset the system",
     [](const Call& call) { call.machine().reset(answer_outcome(call)); }},
    {"system_wakeup", "", "wakeup guest from suspend",
     [](const Call& call) { answer_outcome(call)(qmp::qmp_system_wakeup(*call.context)); }},
    {"trace-event", "name on|off [vcpu]",
     "changes status of a specific trace event (vcpu: vCPU to set, default is all)",
     set_trace_event, true},
    {"x", "/fmt addr", "virtual memory dump starting at 'addr'", show_virtual_memory, true},
    {"xp", "/fmt addr", "physical memory dump starting at 'addr'", show_physical_memory, true},
});

void run_help(const Call& call) {
    std::string_view rest = call.arguments;
    const std::string name = take_word(rest);
    if (name.empty()) {
        call.done(help_all("", kCommands));
        return;
    }
    const Command* const command = find_command(kCommands, name);
    if (command == nullptr) {
        call.done("unknown command: '" + name + "'\n");
    } else if (name != "info") {
        call.done(help_line("", *command));
    } else if (const std::string topic = take_word(rest); topic.empty()) {
        call.done(help_all("info ", info_commands()));
    } else if (const Command* const subcommand = find_command(info_commands(), topic)) {
        call.done(help_line("info ", *subcommand));
    } else {
        call.done("unknown command: 'info " + topic + "'\n");
    }
}

/// Runs the command of `table` that the line begins with.
void run_from(std::span<const Command> table, std::string_view prefix, Call call) {
    std::string_view rest = call.arguments;
    const std::string word = take_word(rest);
    call.name = std::string(prefix) + word;
    const Command* const command = find_command(table, word);
    if (command == nullptr) {
        call.done("unknown command: '" + call.name + "'\n");
        return;
    }
    // The assignment must not read what it overwrites.
    call.arguments = std::string(rest);
    if (!command->takes_arguments && !call.arguments.empty()) {
        answer_misuse(call,
                      std::string(command->name) + ": extraneous characters at the end of line");
        return;
    }
    command->run(call);
}

void run_info(const Call& call) {
    if (call.arguments.empty()) {
        call.done(help_all("info ", info_commands()));
        return;
    }
    run_from(info_commands(), "info ", call);
}

/// The name of a command's entry, as it begins the complaint about its arguments.
std::string_view entry_name(const Call& call) {
    std::string_view word = call.name;
    std::span<const Command> table = kCommands;
    if (word.starts_with("info ")) {
        word.remove_prefix(5);
        table = info_commands();
    }
    const Command* const command = find_command(table, word);
    return command != nullptr ? command->name : word;
}

}  // namespace

const Command* find_command(std::span<const Command> table, std::string_view name) {
    const auto is_called = [name](const Command& command) {
        const size_t bar = std::min(command.name.find('|'), command.name.size());
        return name == command.name.substr(0, bar) ||
               (bar < command.name.size() && name == command.name.substr(bar + 1));
    };
    const auto found = std::ranges::find_if(table, is_called);
    return found == table.end() ? nullptr : &*found;
}

std::string take_word(std::string_view& text) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
    const size_t end = std::min(text.find_first_of(" \t/"), text.size());
    std::string word(text.substr(0, end));
    text.remove_prefix(end);
    text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
    return word;
}

void answer_misuse(const Call& call, const std::string& fault) {
    call.done(fault + "\nTry \"help " + call.name + "\" for more information\n");
}

Machine::Done answer_outcome(const Call& call) {
    return [done = call.done](const Result<void>& result) {
        done(result ? "" : "Error: " + result.error().message() + "\n");
    };
}

bool expect_end(const Call& call, std::string_view rest) {
    if (rest.find_first_not_of(" \t") == std::string_view::npos) {
        return true;
    }
    answer_misuse(call,
                  std::string(entry_name(call)) + ": extraneous characters at the end of line");
    return false;
}

void with_registers(const Call& call,
                    std::function<void(const std::vector<VcpuRegisters>& all)> use) {
    call.machine().read_all_registers(
        [call, use = std::move(use)](const Result<std::vector<VcpuRegisters>>& all) {
            if (all) {
                use(*all);
            } else {
                call.done("Error: " + all.error().message() + "\n");
            }
        });
}

void run_line(CommandContext& context, VcpuIndex cpu, const std::string& line,
              std::function<void(std::string text)> done) {
    Call call;
    call.context = &context;
    call.cpu = cpu;
    call.arguments = line;
    call.done = [done = std::move(done)](const std::string& text) {
        std::string wire;
        for (const char character : text) {
            wire += character == '\n' ? "\r\n" : std::string(1, character);
        }
        done(std::move(wire));
    };
    if (line.find_first_not_of(" \t") == std::string::npos) {
        call.done("");
        return;
    }
    run_from(kCommands, "", std::move(call));
}

}  // namespace halcyon::hmp
