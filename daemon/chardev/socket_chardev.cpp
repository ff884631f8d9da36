#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/log.h"
#include "daemon/chardev/kinds.h"

namespace halcyon {
namespace {

struct Address {
    sockaddr_un value{};
    socklen_t length = 0;
};

/// The path's length was checked with the command line.
Address make_address(const SocketChardevOptions& options) {
    Address address;
    address.value.sun_family = AF_UNIX;
    // An abstract name begins with a NUL byte, and its length counts (unix(7)).
    const size_t offset = options.abstract ? 1 : 0;
    options.path.copy(address.value.sun_path + offset, sizeof(address.value.sun_path) - offset);
    const size_t used = offsetof(sockaddr_un, sun_path) + options.path.size() + 1;
    const bool whole = options.abstract && !options.tight;
    address.length = static_cast<socklen_t>(whole ? sizeof(address.value) : used);
    return address;
}

const sockaddr* generic(const Address& address) {
    return reinterpret_cast<const sockaddr*>(&address.value);
}

Result<UniqueFd> make_socket() {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket) {
        return Error::from_errno("cannot create a socket");
    }
    return socket;
}

/// Files that are made while this lives are their owner's only.
class PrivateUmask {
public:
    PrivateUmask() : previous_(umask(0177)) {}
    ~PrivateUmask() { umask(previous_); }
    PrivateUmask(const PrivateUmask&) = delete;
    PrivateUmask& operator=(const PrivateUmask&) = delete;

private:
    mode_t previous_;
};

/// Makes way for a new socket at the path: removes a socket that nobody listens on.
Result<void> remove_stale(const SocketChardevOptions& options, const Address& address) {
    struct stat status {};
    if (lstat(options.path.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode)) {
        return Error("'" + options.path + "' exists and is no socket");
    }
    const UniqueFd probe = TRY(make_socket());
    // Non-blocking: a listener with a full backlog answers EAGAIN, and is alive.
    fcntl(probe.get(), F_SETFL, O_NONBLOCK);
    if (::connect(probe.get(), generic(address), address.length) == 0 || errno != ECONNREFUSED) {
        return Error("'" + options.path + "' is in use by another process that listens there");
    }
    if (unlink(options.path.c_str()) != 0 && errno != ENOENT) {
        return Error::from_errno("cannot remove the stale socket '" + options.path + "'");
    }
    return {};
}

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

SocketChardev::~SocketChardev() {
    struct stat status {};
    if (made_file_ && lstat(file_path_.c_str(), &status) == 0 && status.st_dev == file_device_ &&
        status.st_ino == file_inode_) {
        unlink(file_path_.c_str());
    }
}

Result<std::unique_ptr<Chardev>> SocketChardev::create(std::string id,
                                                       const SocketChardevOptions& options,
                                                       MainLoop& loop) {
    auto chardev = std::unique_ptr<SocketChardev>(new SocketChardev(std::move(id), options, loop));
    if (options.fd >= 0) {
        TRY(chardev->adopt_descriptor());
    } else if (options.server) {
        TRY(chardev->listen_at_path());
    } else {
        TRY(chardev->connect_to_path());
    }
    if (chardev->listener_) {
        TRY(chardev->start_accepting());
    }
    return std::unique_ptr<Chardev>(std::move(chardev));
}

std::string SocketChardev::filename() const {
    const std::string where =
        options_.fd >= 0 ? "fd:" + std::to_string(options_.fd) : "unix:" + options_.path;
    return (is_open() ? "" : "disconnected:") + where + (options_.abstract ? ",abstract=on" : "") +
           (options_.server ? ",server=on" : "");
}

// -- opening --------------------------------------------------------------------------------------

Result<void> SocketChardev::listen_at_path() {
    const Address address = make_address(options_);
    UniqueFd listener = TRY(make_socket());
    const PrivateUmask private_umask;
    int bound = ::bind(listener.get(), generic(address), address.length);
    if (bound != 0 && errno == EADDRINUSE) {
        if (options_.abstract) {
            return Error("the abstract socket '" + options_.path + "' is in use");
        }
        TRY(remove_stale(options_, address));
        bound = ::bind(listener.get(), generic(address), address.length);
    }
    if (bound != 0 || ::listen(listener.get(), kBacklog) != 0) {
        return Error::from_errno("cannot listen at '" + options_.path + "'");
    }
    struct stat status {};
    if (!options_.abstract && lstat(options_.path.c_str(), &status) == 0) {
        made_file_ = true;
        std::error_code ignored;
        file_path_ = std::filesystem::absolute(options_.path, ignored).string();
        file_device_ = status.st_dev;
        file_inode_ = status.st_ino;
    }
    listener_ = std::move(listener);
    return {};
}

Result<void> SocketChardev::connect_to_path() {
    const Address address = make_address(options_);
    UniqueFd connection = TRY(make_socket());
    if (::connect(connection.get(), generic(address), address.length) != 0) {
        return Error::from_errno("cannot connect to '" + options_.path + "'");
    }
    return open_stream(std::move(connection), UniqueFd());
}

Result<void> SocketChardev::adopt_descriptor() {
    const int listens = TRY(socket_option(options_.fd, SO_ACCEPTCONN));
    if (TRY(socket_option(options_.fd, SO_TYPE)) != SOCK_STREAM) {
        return Error("fd=" + std::to_string(options_.fd) + " is no stream socket");
    }
    if (options_.server != (listens != 0)) {
        return Error(
            "fd=" + std::to_string(options_.fd) +
            (options_.server ? " does not listen, as server=on needs" : " listens: say server=on"));
    }
    UniqueFd socket(options_.fd);
    fcntl(socket.get(), F_SETFD, FD_CLOEXEC);
    if (options_.server) {
        listener_ = std::move(socket);
        return {};
    }
    return open_stream(std::move(socket), UniqueFd());
}

// -- clients --------------------------------------------------------------------------------------

Result<void> SocketChardev::start_accepting() {
    // Whoever connects and goes at once must not leave us blocked in accept.
    fcntl(listener_.get(), F_SETFL, fcntl(listener_.get(), F_GETFL) | O_NONBLOCK);
    retry_timer_ = loop().make_timer([this] { accept_watch_->wait_readable(); });
    accept_watch_ = TRY(loop().watch(
        listener_.get(), [this] { on_connection(); }, [] {}));
    accept_watch_->wait_readable();
    return {};
}

Result<bool> SocketChardev::accept_client() {
    UniqueFd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (client) {
        retry_logged_ = false;
        half_closed_ = false;
        TRY(open_stream(std::move(client), UniqueFd()));
        return true;
    }
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) {
        return false;
    }
    return Error::from_errno("cannot accept a client");
}

