/// Loads many monitors, or one in two ways at once.
///
///     monitor_load fan-out PREFIX COUNT SECONDS
///     monitor_load oob SOCKET FIFO SECONDS
///
/// `fan-out` asks the monitor at PREFIX0 for stop and cont, again and again, and reads the events
/// of the COUNT monitors from PREFIX1 on; a round is over when each has both. `oob` blocks a
/// monitor by a pmemsave into FIFO, which is not read, and measures round trips of out-of-band
/// requests behind it. Prints one JSON object.

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "bench/qmp_connection.h"
#include "bench/statistics.h"

namespace halcyon::bench {
namespace {

/// Sockets of clients that are only told events.
class Audience {
public:
    static Result<Audience> gather(const std::string& prefix, int count) {
        Audience audience;
        audience.poll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
        for (int number = 1; number <= count; ++number) {
            TRY(audience.add(prefix + std::to_string(number)));
        }
        return audience;
    }

    /// Reads until `lines` more have come from all of them together.
    Result<void> receive(size_t lines) {
        while (lines > 0) {
            std::array<epoll_event, 128> ready{};
            const int count = ::epoll_wait(poll_.get(), ready.data(), ready.size(), 10'000);
            if (count <= 0) {
                return Error("the events do not come");
            }
            for (int index = 0; index < count; ++index) {
                lines -=
                    std::min(lines, TRY(read_lines(ready[static_cast<size_t>(index)].data.fd)));
            }
        }
        return {};
    }

private:
    Result<void> add(const std::string& path) {
        QmpConnection connection = TRY(QmpConnection::connect(path));
        TRY(connection.negotiate());
        const int fd = connection.fd();
        epoll_event wanted{.events = EPOLLIN, .data = {.fd = fd}};
        if (::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, fd, &wanted) != 0) {
            return Error::from_errno("cannot watch a connection");
        }
        connections_.push_back(std::move(connection));
        return {};
    }

    static Result<size_t> read_lines(int fd) {
        std::array<char, 16384> buffer;
        const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (got <= 0) {
            return Error::from_errno("a monitor has gone");
        }
        return static_cast<size_t>(std::count(buffer.data(), buffer.data() + got, '\n'));
    }

    UniqueFd poll_;
    std::vector<QmpConnection> connections_;
};

Result<void> fan_out(const std::string& prefix, int count, double seconds) {
    QmpConnection control = TRY(QmpConnection::connect(prefix + "0"));
    TRY(control.negotiate());
    Audience audience = TRY(Audience::gather(prefix, count));
    const auto events = static_cast<size_t>(2 * count);
    std::vector<double> latencies;
    const Clock::time_point start = Clock::now();
    double elapsed = 0;
    while (elapsed < seconds * 1e6) {
        TRY(control.send("{\"execute\":\"stop\"}\n{\"execute\":\"cont\"}\n"));
        TRY(audience.receive(events));
        TRY(control.receive_reply());
        TRY(control.receive_reply());
        const double now = microseconds_since(start);
        latencies.push_back(now - elapsed);
        elapsed = now;
    }
    const auto total = static_cast<double>(latencies.size() * events);
    std::printf("{\"events_per_second\": %.1f, \"median_us\": %.2f, \"count\": %zu}\n",
                total / elapsed * 1e6, percentile(latencies, 0.5), latencies.size());
    return {};
}

/// Lets a blocked pmemsave go on: reads what it writes.
void drain(const UniqueFd& reader) {
    ::fcntl(reader.get(), F_SETFL, 0);
    std::array<char, 65536> buffer;
    while (::read(reader.get(), buffer.data(), buffer.size()) > 0) {
    }
}

Result<void> out_of_band(const std::string& path, const std::string& fifo, double seconds) {
    QmpConnection connection = TRY(QmpConnection::connect(path));
    TRY(connection.receive_line());
    TRY(connection.send(
        "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}\n"));
    TRY(connection.receive_reply());
    // Opened without waiting for the writer, whom a pipe without reader would turn away.
    const UniqueFd reader(::open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    TRY(
        connection.send("{\"execute\":\"pmemsave\",\"id\":\"blocked\",\"arguments\":"
                        "{\"val\":0,\"size\":1048576,\"filename\":\"" +
                        fifo + "\"}}\n"));
    std::vector<double> latencies;
    const Clock::time_point start = Clock::now();
    double elapsed = 0;
    while (elapsed < seconds * 1e6) {
        TRY(connection.send("{\"exec-oob\":\"query-yank\",\"id\":\"oob\"}\n"));
        const std::string line = TRY(connection.receive_line());
        if (line.find("\"oob\"") == std::string::npos) {
            return Error("not the answer of the out-of-band request: " + line);
        }
        const double now = microseconds_since(start);
        latencies.push_back(now - elapsed);
        elapsed = now;
    }
    drain(reader);
    const std::string last = TRY(connection.receive_line());
    if (last.find("\"return\": {}, \"id\": \"blocked\"") == std::string::npos) {
        return Error("the blocked command failed: " + last);
    }
    std::printf("{\"median_us\": %.2f, \"p99_us\": %.2f, \"count\": %zu}\n",
                percentile(latencies, 0.5), percentile(latencies, 0.99), latencies.size());
    return {};
}

Result<void> run(const std::string& mode, char** arguments) {
    if (mode == "fan-out") {
        return fan_out(arguments[0], std::atoi(arguments[1]), std::atof(arguments[2]));
    }
    if (mode == "oob") {
        return out_of_band(arguments[0], arguments[1], std::atof(arguments[2]));
    }
    return Error("no such mode: " + mode);
}

}  // namespace
}  // namespace halcyon::bench

int main(int argc, char** argv) {
    if (argc != 5) {
        std::fprintf(
            stderr, "usage: monitor_load fan-out PREFIX COUNT SECONDS | oob SOCKET FIFO SECONDS\n");
        return 2;
    }
    const auto result = halcyon::bench::run(argv[1], argv + 2);
    if (!result) {
        std::fprintf(stderr, "monitor_load: %s\n", result.error().message().c_str());
        return 1;
    }
    return 0;
}
