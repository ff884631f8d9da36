/// SocketEndpoint: where a socket back end listens or connects to: a path, an abstract name, or a
/// host and port.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/options/options.h"

namespace halcyon {

/// An address of any family, as bind(2) and connect(2) take it.
struct SocketAddress {
    sockaddr_storage value{};
    socklen_t length = 0;

    [[nodiscard]] int family() const { return value.ss_family; }
    [[nodiscard]] const sockaddr* generic() const {
        return reinterpret_cast<const sockaddr*>(&value);
    }
};

/// The addresses behind a socket back end's options, found out once. Owns the socket file that
/// `listen` makes. Main thread.
class SocketEndpoint {
public:
    /// Looks the host up, which may wait for a name server. `options` has no inherited descriptor.
    static Result<SocketEndpoint> resolve(const SocketChardevOptions& options);
    /// Unlinks the socket file, if this object made it and it is still the same one.
    ~SocketEndpoint();
    SocketEndpoint(SocketEndpoint&& other) noexcept;
    SocketEndpoint& operator=(SocketEndpoint&&) = delete;
    /// Far less than a service's watchdog waits: the main loop stands still meanwhile.
    static constexpr std::chrono::seconds kConnectTime{5};

    SocketEndpoint(const SocketEndpoint&) = delete;
    SocketEndpoint& operator=(const SocketEndpoint&) = delete;

    /// Listening sockets, one for each of the host's addresses ("localhost" often has two). A
    /// socket file is its owner's only; one that nobody listens on is replaced. With `to`, the
    /// first port of the range that is free is taken.
    Result<std::vector<UniqueFd>> listen();
    /// A connected socket: the first address that answers. Blocks for at most kConnectTime.
    Result<UniqueFd> connect() const;

    [[nodiscard]] size_t address_count() const { return addresses_.size(); }
    /// Begins to connect to address number `index` without waiting: the socket is writable once
    /// that has come to an end, and SO_ERROR tells to which.
    Result<UniqueFd> begin_connect(size_t index) const;

private:
    /// Pending connections of a listening socket.
    static constexpr int kBacklog = 64;

    explicit SocketEndpoint(const SocketChardevOptions& options) : options_(options) {}
    Result<void> look_up();
    Result<UniqueFd> listen_at(const SocketAddress& address);
    Result<UniqueFd> listen_at_path();
    Result<std::vector<UniqueFd>> listen_at_port(uint16_t port);
    Result<void> remove_stale(const SocketAddress& address) const;
    void remember_file();
    [[nodiscard]] Error cannot(const char* what, int error) const;

    SocketChardevOptions options_;
    std::vector<SocketAddress> addresses_;
    std::string file_path_;  ///< absolute: the working directory may change; empty without a file
    dev_t file_device_ = 0;
    ino_t file_inode_ = 0;
};

/// "unix:PATH" or "tcp:HOST:PORT" ("tcp:[::1]:4444") of a socket's own or its peer's address.
[[nodiscard]] std::string describe_address(const SocketAddress& address);
/// A socket's own address, or its peer's; an empty one on failure.
[[nodiscard]] SocketAddress own_address(int fd);
[[nodiscard]] SocketAddress peer_address(int fd);

}  // namespace halcyon
