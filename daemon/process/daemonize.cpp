#include "daemon/process/daemonize.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

namespace halcyon {
namespace {

/// The byte that says "ready".
constexpr char kReady = 'R';

[[noreturn]] void wait_as_parent(int child) {
    char answer = 0;
    ssize_t got = 0;
    do {
        got = read(child, &answer, 1);
    } while (got < 0 && errno == EINTR);
    // Not exit(): what is registered there belongs to the child.
    _exit(got == 1 && answer == kReady ? EXIT_SUCCESS : EXIT_FAILURE);
}

}  // namespace

Result<DaemonHandshake> DaemonHandshake::fork_to_background() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return Error::from_errno("-daemonize: cannot create a pipe");
    }
    UniqueFd read_end(ends[0]);
    UniqueFd write_end(ends[1]);
    const pid_t child = fork();
    if (child < 0) {
        return Error::from_errno("-daemonize: cannot fork");
    }
    if (child != 0) {
        write_end.reset();
        wait_as_parent(read_end.get());
    }
    setsid();
    return DaemonHandshake(std::move(write_end));
}

Result<void> DaemonHandshake::report_ready() {
    const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!null || chdir("/") != 0) {
        return Error::from_errno("-daemonize: cannot let go of the terminal");
    }
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        dup2(null.get(), fd);
    }
    // A parent that was killed does not matter any more.
    static_cast<void>(!write(parent_.get(), &kReady, 1));
    parent_.reset();
    return {};
}

Result<void> ensure_standard_descriptors() {
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        // NOLINTNEXTLINE(android-cloexec-open): a child inherits the standard descriptors
        if (fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR | O_NOCTTY) != fd) {
            return Error::from_errno("cannot open /dev/null");
        }
    }
    return {};
}

}  // namespace halcyon
