/// Times one life of a VM process: exec to QMP greeting, quit to its reply, quit to the process
/// gone.
///
///     vm_life SETTLE_MS COMMAND [ARGUMENT...]
///
/// In the arguments @FD@ stands for the number of a listening socket that the process inherits, so
/// that no polling for a socket file is part of the time. The VM runs SETTLE_MS between greeting
/// and quit. Prints one JSON object.

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/qmp_connection.h"
#include "bench/statistics.h"

extern char** environ;

namespace halcyon::bench {
namespace {

struct Sockets {
    UniqueFd listener;
    UniqueFd client;
};

/// A listening socket without a name in the file system, and a client that is connected to it
/// already.
Result<Sockets> make_sockets() {
    Sockets sockets{UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)),
                    UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string name = "halcyon-bench-" + std::to_string(::getpid());
    name.copy(address.sun_path + 1, name.size());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (::bind(sockets.listener.get(), generic, size) != 0 ||
        ::listen(sockets.listener.get(), 4) != 0 ||
        ::connect(sockets.client.get(), generic, size) != 0) {
        return Error::from_errno("cannot make the sockets");
    }
    return sockets;
}

Result<pid_t> spawn(std::vector<std::string> words, int listener) {
    ::fcntl(listener, F_SETFD, 0);
    std::vector<char*> pointers;
    for (std::string& word : words) {
        const size_t place = word.find("@FD@");
        if (place != std::string::npos) {
            word.replace(place, 4, std::to_string(listener));
        }
        pointers.push_back(word.data());
    }
    pointers.push_back(nullptr);
    pid_t pid = 0;
    const int error = ::posix_spawnp(&pid, pointers[0], nullptr, nullptr, pointers.data(), environ);
    ::fcntl(listener, F_SETFD, FD_CLOEXEC);
    if (error != 0) {
        return Error::from_errno("cannot start " + words[0], error);
    }
    return pid;
}

Result<void> measure(pid_t pid, QmpConnection connection, int settle_ms, Clock::time_point start) {
    TRY(connection.receive_line());
    const double greeting = microseconds_since(start);
    TRY(connection.send("{\"execute\":\"qmp_capabilities\"}\n"));
    TRY(connection.receive_reply());
    ::usleep(static_cast<useconds_t>(settle_ms) * 1000);

    const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    const Clock::time_point quit = Clock::now();
    TRY(connection.send("{\"execute\":\"quit\"}\n"));
    TRY(connection.receive_reply());
    const double reply = microseconds_since(quit);
    pollfd ended{.fd = process.get(), .events = POLLIN, .revents = 0};
    if (::poll(&ended, 1, 10000) != 1) {
        return Error("the process did not end");
    }
    const double gone = microseconds_since(quit);
    int status = 0;
    ::waitpid(pid, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return Error("the process ended with status " + std::to_string(status));
    }
    std::printf("{\"greeting_us\": %.1f, \"quit_reply_us\": %.1f, \"quit_gone_us\": %.1f}\n",
                greeting, reply, gone);
    return {};
}

Result<void> run(int settle_ms, std::vector<std::string> words) {
    Sockets sockets = TRY(make_sockets());
    const Clock::time_point start = Clock::now();
    const pid_t pid = TRY(spawn(std::move(words), sockets.listener.get()));
    sockets.listener.reset();  // A process that dies at start is then the end of the stream.
    auto result = measure(pid, QmpConnection(std::move(sockets.client)), settle_ms, start);
    if (!result) {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
    }
    return result;
}

}  // namespace
}  // namespace halcyon::bench

int main(int argc, char** argv) {
    if (argc < 3) {
        std::fprintf(stderr, "usage: vm_life SETTLE_MS COMMAND [ARGUMENT...]\n");
        return 2;
    }
    const auto result = halcyon::bench::run(std::atoi(argv[1]), {argv + 2, argv + argc});
    if (!result) {
        std::fprintf(stderr, "vm_life: %s\n", result.error().message().c_str());
        return 1;
    }
    return 0;
}
