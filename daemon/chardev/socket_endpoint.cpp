#include "daemon/chardev/socket_endpoint.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <memory>
#include <utility>

namespace halcyon {
namespace {

/// The path's length was checked with the command line.
SocketAddress unix_address(const SocketChardevOptions& options) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    // An abstract name begins with a NUL byte, and its length counts (unix(7)).
    const size_t offset = options.abstract ? 1 : 0;
    options.path.copy(name.sun_path + offset, sizeof(name.sun_path) - offset);
    const size_t used = offsetof(sockaddr_un, sun_path) + options.path.size() + 1;
    const bool whole = options.abstract && !options.tight;
    SocketAddress address;
    std::memcpy(&address.value, &name, sizeof(name));
    address.length = static_cast<socklen_t>(whole ? sizeof(name) : used);
    return address;
}

Result<UniqueFd> make_socket(int family, int flags = 0) {
    UniqueFd socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
    if (!socket) {
        return Error::from_errno("cannot create a socket");
    }
    return socket;
}

void set_port(SocketAddress& address, uint16_t port) {
    // sin_port and sin6_port are at the same place, in network order.
    static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
    reinterpret_cast<sockaddr_in&>(address.value).sin_port = htons(port);
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

}  // namespace

SocketEndpoint::SocketEndpoint(SocketEndpoint&& other) noexcept
    : options_(std::move(other.options_)),
      addresses_(std::move(other.addresses_)),
      file_path_(std::exchange(other.file_path_, {})),
      file_device_(other.file_device_),
      file_inode_(other.file_inode_) {}

SocketEndpoint::~SocketEndpoint() {
    struct stat status {};
    if (!file_path_.empty() && lstat(file_path_.c_str(), &status) == 0 &&
        status.st_dev == file_device_ && status.st_ino == file_inode_) {
        unlink(file_path_.c_str());
    }
}

Result<SocketEndpoint> SocketEndpoint::resolve(const SocketChardevOptions& options) {
    SocketEndpoint endpoint(options);
    if (options.inet) {
        TRY(endpoint.look_up());
    } else {
        endpoint.addresses_.push_back(unix_address(options));
    }
    return endpoint;
}

Result<void> SocketEndpoint::look_up() {
    const InetOptions& inet = *options_.inet;
    addrinfo hints{};
    hints.ai_flags =
        AI_NUMERICSERV | (options_.server ? AI_PASSIVE : 0) | (inet.numeric ? AI_NUMERICHOST : 0);
    hints.ai_family = inet.ipv4 == inet.ipv6 ? AF_UNSPEC : inet.ipv4 ? AF_INET : AF_INET6;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int status = getaddrinfo(inet.host.empty() ? nullptr : inet.host.c_str(),
                                   std::to_string(inet.port).c_str(), &hints, &found);
    if (status != 0) {
        return Error("the host '" + inet.host + "' is not found: " + gai_strerror(status));
    }
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> list(found, &freeaddrinfo);
    for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
        SocketAddress address;
        std::memcpy(&address.value, entry->ai_addr, entry->ai_addrlen);
        address.length = entry->ai_addrlen;
        addresses_.push_back(address);
    }
    return {};
}

Error SocketEndpoint::cannot(const char* what, int error) const {
    const std::string where = options_.inet
                                  ? options_.inet->host + ":" + std::to_string(options_.inet->port)
                                  : options_.path;
    return Error::from_errno(std::string("cannot ") + what + " '" + where + "'", error);
}

// -- listening ------------------------------------------------------------------------------------

Result<std::vector<UniqueFd>> SocketEndpoint::listen() {
    if (!options_.inet) {
        std::vector<UniqueFd> sockets;
        sockets.push_back(TRY(listen_at_path()));
        return sockets;
    }
    const uint16_t last = options_.inet->last_port.value_or(options_.inet->port);
    for (uint32_t port = options_.inet->port; port < last; ++port) {
        Result<std::vector<UniqueFd>> sockets = listen_at_port(static_cast<uint16_t>(port));
        if (sockets) {
            return sockets;
        }
    }
    return listen_at_port(last);
}

Result<std::vector<UniqueFd>> SocketEndpoint::listen_at_port(uint16_t port) {
    std::vector<UniqueFd> sockets;
    for (SocketAddress address : addresses_) {
        // With port 0 the kernel chooses for the first address, and the others follow.
        const SocketAddress first = sockets.empty() ? address : own_address(sockets[0].get());
        set_port(address, port != 0 || sockets.empty()
                              ? port
                              : ntohs(reinterpret_cast<const sockaddr_in&>(first.value).sin_port));
        Result<UniqueFd> socket = listen_at(address);
        if (socket) {
            sockets.push_back(*std::move(socket));
        } else if (const int error = socket.error().errno_value();
                   error != EAFNOSUPPORT && error != EADDRNOTAVAIL) {
            return socket.error();
        }
    }
    if (sockets.empty()) {
        return cannot("listen at", EADDRNOTAVAIL);
    }
    return sockets;
}

