/// WebSocketBridge: lets a client that speaks WebSocket (RFC 6455) be served as a plain stream.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/event_loop/main_loop.h"

namespace halcyon {

/// Answers one client's handshake, then carries the payload of its messages into one end of a
/// socket pair and what comes from there back to it. Message boundaries mean nothing, as in QEMU:
/// QMP frames itself. Each direction waits for its reader, so back-pressure passes through. Pings,
/// closing and masking are Beast's affair.
///
/// A client that offers the sub-protocol "binary", as QEMU demands it, gets it and binary messages;
/// others get text. A browser tells the page's origin: a page that does not come from this host is
/// refused (403), since any page may connect to any address.
///
/// Main thread. `loop` outlives it. Destroying it drops the connection.
class WebSocketBridge {
public:
    /// How long a client may take for its handshake.
    static constexpr std::chrono::seconds kHandshakeTimeout{10};

    /// Begins the handshake on a connected socket. `on_handshake` is called once: true when the
    /// stream can be taken, false when the client has gone or was refused. It may destroy the
    /// bridge.
    static Result<std::unique_ptr<WebSocketBridge>> start(MainLoop& loop, UniqueFd client,
                                                          std::function<void(bool)> on_handshake);
    ~WebSocketBridge();
    WebSocketBridge(const WebSocketBridge&) = delete;
    WebSocketBridge& operator=(const WebSocketBridge&) = delete;

    /// The local end of the stream, after a successful handshake; once. It ends when the client
    /// has gone; closing it closes the client's connection properly.
    UniqueFd take_stream();

    /// Whether the kernel has taken everything that was written to the stream.
    [[nodiscard]] bool drained() const;
    /// Called each time that becomes true.
    void set_drain_callback(std::function<void()> callback);

private:
    class Connection;
    explicit WebSocketBridge(std::shared_ptr<Connection> connection);
    std::shared_ptr<Connection> connection_;
};

/// Whether a page of `origin` (an Origin header's value) may connect to `host` (a Host header's):
/// it comes from a loopback address, or from the very address that it connects to. A name does not
/// count as that address: it may have been made to point here.
[[nodiscard]] bool websocket_origin_allowed(std::string_view origin, std::string_view host);

}  // namespace halcyon