void SocketChardev::on_connection() {
    if (is_open()) {
        return;  // on_peer_gone looks again
    }
    const Result<bool> accepted = accept_client();
    if (!accepted) {
        // Out of descriptors or memory: the listener stays readable, so asking again at once would
        // spin.
        if (!std::exchange(retry_logged_, true)) {
            spdlog::warn("chardev '{}': {}; trying again", id(), accepted.error().message());
        }
        retry_timer_->arm(loop().now() + kAcceptRetry);
    } else if (!*accepted) {
        accept_watch_->wait_readable();
    }
}

Result<bool> SocketChardev::wait_for_client(int cancel_fd) {
    while (!is_open()) {
        pollfd wait_for[2] = {{.fd = listener_.get(), .events = POLLIN, .revents = 0},
                              {.fd = cancel_fd, .events = POLLIN, .revents = 0}};
        if (::poll(wait_for, 2, -1) < 0 && errno != EINTR) {
            return Error::from_errno("cannot wait for a client");
        }
        if (wait_for[1].revents != 0) {
            return false;
        }
        if (wait_for[0].revents != 0) {
            TRY(accept_client());
        }
    }
    return true;
}

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

void SocketChardev::on_peer_gone() {
    half_closed_ = false;
    if (accept_watch_ != nullptr) {
        accept_watch_->wait_readable();
    }
}

// A socket that was inherited may be shared, so its own flags are left alone.
ssize_t SocketChardev::read_some(int fd, std::span<std::byte> buffer) {
    return ::recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
}

ssize_t SocketChardev::write_some(int fd, std::span<const std::byte> data) {
    return ::send(fd, data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace halcyon
