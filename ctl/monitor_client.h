/// MonitorClient: a client of a QMP monitor on a Unix socket.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"
#include "ctl/deadline.h"
#include "protocol/framer.h"
#include "protocol/json.h"

namespace halcyon {

/// An error that the server answered with.
struct ServerError {
    std::string error_class;
    std::string description;
};

/// A server's answer to a command: a value, or its error.
struct Reply {
    Json value;
    std::optional<ServerError> error;
};

/// One connection in command mode. Waits block, up to a deadline.
///
/// What the server sends is not trusted: anything but QMP is an Error. Errors are those of
/// ctl/exit_status.h: no connection (3), or too late (4). Single-threaded.
class MonitorClient {
public:
    /// Connects, reads the greeting and negotiates. `path` may begin with '@' for an abstract
    /// socket.
    [[nodiscard]] static Result<MonitorClient> connect(const std::string& path, Deadline deadline);

    /// Sends a command and waits for its answer; events meanwhile are kept. Null arguments are
    /// left out.
    [[nodiscard]] Result<Reply> execute(std::string_view command, const Json& arguments,
                                        Deadline deadline);

    /// Sends a request as it is, but for an id of ours.
    [[nodiscard]] Result<Reply> request(Json message, Deadline deadline);

    /// The oldest event, waiting for it; nothing when the server has closed the connection.
    [[nodiscard]] Result<std::optional<Json>> next_event(Deadline deadline);

    /// Reads what can be read without waiting. False: the server has closed the connection.
    [[nodiscard]] Result<bool> read_available();

    /// The oldest event that was received, if any.
    [[nodiscard]] std::optional<Json> take_event();

    /// Forgets the events that were received.
    void drop_events() { events_.clear(); }

    /// Waits also end, as an Error, when this descriptor becomes readable. -1: none.
    void set_interrupt(int fd) { interrupt_ = fd; }

    [[nodiscard]] int fd() const { return socket_.get(); }
    /// The greeting's version, an object.
    [[nodiscard]] const Json& version() const { return version_; }

private:
    explicit MonitorClient(UniqueFd socket) : socket_(std::move(socket)) {}

    [[nodiscard]] Result<void> negotiate(Deadline deadline);
    [[nodiscard]] Result<void> send(std::string_view bytes, Deadline deadline);
    [[nodiscard]] Result<void> wait(short what, Deadline deadline);
    [[nodiscard]] Result<bool> read_once();
    /// Sorts what was fed: events into `events_`, the rest into `replies_`.
    [[nodiscard]] Result<void> sort_frames();

    UniqueFd socket_;
    Framer framer_;
    std::deque<Json> events_;
    std::deque<Json> replies_;
    Json version_;
    int64_t last_id_ = 0;
    int interrupt_ = -1;
    bool greeted_ = false;
};

}  // namespace halcyon
