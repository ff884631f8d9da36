/// The command shell: commands a line each.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "ctl/commands.h"

namespace halcyon {

/// Carries out the lines of a shell, whoever reads them.
class ShellInterpreter {
public:
    ShellInterpreter(MonitorClient& client, QmpSchema schema, bool json);

    /// What one line led to.
    enum class Next { kGoOn, kEnd };

    /// A line: a command, `help`, `exit`, or a request in JSON. A fault is the line's, and told on
    /// standard error; it is an Error only when the connection or the output is lost.
    [[nodiscard]] Result<Next> run_line(std::string_view line);

    /// The fault of the last line, success without one.
    [[nodiscard]] const Result<void>& last_result() const { return last_result_; }

    /// Prints the events that were received, a line each.
    [[nodiscard]] Result<void> print_events();

    [[nodiscard]] std::vector<std::string> complete(std::string_view line_before,
                                                    std::string_view partial) const;

    [[nodiscard]] MonitorClient& client() { return client_; }

private:
    [[nodiscard]] Result<void> run_words(std::span<const std::string> words);
    [[nodiscard]] Result<void> run_json(std::string_view line);
    [[nodiscard]] Result<void> help(std::span<const std::string> words);

    MonitorClient& client_;
    QmpSchema schema_;
    bool json_;
    Result<void> last_result_;
};

/// Reads commands until the end of input, `exit`, or the end of the connection: from a terminal
/// with editing, completion and history, from anything else line by line. The result is that of
/// the last line, or of the connection's unexpected end.
[[nodiscard]] Result<void> run_shell(MonitorClient& client, const CtlOptions& options);

/// The same on a terminal. `prompt` is shown before each line. Once in a process: readline is
/// global.
[[nodiscard]] Result<void> run_terminal(ShellInterpreter& interpreter, const std::string& prompt);

/// Where the lines are kept: $XDG_STATE_HOME/halcyon/history, with its directories made. Empty
/// when there is no such place.
[[nodiscard]] std::string history_path();

}  // namespace halcyon
