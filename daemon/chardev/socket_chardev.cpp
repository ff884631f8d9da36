#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "daemon/chardev/kinds.h"
#include "daemon/chardev/websocket_bridge.h"

namespace halcyon {
namespace {

/// What describe_address begins with for TCP.
constexpr std::string_view kTcpPrefix = "tcp:";

Result<int> socket_option(int fd, int option) {
    int value = 0;
    socklen_t length = sizeof(value);
    if (getsockopt(fd, SOL_SOCKET, option, &value, &length) != 0) {
        return Error::from_errno("fd=" + std::to_string(fd) + " cannot be used");
    }
    return value;
}

}  // namespace

SocketChardev::SocketChardev(std::string id, const SocketChardevOptions& options, MainLoop& loop)
    : Chardev(std::move(id), loop), options_(options) {}

SocketChardev::~SocketChardev() = default;

Result<std::unique_ptr<Chardev>> SocketChardev::create(std::string id,
                                                       const SocketChardevOptions& options,
                                                       MainLoop& loop) {
    auto chardev = std::unique_ptr<SocketChardev>(new SocketChardev(std::move(id), options, loop));
    if (options.fd >= 0) {
        TRY(chardev->adopt_descriptor());
    } else {
        TRY(chardev->open_endpoint());
    }
    return std::unique_ptr<Chardev>(std::move(chardev));
}

std::string SocketChardev::filename() const {
    const std::string suffix = std::string(options_.abstract ? ",abstract=on" : "") +
                               (options_.server ? ",server=on" : "");
    if (options_.fd >= 0 || !options_.inet) {
        const std::string where =
            options_.fd >= 0 ? "fd:" + std::to_string(options_.fd) : "unix:" + options_.path;
        return (is_open() ? "" : "disconnected:") + where + suffix;
    }
    if (is_open()) {
        return names_ + suffix + (peer_name_.empty() ? "" : " <-> " + peer_name_);
    }
    return "disconnected:" + names_ + suffix;
}

// -- opening --------------------------------------------------------------------------------------

Result<void> SocketChardev::open_endpoint() {
    endpoint_.emplace(TRY(SocketEndpoint::resolve(options_)));
    if (options_.server) {
        return start_accepting(TRY(endpoint_->listen()));
    }
    names_ = options_.inet
                 ? "tcp:" + options_.inet->host + ":" + std::to_string(options_.inet->port)
                 : "";
    if (options_.reconnect.count() == 0) {
        return adopt_peer(TRY(endpoint_->connect()));
    }
    retry_timer_ = loop().make_timer([this] { begin_connect(); });
    post(static_cast<void (Chardev::*)()>(&SocketChardev::begin_connect));
    return {};
}

Result<void> SocketChardev::adopt_descriptor() {
    UniqueFd socket(options_.fd);
    const int listens = TRY(socket_option(options_.fd, SO_ACCEPTCONN));
    if (TRY(socket_option(options_.fd, SO_TYPE)) != SOCK_STREAM) {
        return Error("fd=" + std::to_string(options_.fd) + " is no stream socket");
    }
    if (options_.server != (listens != 0)) {
        return Error(
            "fd=" + std::to_string(options_.fd) +
            (options_.server ? " does not listen, as server=on needs" : " listens: say server=on"));
    }
    fcntl(socket.get(), F_SETFD, FD_CLOEXEC);
    if (!options_.server) {
        return adopt_peer(std::move(socket));
    }
    std::vector<UniqueFd> listeners;
    listeners.push_back(std::move(socket));
    return start_accepting(std::move(listeners));
}

void SocketChardev::log_peer(int socket) const {
    ucred peer{};
    socklen_t length = sizeof(peer);
    if (!peer_name_.empty()) {
        LOG_CLIENT("chardev '{}': connected with {}", id(), peer_name_);
    } else if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0) {
        LOG_CLIENT("chardev '{}': connected with process {}, user {}, group {}", id(), peer.pid,
                   peer.uid, peer.gid);
    }
}