Result<UniqueFd> SocketEndpoint::listen_at(const SocketAddress& address) {
    UniqueFd socket(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    if (socket && address.family() != AF_UNIX) {
        // A port whose last connections are not forgotten yet is free; IPv4 has a socket of its
        // own.
        setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (address.family() == AF_INET6) {
            setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
        }
    }
    if (!socket || ::bind(socket.get(), address.generic(), address.length) != 0 ||
        ::listen(socket.get(), kBacklog) != 0) {
        return cannot("listen at", errno);
    }
    return socket;
}

Result<UniqueFd> SocketEndpoint::listen_at_path() {
    const SocketAddress& address = addresses_.front();
    const PrivateUmask private_umask;
    Result<UniqueFd> listener = listen_at(address);
    if (!listener && listener.error().errno_value() == EADDRINUSE) {
        if (options_.abstract) {
            return Error("the abstract socket '" + options_.path + "' is in use");
        }
        TRY(remove_stale(address));
        listener = listen_at(address);
    }
    if (listener) {
        remember_file();
    }
    return listener;
}

/// Makes way for a new socket at the path: removes a socket that nobody listens on.
Result<void> SocketEndpoint::remove_stale(const SocketAddress& address) const {
    struct stat status {};
    if (lstat(options_.path.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode)) {
        return Error("'" + options_.path + "' exists and is no socket");
    }
    // Non-blocking: a listener with a full backlog answers EAGAIN, and is alive.
    const UniqueFd probe = TRY(make_socket(AF_UNIX, SOCK_NONBLOCK));
    if (::connect(probe.get(), address.generic(), address.length) == 0 || errno != ECONNREFUSED) {
        return Error("'" + options_.path + "' is in use by another process that listens there");
    }
    if (unlink(options_.path.c_str()) != 0 && errno != ENOENT) {
        return Error::from_errno("cannot remove the stale socket '" + options_.path + "'");
    }
    return {};
}

void SocketEndpoint::remember_file() {
    struct stat status {};
    if (!options_.abstract && lstat(options_.path.c_str(), &status) == 0) {
        std::error_code ignored;
        file_path_ = std::filesystem::absolute(options_.path, ignored).string();
        file_device_ = status.st_dev;
        file_inode_ = status.st_ino;
    }
}

// -- connecting -----------------------------------------------------------------------------------

namespace {

/// Waits for a connection under way; 0, or its errno.
int finish_connect(int socket, std::chrono::steady_clock::time_point deadline) {
    pollfd wait_for{.fd = socket, .events = POLLOUT, .revents = 0};
    int ready = 0;
    do {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            deadline - std::chrono::steady_clock::now());
        ready = ::poll(&wait_for, 1, std::max<int>(static_cast<int>(left.count()), 0));
    } while (ready < 0 && errno == EINTR);
    if (ready <= 0) {
        return ready == 0 ? ETIMEDOUT : errno;
    }
    int error = 0;
    socklen_t size = sizeof(error);
    return getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

}  // namespace

Result<UniqueFd> SocketEndpoint::connect() const {
    const auto deadline = std::chrono::steady_clock::now() + kConnectTime;
    int error = 0;
    for (const SocketAddress& address : addresses_) {
        Result<UniqueFd> connection = make_socket(address.family(), SOCK_NONBLOCK);
        if (!connection) {
            error = connection.error().errno_value();
            continue;
        }
        error = ::connect(connection->get(), address.generic(), address.length) == 0 ? 0 : errno;
        if (error == EINPROGRESS) {
            error = finish_connect(connection->get(), deadline);
        }
        if (error == 0) {
            return connection;
        }
    }
    return cannot("connect to", error);
}

Result<UniqueFd> SocketEndpoint::begin_connect(size_t index) const {
    const SocketAddress& address = addresses_.at(index);
    UniqueFd connection = TRY(make_socket(address.family(), SOCK_NONBLOCK));
    if (::connect(connection.get(), address.generic(), address.length) != 0 &&
        errno != EINPROGRESS) {
        return cannot("connect to", errno);
    }
    return connection;
}

// -- addresses ------------------------------------------------------------------------------------

std::string describe_address(const SocketAddress& address) {
    if (address.family() == AF_UNIX) {
        const auto& name = reinterpret_cast<const sockaddr_un&>(address.value);
        const size_t length = address.length - offsetof(sockaddr_un, sun_path);
        const size_t begin = length > 0 && name.sun_path[0] == '\0' ? 1 : 0;
        return "unix:" +
               std::string(name.sun_path + begin, strnlen(name.sun_path + begin, length - begin));
    }
    char host[NI_MAXHOST];
    char port[NI_MAXSERV];
    if (getnameinfo(address.generic(), address.length, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return "unknown";
    }
    const bool brackets = address.family() == AF_INET6;
    return std::string("tcp:") + (brackets ? "[" : "") + host + (brackets ? "]:" : ":") + port;
}

SocketAddress own_address(int fd) {
    SocketAddress address;
    address.length = sizeof(address.value);
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&address.value), &address.length) != 0) {
        return {};
    }
    return address;
}

SocketAddress peer_address(int fd) {
    SocketAddress address;
    address.length = sizeof(address.value);
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&address.value), &address.length) != 0) {
        return {};
    }
    return address;
}

}  // namespace halcyon
