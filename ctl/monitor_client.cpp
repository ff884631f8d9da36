#include "ctl/monitor_client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "ctl/exit_status.h"
#include "ctl/json_access.h"

namespace halcyon {
namespace {

Result<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof(address.sun_path) ||
        path.find('\0') != std::string::npos) {
        return usage_error("'" + path + "' cannot be a socket's path: it has " +
                           std::to_string(path.size()) + " bytes; 1 to " +
                           std::to_string(sizeof(address.sun_path) - 1) + " are possible");
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    if (path.front() == '@') {
        address.sun_path[0] = '\0';
    }
    return address;
}

/// A blocking connect with a limit: a full queue of a listening Unix socket cannot be polled.
Result<UniqueFd> connect_socket(const std::string& path, Deadline deadline) {
    const sockaddr_un address = TRY(address_of(path));
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) {
        return Error::from_errno("cannot make a socket");
    }
    if (!deadline.is_never()) {
        const int left = std::max(deadline.poll_timeout(), 1);  // 0 would be for ever
        const timeval limit{left / 1000, (left % 1000) * 1000};
        ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    }
    const size_t length = offsetof(sockaddr_un, sun_path) + path.size() + (path[0] == '@' ? 0 : 1);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
                  static_cast<socklen_t>(length)) != 0) {
        if (errno == EAGAIN) {
            return timeout_error("too many clients are waiting already");
        }
        return Error::from_errno("cannot connect");
    }
    if (::fcntl(fd.get(), F_SETFL, O_NONBLOCK) != 0) {
        return Error::from_errno("cannot use the socket");
    }
    return fd;
}

ServerError parse_error(const Json& error) {
    return {std::string(find_string(error, "class")), std::string(find_string(error, "desc"))};
}

Error closed() {
    return connection_error("the server closed the connection");
}

bool is_reply_to(const Json& message, int64_t id) {
    const Json* found = find_member(message, "id");
    return found != nullptr && *found == Json(id);
}

}  // namespace

Result<MonitorClient> MonitorClient::connect(const std::string& path, Deadline deadline) {
    Result<UniqueFd> socket = connect_socket(path, deadline);
    if (!socket) {
        return std::move(socket).error().with_context(path);
    }
    MonitorClient client(*std::move(socket));
    Result<void> ready = client.negotiate(deadline);
    if (!ready) {
        return std::move(ready).error().with_context(path);
    }
    return client;
}

Result<void> MonitorClient::negotiate(Deadline deadline) {
    while (!greeted_) {
        Result<void> came = wait(POLLIN, deadline);
        if (!came) {
            return came.error().code() == ErrorCode::kNotActive
                       ? timeout_error(
                             "no greeting in time: another client may be connected; a "
                             "monitor serves one at a time")
                       : std::move(came).error();
        }
        if (!TRY(read_once())) {
            return connection_error("the server closed the connection without a greeting");
        }
        TRY(sort_frames());
    }
    const Reply reply = TRY(execute("qmp_capabilities", nullptr, deadline));
    if (reply.error) {
        return connection_error("the server does not negotiate: " + reply.error->description);
    }
    return {};
}

Result<Reply> MonitorClient::execute(std::string_view command, const Json& arguments,
                                     Deadline deadline) {
    Json message{{"execute", std::string(command)}};
    if (!arguments.is_null()) {
        message["arguments"] = arguments;
    }
    return request(std::move(message), deadline);
}

Result<Reply> MonitorClient::request(Json message, Deadline deadline) {
    const int64_t id = ++last_id_;
    message["id"] = id;
    replies_.clear();  // of requests that were given up
    TRY(send(to_wire(message) + "\n", deadline));
    while (true) {
        while (!replies_.empty()) {
            const Json answer = std::move(replies_.front());
            replies_.pop_front();
            // An error without an id is about bytes, and so about the only request under way.
            const Json* error = find_member(answer, "error");
            if (!is_reply_to(answer, id) &&
                (error == nullptr || find_member(answer, "id") != nullptr)) {
                continue;
            }
            if (error != nullptr) {
                return Reply{nullptr, parse_error(*error)};
            }
            return Reply{*find_member(answer, "return"), std::nullopt};
        }
        TRY(wait(POLLIN, deadline));
        if (!TRY(read_once())) {
            return closed();
        }
        TRY(sort_frames());
    }
}

Result<std::optional<Json>> MonitorClient::next_event(Deadline deadline) {
    while (events_.empty()) {
        TRY(wait(POLLIN, deadline));
        if (!TRY(read_once())) {
            return std::optional<Json>();
        }
        TRY(sort_frames());
    }
    return take_event();
}

Result<bool> MonitorClient::read_available() {
    const bool open = TRY(read_once());
    TRY(sort_frames());
    return open;
}

std::optional<Json> MonitorClient::take_event() {
    if (events_.empty()) {
        return std::nullopt;
    }
    std::optional<Json> event = std::move(events_.front());
    events_.pop_front();
    return event;
}

Result<void> MonitorClient::send(std::string_view bytes, Deadline deadline) {
    while (!bytes.empty()) {
        const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent >= 0) {
            bytes.remove_prefix(static_cast<size_t>(sent));
        } else if (errno == EAGAIN) {
            TRY(wait(POLLOUT, deadline));
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return closed();
        } else if (errno != EINTR) {
            return Error::from_errno("cannot send");
        }
    }
    return {};
}

Result<void> MonitorClient::wait(short what, Deadline deadline) {
    while (true) {
        std::array<pollfd, 2> polled{pollfd{socket_.get(), what, 0}, pollfd{interrupt_, POLLIN, 0}};
        const int ready = ::poll(polled.data(), polled.size(), deadline.poll_timeout());
        if (ready < 0 && errno != EINTR) {
            return Error::from_errno("cannot wait for the server");
        }
        if (ready > 0 && polled[1].revents != 0) {
            return timeout_error("interrupted; the command may still be carried out");
        }
        if (ready > 0) {
            return {};
        }
        if (deadline.passed()) {
            return timeout_error("no answer in time");
        }
    }
}

Result<bool> MonitorClient::read_once() {
    std::array<char, 65536> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init)
    const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (got > 0) {
        framer_.feed({buffer.data(), static_cast<size_t>(got)});
        return true;
    }
    if (got == 0 || errno == ECONNRESET) {
        return false;
    }
    if (errno == EAGAIN || errno == EINTR) {
        return true;
    }
    return Error::from_errno("cannot receive");
}

Result<void> MonitorClient::sort_frames() {
    while (std::optional<Frame> frame = framer_.next()) {
        if (frame->is_error()) {
            return connection_error("the server does not speak QMP: " + frame->error());
        }
        Json& message = frame->value();
        if (!greeted_) {
            const Json* greeting = find_member(message, "QMP");
            if (greeting == nullptr) {
                return connection_error("the server does not speak QMP: its greeting is another");
            }
            if (const Json* version = find_member(*greeting, "version")) {
                version_ = *version;
            }
            greeted_ = true;
        } else if (!find_string(message, "event").empty()) {
            events_.push_back(std::move(message));
        } else if (find_member(message, "return") != nullptr ||
                   find_member(message, "error") != nullptr) {
            replies_.push_back(std::move(message));
        } else {
            return connection_error("the server sent what is neither reply nor event");
        }
    }
    return {};
}

}  // namespace halcyon
