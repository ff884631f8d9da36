/// The table of options: the one list that parsing and -help work from.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "daemon/options/options.h"

namespace halcyon {

/// What the options seen so far add up to. Each option's function changes it; `finish_options`
/// checks what only the whole can tell.
struct OptionParser {
    Options options;
    std::span<const Accelerator* const> built_in;
    /// The option being read, as given: "-serial stdio"; one of a file: "vm.conf:3: -serial stdio".
    std::string origin;
    /// While the options of a file are read: the file and line, as they begin `origin`.
    std::string place;
    /// -accel and "-machine accel=" exclude each other.
    std::string accel_origin;
    std::string machine_accel_origin;
    std::span<const PassedSocket> passed_sockets;
    bool nodefaults = false;
    bool nographic = false;
    /// -mon options whose chardev may be defined behind them.
    std::vector<std::string> monitor_origins;
    std::vector<std::string> serial_origins;
    std::string debugcon_origin;
};

/// -help prints the options by area, in this order.
enum class OptionArea { kMachine, kFirmware, kCharacter, kMonitor, kProcess, kInformation };

struct OptionSpec {
    std::string_view name;
    /// Another name for the same, or empty.
    std::string_view alias;
    OptionArea area;
    /// What it takes, as -help and errors show it; empty when it takes no argument.
    std::string_view argument;
    /// For -help; lines are separated by '\n'.
    std::string_view help;
    /// Fails with what is wrong; the caller adds the option and what it takes.
    Result<void> (*apply)(OptionParser& parser, const std::string& argument);
};

/// -options-file: applies the options of a file, in its place. Its Error names file and line.
Result<void> apply_options_file(OptionParser& parser, const std::string& argument);

/// All options, by area.
[[nodiscard]] std::span<const OptionSpec> option_table();

/// The text of -help.
[[nodiscard]] std::string help_text();
/// The line of -version.
[[nodiscard]] std::string version_text();

// The options' functions, by file. machine_options.cpp:
Result<void> apply_machine(OptionParser& parser, const std::string& argument);
Result<void> apply_accel(OptionParser& parser, const std::string& argument);
Result<void> apply_enable_kvm(OptionParser& parser, const std::string& argument);
Result<void> apply_cpu(OptionParser& parser, const std::string& argument);
Result<void> apply_smp(OptionParser& parser, const std::string& argument);
Result<void> apply_memory(OptionParser& parser, const std::string& argument);
Result<void> apply_name(OptionParser& parser, const std::string& argument);
Result<void> apply_boot(OptionParser& parser, const std::string& argument);
Result<void> apply_uuid(OptionParser& parser, const std::string& argument);
Result<void> apply_action(OptionParser& parser, const std::string& argument);
Result<void> apply_sandbox(OptionParser& parser, const std::string& argument);
Result<void> apply_machined(OptionParser& parser, const std::string& argument);
// chardev_options.cpp:
Result<void> apply_chardev(OptionParser& parser, const std::string& argument);
Result<void> apply_serial(OptionParser& parser, const std::string& argument);
Result<void> apply_debugcon(OptionParser& parser, const std::string& argument);
Result<void> apply_mon(OptionParser& parser, const std::string& argument);
Result<void> apply_qmp(OptionParser& parser, const std::string& argument);
Result<void> apply_qmp_pretty(OptionParser& parser, const std::string& argument);
Result<void> apply_monitor(OptionParser& parser, const std::string& argument);
/// Makes monitors of the passed sockets that are meant for them; before `finish_chardevs`.
Result<void> add_passed_sockets(OptionParser& parser);
/// The checks on back ends that need all options: ids unique and known, each used once, one stdio.
Result<void> finish_chardevs(OptionParser& parser);

}  // namespace halcyon