/// Serves the peer at the other end of `socket`: at once, or after the WebSocket handshake.
Result<void> SocketChardev::adopt_peer(UniqueFd socket) {
    half_closed_ = false;
    const SocketAddress peer = peer_address(socket.get());
    peer_name_.clear();
    if (peer.family() == AF_INET || peer.family() == AF_INET6) {
        peer_name_ = describe_address(peer).substr(kTcpPrefix.size());
        const int nodelay = options_.inet && !options_.inet->nodelay ? 0 : 1;
        setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &nodelay, sizeof(nodelay));
        const int keep_alive = options_.inet && options_.inet->keep_alive ? 1 : 0;
        if (keep_alive != 0) {  // an inherited socket keeps its own
            setsockopt(socket.get(), SOL_SOCKET, SO_KEEPALIVE, &keep_alive, sizeof(keep_alive));
        }
    }
    log_peer(socket.get());
    if (!options_.websocket) {
        return open_stream(std::move(socket), UniqueFd());
    }
    websocket_ = TRY(WebSocketBridge::start(loop(), std::move(socket),
                                            [this](bool accepted) { on_websocket(accepted); }));
    websocket_->set_drain_callback([this] { recheck_drained(); });
    return {};
}

void SocketChardev::on_websocket(bool accepted) {
    if (accepted) {
        const Result<void> opened = open_stream(websocket_->take_stream(), UniqueFd());
        if (opened) {
            return;
        }
        spdlog::warn("chardev '{}': {}", id(), opened.error().message());
    }
    websocket_.reset();
    on_peer_gone();
}

// -- clients of a server --------------------------------------------------------------------------

Result<void> SocketChardev::start_accepting(std::vector<UniqueFd> listeners) {
    retry_timer_ = loop().make_timer([this] { wait_for_connections(); });
    for (UniqueFd& socket : listeners) {
        // Whoever connects and goes at once must not leave us blocked in accept.
        fcntl(socket.get(), F_SETFL, fcntl(socket.get(), F_GETFL) | O_NONBLOCK);
        if (options_.inet) {
            const std::string name = describe_address(own_address(socket.get()));
            names_ += names_.empty() ? "" : ",";
            names_ += options_.websocket ? "websocket:" + name.substr(kTcpPrefix.size()) : name;
        }
        Listener& listener = listeners_.emplace_back();
        listener.socket = std::move(socket);
        listener.watch = TRY(loop().watch(
            listener.socket.get(), [this, fd = listener.socket.get()] { on_connection(fd); },
            [] {}));
    }
    wait_for_connections();
    return {};
}

void SocketChardev::wait_for_connections() {
    for (const Listener& listener : listeners_) {
        listener.watch->wait_readable();
    }
}

Result<bool> SocketChardev::accept_client(int listener) {
    UniqueFd client(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (client) {
        retry_logged_ = false;
        TRY(adopt_peer(std::move(client)));
        return true;
    }
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) {
        return false;
    }
    return Error::from_errno("cannot accept a client");
}

void SocketChardev::accept_waiting() {
    for (const Listener& listener : listeners_) {
        on_connection(listener.socket.get());
    }
}

void SocketChardev::turn_away_waiting() {
    for (const Listener& listener : listeners_) {
        // Listeners do not block.
        while (UniqueFd(accept4(listener.socket.get(), nullptr, nullptr, SOCK_CLOEXEC))) {
        }
    }
}

void SocketChardev::on_connection(int listener) {
    if (has_peer()) {
        return;  // on_peer_gone looks again
    }
    const Result<bool> accepted = accept_client(listener);
    if (!accepted) {
        // Out of descriptors or memory: the listener stays readable, so asking again at once would
        // spin.
        if (!std::exchange(retry_logged_, true)) {
            spdlog::warn("chardev '{}': {}; trying again", id(), accepted.error().message());
        }
        retry_timer_->arm(loop().now() + kAcceptRetry);
    } else if (!*accepted) {
        wait_for_connections();
    }
}

Result<bool> SocketChardev::wait_for_client(int cancel_fd) {
    std::vector<pollfd> wait_for{{.fd = cancel_fd, .events = POLLIN, .revents = 0}};
    for (const Listener& listener : listeners_) {
        wait_for.push_back({.fd = listener.socket.get(), .events = POLLIN, .revents = 0});
    }
    while (!has_peer()) {
        if (::poll(wait_for.data(), wait_for.size(), -1) < 0 && errno != EINTR) {
            return Error::from_errno("cannot wait for a client");
        }
        if (wait_for[0].revents != 0) {
            return false;
        }
        for (size_t index = 1; index < wait_for.size() && !has_peer(); ++index) {
            if (wait_for[index].revents != 0) {
                TRY(accept_client(wait_for[index].fd));
            }
        }
    }
    return true;
}

