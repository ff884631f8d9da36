#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <utility>

#include "daemon/chardev/kinds.h"

namespace halcyon {
namespace {

/// The mode to give back to the terminal, for the handler of fatal signals, which can reach nothing
/// else. Written before the handler is installed.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): a handler has no argument
termios fatal_signal_mode{};
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): likewise
volatile sig_atomic_t fatal_signal_restores = 0;

constexpr std::array kFatalSignals = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGQUIT};

/// tcsetattr from a background process would stop it with SIGTTOU; the terminal belongs to the
/// foreground then, and is left alone.
void set_mode(const termios& mode) {
    const pid_t foreground = tcgetpgrp(STDIN_FILENO);
    // A terminal that is not the controlling one has no foreground as far as we are concerned.
    if (foreground == -1 || foreground == getpgrp()) {
        tcsetattr(STDIN_FILENO, TCSANOW, &mode);
    }
}

extern "C" void restore_and_die(int number) {
    if (fatal_signal_restores != 0) {
        set_mode(fatal_signal_mode);
    }
    // SA_RESETHAND has put the default back; it strikes when this returns.
    raise(number);
}

void install_fatal_handlers() {
    struct sigaction action {};
    action.sa_handler = restore_and_die;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    for (const int number : kFatalSignals) {
        struct sigaction present {};
        // A handler that is there already (a sanitizer's) is better at its job.
        if (sigaction(number, nullptr, &present) == 0 && present.sa_handler == SIG_DFL) {
            sigaction(number, &action, nullptr);
        }
    }
}

/// A descriptor of our own for the same thing, so that O_NONBLOCK does not change the one that is
/// shared with the shell. What cannot be reopened (a socket, a file, whose offset would be lost) is
/// duplicated; a socket is then made non-blocking for all who share it.
UniqueFd reopen(int fd, int mode) {
    struct stat status {};
    if (fstat(fd, &status) != 0) {
        return UniqueFd();
    }
    if (S_ISCHR(status.st_mode) || S_ISFIFO(status.st_mode)) {
        const std::string path = "/proc/self/fd/" + std::to_string(fd);
        UniqueFd own(::open(path.c_str(), mode | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
        if (own) {
            return own;
        }
    }
    UniqueFd own(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (own && !S_ISREG(status.st_mode)) {
        fcntl(own.get(), F_SETFL, fcntl(own.get(), F_GETFL) | O_NONBLOCK);
    }
    return own;
}

}  // namespace

Result<std::unique_ptr<Chardev>> StdioChardev::create(std::string id,
                                                      const StdioChardevOptions& options,
                                                      MainLoop& loop) {
    auto chardev = std::unique_ptr<StdioChardev>(new StdioChardev(std::move(id), loop));
    chardev->signals_ = options.signals;
    termios mode{};
    if (tcgetattr(STDIN_FILENO, &mode) == 0) {
        chardev->original_mode_ = mode;
        fatal_signal_mode = mode;
        fatal_signal_restores = 1;
        install_fatal_handlers();
        chardev->apply_mode();
    }
    UniqueFd input = reopen(STDIN_FILENO, O_RDONLY);
    UniqueFd output = reopen(STDOUT_FILENO, O_WRONLY);
    if (!output) {
        return Error::from_errno("standard output cannot be used");
    }
    TRY(chardev->open_stream(std::move(input), std::move(output)));
    return std::unique_ptr<Chardev>(std::move(chardev));
}

StdioChardev::~StdioChardev() {
    if (original_mode_) {
        set_mode(*original_mode_);
        fatal_signal_restores = 0;
    }
}

void StdioChardev::set_echo(bool echo) {
    echo_ = echo;
    apply_mode();
}

void StdioChardev::apply_mode() {
    if (!original_mode_) {
        return;
    }
    termios mode = *original_mode_;
    if (!echo_) {
        // As QEMU sets it: every byte passes as typed, output is still processed, so that the
        // daemon's own lines look right.
        mode.c_iflag &= ~static_cast<tcflag_t>(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR |
                                               ICRNL | IXON);
        mode.c_oflag |= OPOST;
        mode.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL | ICANON | IEXTEN);
        mode.c_cflag &= ~static_cast<tcflag_t>(CSIZE | PARENB);
        mode.c_cflag |= CS8;
        mode.c_cc[VMIN] = 1;
        mode.c_cc[VTIME] = 0;
    }
    if (!signals_) {
        mode.c_lflag &= ~static_cast<tcflag_t>(ISIG);
    }
    set_mode(mode);
}

}  // namespace halcyon
