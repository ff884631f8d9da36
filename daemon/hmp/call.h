/// Call: one command of the human monitor under way.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "accel/vcpu.h"
#include "base/result.h"
#include "daemon/command_context.h"

namespace halcyon::hmp {

/// What a command gets, and keeps for as long as it runs. Main thread.
struct Call {
    CommandContext* context = nullptr;
    /// The vCPU that commands about one are about.
    VcpuIndex cpu;
    /// The command as it was typed: "x", "info registers".
    std::string name;
    /// What was typed behind it, without the spaces between.
    std::string arguments;
    /// Takes the text to be shown, with '\n' at the ends of its lines; called exactly once.
    std::function<void(std::string text)> done;

    [[nodiscard]] Machine& machine() const { return context->machine(); }
};

/// A command, or a subcommand of info.
struct Command {
    std::string_view name;        ///< perhaps with a second one: "stop|s"
    std::string_view parameters;  ///< for help; empty for one that takes none
    std::string_view help;
    void (*run)(const Call& call);
    bool takes_arguments = false;
};

[[nodiscard]] std::span<const Command> info_commands();

/// The command of a table that is called `name`, or null.
[[nodiscard]] const Command* find_command(std::span<const Command> table, std::string_view name);

/// Takes the first word off `text`, and the spaces around it; a '/' begins a new one (x/4).
[[nodiscard]] std::string take_word(std::string_view& text);

/// Answers that the command was not understood, and where there is help.
void answer_misuse(const Call& call, const std::string& fault);
/// Answers nothing, or why it failed.
[[nodiscard]] Machine::Done answer_outcome(const Call& call);
/// Whether nothing is left of the arguments; answers so otherwise.
[[nodiscard]] bool expect_end(const Call& call, std::string_view rest);

/// Reads the registers of all vCPUs, then calls `use`; answers itself when that fails.
void with_registers(const Call& call,
                    std::function<void(const std::vector<VcpuRegisters>& all)> use);

// The commands that show memory and numbers.
void show_virtual_memory(const Call& call);
void show_physical_memory(const Call& call);
void show_value(const Call& call);
void show_translation(const Call& call);

// Those about trace events.
void set_trace_event(const Call& call);
void show_trace_events(const Call& call);

}  // namespace halcyon::hmp