Result<void> SocketChardev::adopt_client(UniqueFd socket) {
    if (!options_.server || has_peer()) {
        return Error("chardev '" + id() + "' " +
                     (options_.server ? "has a client already" : "is no socket server"));
    }
    return adopt_peer(std::move(socket));
}

// -- the server of a client -----------------------------------------------------------------------

void SocketChardev::begin_connect() {
    Result<UniqueFd> socket = endpoint_->begin_connect(next_address_);
    next_address_ = (next_address_ + 1) % endpoint_->address_count();
    if (!socket) {
        return connect_failed(socket.error());
    }
    connecting_ = *std::move(socket);
    Result<std::unique_ptr<FdWatch>> watch = loop().watch(
        connecting_.get(), [] {}, [this] { on_connected(); });
    if (!watch) {
        return connect_failed(watch.error());
    }
    connect_watch_ = *std::move(watch);
    connect_watch_->wait_writable();
}

void SocketChardev::on_connected() {
    int error = 0;
    socklen_t length = sizeof(error);
    getsockopt(connecting_.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    connect_watch_.reset();
    if (error != 0) {
        return connect_failed(Error::from_errno("cannot connect", error));
    }
    retry_logged_ = false;
    const Result<void> opened = adopt_peer(std::exchange(connecting_, UniqueFd()));
    if (!opened) {
        connect_failed(opened.error());
    }
}

void SocketChardev::connect_failed(const Error& error) {
    connect_watch_.reset();
    connecting_.reset();
    if (!std::exchange(retry_logged_, true)) {
        spdlog::warn("chardev '{}': {}; trying again", id(), error.message());
    }
    retry_timer_->arm(loop().now() + options_.reconnect);
}

// -- the end of a connection ----------------------------------------------------------------------

void SocketChardev::on_input_end() {
    pollfd poll_peer{.fd = input_fd(), .events = 0, .revents = 0};
    const bool gone =
        ::poll(&poll_peer, 1, 0) > 0 && (poll_peer.revents & (POLLHUP | POLLERR)) != 0;
    if (!gone && held()) {
        half_closed_ = true;
        return;
    }
    close_stream();
}

void SocketChardev::on_recheck() {
    if (is_open() && half_closed_ && !held()) {
        close_stream();
    }
}

void SocketChardev::on_cut() {
    if (is_open()) {
        close_stream();
    } else if (websocket_ != nullptr) {
        on_websocket(false);
    }
}

void SocketChardev::on_peer_gone() {
    half_closed_ = false;
    LOG_CLIENT("chardev '{}': disconnected", id());
    peer_name_.clear();
    websocket_.reset();
    received_.reset();
    if (options_.server) {
        wait_for_connections();
    } else if (options_.reconnect.count() != 0) {
        retry_timer_->arm(loop().now() + options_.reconnect);
    }
}

bool SocketChardev::drained() const {
    return Chardev::drained() && (websocket_ == nullptr || !is_open() || websocket_->drained());
}

// -- bytes ----------------------------------------------------------------------------------------

// A socket that was inherited may be shared, so its own flags are left alone.
ssize_t SocketChardev::read_some(int fd, std::span<std::byte> buffer) {
    iovec piece{.iov_base = buffer.data(), .iov_len = buffer.size()};
    alignas(cmsghdr) std::byte control[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    const ssize_t got = ::recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got >= 0 && message.msg_controllen != 0) {
        take_control(message);
    }
    return got;
}

/// Keeps the first descriptor that came with a message, in place of an earlier one that nobody
/// took. A command takes one: others are closed, lest a later command takes one for its own.
void SocketChardev::take_control(msghdr& message) {
    std::vector<UniqueFd> received;
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
         part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t index = 0; index < count; ++index) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(part) + index * sizeof(int), sizeof(fd));
            // Whoever uses it expects it as open(2) gives it; the flag comes along with it (QEMU
            // clears it, too).
            fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
            received.emplace_back(fd);
        }
    }
    if (!received.empty()) {
        received_ = std::move(received.front());
    }
}

UniqueFd SocketChardev::take_descriptor() {
    return std::exchange(received_, UniqueFd());
}

ssize_t SocketChardev::write_some(int fd, std::span<const std::byte> data) {
    return ::send(fd, data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace halcyon
