/// A QMP client that costs next to nothing: it counts lines and parses none, so that what is
/// measured is the server.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace halcyon::bench {

/// One connection over a Unix socket. Waits asleep, unless told to poll; one thread.
class QmpConnection {
public:
    static Result<QmpConnection> connect(const std::string& path);
    /// Takes a connected socket.
    explicit QmpConnection(UniqueFd socket) : socket_(std::move(socket)) {}

    /// From now on waits for input by asking for it again and again: the processor stays awake, and
    /// the other side's wake-up is the only one in a round trip.
    void poll() { polls_ = true; }
    /// The socket, for a caller that waits for many; it reads past what is buffered here.
    [[nodiscard]] int fd() const { return socket_.get(); }

    Result<void> send(std::string_view text);
    /// The next line of any kind, with its line end. An Error at the end of the stream.
    Result<std::string> receive_line();
    /// Reads lines until one is a reply, past events. An Error when it is an error reply.
    Result<void> receive_reply();
    /// Reads the greeting and enters command mode.
    Result<void> negotiate();
    /// Reads lines until `replies` replies have come; the fast path, nothing is copied.
    Result<void> skip_replies(size_t replies);

private:
    Result<void> fill();
    [[nodiscard]] std::string_view received() const {
        return std::string_view(buffer_).substr(begin_, end_ - begin_);
    }

    UniqueFd socket_;
    bool polls_ = false;
    std::string buffer_;  ///< its size is the room there is; from begin_ to end_ is unread input
    size_t begin_ = 0;
    size_t end_ = 0;
};

}  // namespace halcyon::bench
