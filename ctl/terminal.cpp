#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

// It needs FILE, and does not include what has it.
#include <readline/history.h>
#include <readline/readline.h>

#include "base/unique_fd.h"
#include "ctl/exit_status.h"
#include "ctl/shell.h"

namespace halcyon {
namespace {

constexpr int kHistoryLines = 1000;

/// Readline, around an interpreter. Readline calls back without an argument, so the object is
/// found through `current`.
class Terminal {
public:
    Terminal(ShellInterpreter& interpreter, std::string prompt)
        : interpreter_(interpreter), prompt_(std::move(prompt)), history_(history_path()) {
        current() = this;
    }
    ~Terminal() {
        rl_callback_handler_remove();
        current() = nullptr;
    }
    Terminal(const Terminal&) = delete;
    Terminal& operator=(const Terminal&) = delete;

    Result<void> run() {
        TRY(take_signals());
        set_up_readline();
        rl_callback_handler_install(prompt_.c_str(), on_line);
        while (!end_) {
            TRY(turn());
        }
        return std::move(result_);
    }

private:
    static Terminal*& current() {
        // readline's callbacks take no argument.
        // NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
        static Terminal* terminal = nullptr;
        return terminal;
    }

    /// Signals are read where the loop waits: ^C ends a line or a wait, others the shell.
    Result<void> take_signals() {
        sigset_t signals;
        sigemptyset(&signals);
        for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
            sigaddset(&signals, signal);
        }
        sigprocmask(SIG_BLOCK, &signals, nullptr);
        signals_.reset(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
        if (!signals_) {
            return Error::from_errno("signalfd");
        }
        interpreter_.client().set_interrupt(signals_.get());
        return {};
    }

    void set_up_readline() {
        rl_readline_name = "halcyonctl";
        rl_catch_signals = 0;
        rl_completer_word_break_characters = " \t\n";
        rl_attempted_completion_function = on_complete;
        using_history();
        stifle_history(kHistoryLines);
        if (!history_.empty()) {
            read_history(history_.c_str());
        }
    }

    /// One wait, and what came.
    Result<void> turn() {
        std::array<pollfd, 3> polled{pollfd{STDIN_FILENO, POLLIN, 0},
                                     pollfd{interpreter_.client().fd(), POLLIN, 0},
                                     pollfd{signals_.get(), POLLIN, 0}};
        if (::poll(polled.data(), polled.size(), -1) < 0) {
            return errno == EINTR ? Result<void>() : Error::from_errno("poll");
        }
        if (polled[2].revents != 0) {
            on_signal();
        } else if (polled[1].revents != 0) {
            return on_server();
        } else if (polled[0].revents != 0) {
            rl_callback_read_char();
        }
        return {};
    }

    void on_signal() {
        signalfd_siginfo signal{};
        while (::read(signals_.get(), &signal, sizeof(signal)) == sizeof(signal)) {
            end_ = end_ || signal.ssi_signo != SIGINT;
        }
        std::fputs("^C\n", rl_outstream);
        rl_replace_line("", 0);
        rl_on_new_line();
        rl_redisplay();
    }

    Result<void> on_server() {
        const bool open = TRY(interpreter_.client().read_available());
        rl_clear_visible_line();
        TRY(interpreter_.print_events());
        if (!open) {
            return connection_error("the server closed the connection");
        }
        rl_on_new_line();
        rl_redisplay();
        return {};
    }

    /// A whole line; null at the end of input.
    static void on_line(char* text) {
        const std::unique_ptr<char, decltype(&std::free)> line(text, &std::free);
        current()->take_line(line.get());
    }

    void take_line(const char* line) {
        rl_callback_handler_remove();  // the terminal as commands expect it
        if (line == nullptr) {
            std::fputs("\n", rl_outstream);
            end_ = true;
            return;
        }
        remember(line);
        Result<ShellInterpreter::Next> next = interpreter_.run_line(line);
        const Result<void> printed = interpreter_.print_events();
        if (!next || !printed) {
            result_ = next ? printed.error() : std::move(next).error();
            end_ = true;
            return;
        }
        drop_interrupts();
        end_ = end_ || *next == ShellInterpreter::Next::kEnd;
        if (!end_) {
            rl_callback_handler_install(prompt_.c_str(), on_line);
        }
    }

    /// A ^C that has ended a wait is not to end the next line too.
    void drop_interrupts() {
        signalfd_siginfo signal{};
        while (::read(signals_.get(), &signal, sizeof(signal)) == sizeof(signal)) {
            end_ = end_ || signal.ssi_signo != SIGINT;
        }
    }

    void remember(const char* line) {
        const HIST_ENTRY* last = history_length > 0 ? history_get(history_length) : nullptr;
        if (*line == '\0' || (last != nullptr && std::strcmp(last->line, line) == 0)) {
            return;
        }
        add_history(line);
        if (!history_.empty() && append_history(1, history_.c_str()) != 0) {
            write_history(history_.c_str());  // there is no file yet
        }
    }

    static char** on_complete(const char* text, int start, int /*end*/) {
        rl_attempted_completion_over = 1;  // never file names
        Terminal& terminal = *current();
        terminal.candidates_ = terminal.interpreter_.complete(
            std::string_view(rl_line_buffer, static_cast<size_t>(start)), text);
        if (terminal.candidates_.size() == 1) {
            const char last = terminal.candidates_.front().back();
            rl_completion_suppress_append = last == '=' || last == '.' ? 1 : 0;
        }
        return rl_completion_matches(text, next_candidate);
    }

    /// The candidate number `state` and so on, for readline to free; null after the last.
    static char* next_candidate(const char* /*text*/, int state) {
        Terminal& terminal = *current();
        terminal.next_ = state == 0 ? 0 : terminal.next_ + 1;
        return terminal.next_ < terminal.candidates_.size()
                   ? ::strdup(terminal.candidates_[terminal.next_].c_str())
                   : nullptr;
    }

    ShellInterpreter& interpreter_;
    std::string prompt_;
    std::string history_;
    UniqueFd signals_;
    std::vector<std::string> candidates_;
    size_t next_ = 0;
    Result<void> result_;
    bool end_ = false;
};

}  // namespace

Result<void> run_terminal(ShellInterpreter& interpreter, const std::string& prompt) {
    return Terminal(interpreter, prompt).run();
}

}  // namespace halcyon
