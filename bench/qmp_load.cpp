/// Loads a QMP server: round trips per second one at a time (ping-pong, and polling: without ever
/// sleeping; schema: of query-qmp-schema) or with a window of requests under way (pipelined), or
/// the latency of alternating stop and cont.
///
///     qmp_load SOCKET ping-pong|polling|schema|pipelined|stop-cont SECONDS
///     qmp_load SOCKET serve 0
///
/// Prints one JSON object. Its own share is small: a reply is found by its line end and not parsed.
/// `serve` is the server that does least: it answers each line with a canned reply, until killed.

#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/qmp_connection.h"
#include "bench/statistics.h"

namespace halcyon::bench {
namespace {

constexpr std::string_view kRequest = "{\"execute\":\"query-status\"}\n";
constexpr std::string_view kSchemaRequest = "{\"execute\":\"query-qmp-schema\"}\n";
constexpr size_t kWindow = 64;

/// Server round trips, each measured, until the time is over.
Result<void> ping_pong(QmpConnection& connection, std::string_view request, double seconds) {
    std::vector<double> latencies;
    const Clock::time_point start = Clock::now();
    double elapsed = 0;
    while (elapsed < seconds * 1e6) {
        TRY(connection.send(request));
        TRY(connection.skip_replies(1));
        const double now = microseconds_since(start);
        latencies.push_back(now - elapsed);
        elapsed = now;
    }
    const auto count = static_cast<double>(latencies.size());
    std::printf("{\"per_second\": %.1f, \"median_us\": %.2f, \"p99_us\": %.2f, \"count\": %.0f}\n",
                count / elapsed * 1e6, percentile(latencies, 0.5), percentile(latencies, 0.99),
                count);
    return {};
}

/// Keeps kWindow requests under way: half a window is sent for each half that was answered.
Result<void> pipelined(QmpConnection& connection, double seconds) {
    std::string half;
    for (size_t i = 0; i < kWindow / 2; ++i) {
        half += kRequest;
    }
    size_t count = 0;
    const Clock::time_point start = Clock::now();
    TRY(connection.send(half));
    while (microseconds_since(start) < seconds * 1e6) {
        TRY(connection.send(half));
        TRY(connection.skip_replies(kWindow / 2));
        count += kWindow / 2;
    }
    const double elapsed = microseconds_since(start);
    TRY(connection.skip_replies(kWindow / 2));
    std::printf("{\"per_second\": %.1f, \"count\": %zu}\n",
                static_cast<double>(count) / elapsed * 1e6, count);
    return {};
}

/// The time from sending stop to its reply; the guest runs a moment between.
Result<void> stop_cont(QmpConnection& connection, double seconds) {
    std::vector<double> latencies;
    const Clock::time_point start = Clock::now();
    while (microseconds_since(start) < seconds * 1e6) {
        const Clock::time_point sent = Clock::now();
        TRY(connection.send("{\"execute\":\"stop\"}\n"));
        TRY(connection.receive_reply());
        latencies.push_back(microseconds_since(sent));
        TRY(connection.send("{\"execute\":\"cont\"}\n"));
        TRY(connection.receive_reply());
        const Clock::time_point resumed = Clock::now();
        while (microseconds_since(resumed) < 200) {
        }
    }
    std::printf("{\"median_us\": %.2f, \"p999_us\": %.2f, \"count\": %zu}\n",
                percentile(latencies, 0.5), percentile(latencies, 0.999), latencies.size());
    return {};
}

/// One canned reply per line received, one client after another, until killed.
Result<void> serve(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    const UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
        ::listen(listener.get(), 4) != 0) {
        return Error::from_errno("cannot listen at " + path);
    }
    const std::string reply = "{\"return\": {\"status\": \"running\", \"running\": true}}\r\n";
    while (true) {
        const UniqueFd client(::accept(listener.get(), nullptr, nullptr));
        ssize_t received = ::send(client.get(), reply.data(), reply.size(), MSG_NOSIGNAL);
        std::array<char, 65536> buffer{};
        while ((received = ::recv(client.get(), buffer.data(), buffer.size(), 0)) > 0) {
            std::string replies;
            for (const char byte : std::string_view(buffer.data(), static_cast<size_t>(received))) {
                if (byte == '\n') {
                    replies += reply;
                }
            }
            (void)::send(client.get(), replies.data(), replies.size(), MSG_NOSIGNAL);
        }
    }
}

Result<void> run(const std::string& path, const std::string& mode, double seconds) {
    if (mode == "serve") {
        return serve(path);
    }
    QmpConnection connection = TRY(QmpConnection::connect(path));
    TRY(connection.negotiate());
    if (mode == "ping-pong") {
        return ping_pong(connection, kRequest, seconds);
    }
    if (mode == "polling") {
        connection.poll();
        return ping_pong(connection, kRequest, seconds);
    }
    if (mode == "schema") {
        return ping_pong(connection, kSchemaRequest, seconds);
    }
    if (mode == "pipelined") {
        return pipelined(connection, seconds);
    }
    if (mode == "stop-cont") {
        return stop_cont(connection, seconds);
    }
    return Error("no such mode: " + mode);
}

}  // namespace
}  // namespace halcyon::bench

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(
            stderr,
            "usage: qmp_load SOCKET ping-pong|polling|schema|pipelined|stop-cont|serve SECONDS\n");
        return 2;
    }
    const auto result = halcyon::bench::run(argv[1], argv[2], std::atof(argv[3]));
    if (!result) {
        std::fprintf(stderr, "qmp_load: %s\n", result.error().message().c_str());
        return 1;
    }
    return 0;
}
