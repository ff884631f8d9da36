#include "daemon/chardev/websocket_bridge.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>

namespace halcyon {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace websocket = boost::beast::websocket;

namespace {

using ErrorStatus = boost::system::error_code;
constexpr std::string_view kSubprotocol = "binary";
/// Bytes carried at once.
constexpr size_t kChunk = 16 * 1024;
/// A handshake is a page of text; more is an attack.
constexpr uint32_t kMaxHandshake = 8 * 1024;

/// A socket of any family. A type of its own, so that the function below can say how Beast ends its
/// connection.
class ClientSocket : public asio::generic::stream_protocol::socket {
public:
    using asio::generic::stream_protocol::socket::socket;
};

template <typename Handler>
void async_teardown(beast::role_type, ClientSocket& socket, Handler&& handler) {
    ErrorStatus status;
    socket.shutdown(asio::socket_base::shutdown_both, status);
    asio::post(socket.get_executor(),
               [handler = std::forward<Handler>(handler), status]() mutable { handler(status); });
}

/// The host of "HOST", "HOST:PORT" or "[ADDRESS]:PORT".
std::string_view without_port(std::string_view authority) {
    const size_t bracket = authority.rfind(']');
    const size_t colon = authority.rfind(':');
    const bool port =
        colon != std::string_view::npos &&
        (bracket == std::string_view::npos ? authority.find(':') == colon : colon > bracket);
    return port ? authority.substr(0, colon) : authority;
}

bool is_address(std::string_view host) {
    return !host.empty() &&
           (host.front() == '[' || host.find_first_not_of("0123456789.") == std::string_view::npos);
}

bool is_loopback(std::string_view host) {
    return host == "localhost" || host == "[::1]" || (is_address(host) && host.starts_with("127."));
}

}  // namespace

bool websocket_origin_allowed(std::string_view origin, std::string_view host) {
    const size_t scheme = origin.find("://");
    if (scheme == std::string_view::npos) {
        return false;  // "null": a file, or a sandboxed page
    }
    const std::string_view from = without_port(origin.substr(scheme + 3));
    return is_loopback(from) || (is_address(from) && from == without_port(host));
}

/// The state of one connection; lives as long as an operation is under way.
class WebSocketBridge::Connection : public std::enable_shared_from_this<Connection> {
public:
    Connection(asio::io_context& context, std::function<void(bool)> on_handshake)
        : client_(context),
          local_(context),
          deadline_(context),
          on_handshake_(std::move(on_handshake)) {}

    Result<void> assign(UniqueFd client) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
            return Error::from_errno("cannot serve a WebSocket client");
        }
        stream_ = UniqueFd(pair[0]);
        UniqueFd local(pair[1]);
        sockaddr_storage address{};
        socklen_t length = sizeof(address);
        ErrorStatus status;
        getsockname(client.get(), reinterpret_cast<sockaddr*>(&address), &length);
        client_.next_layer().assign({address.ss_family, 0}, client.get(), status);
        if (!status) {
            static_cast<void>(client.release());
            local_.assign(asio::local::stream_protocol(), local.get(), status);
        }
        if (status) {
            return Error::from_errno("cannot serve a WebSocket client", status.value());
        }
        static_cast<void>(local.release());
        return {};
    }

    void start() {
        deadline_.expires_after(kHandshakeTimeout);
        deadline_.async_wait([self = shared_from_this()](const ErrorStatus& status) {
            if (!status) {
                self->finish_handshake(false);
                self->close();
            }
        });
        parser_.header_limit(kMaxHandshake);
        http::async_read_header(client_.next_layer(), buffer_, parser_,
                                [self = shared_from_this()](const ErrorStatus& status, size_t) {
                                    self->on_request(status);
                                });
    }

    void close() {
        ErrorStatus ignored;
        on_handshake_ = nullptr;
        on_drained_ = nullptr;
        deadline_.cancel();
        client_.next_layer().close(ignored);
        local_.close(ignored);
    }

    UniqueFd take_stream() { return std::move(stream_); }

    /// Nobody cares any more. A stream that was taken is carried on to its end.
    void abandon() {
        on_handshake_ = nullptr;
        on_drained_ = nullptr;
        if (stream_) {
            close();
        }
    }

    void set_drain_callback(std::function<void()> callback) { on_drained_ = std::move(callback); }

    [[nodiscard]] bool drained() const {
        ErrorStatus status;
        return !sending_ && (local_.available(status) == 0 || status);
    }

private:
    void on_request(const ErrorStatus& status) {
        if (status) {
            return finish_handshake(false);
        }
        const auto& request = parser_.get();
        const auto origin = request.find(http::field::origin);
        if (!websocket::is_upgrade(request)) {
            return refuse(http::status::upgrade_required, "This is a WebSocket server for QMP.\n");
        }
        if (origin != request.end() &&
            !websocket_origin_allowed(view(origin->value()), view(request[http::field::host]))) {
            return refuse(http::status::forbidden, "Pages of other hosts may not connect.\n");
        }
        binary_ = http::token_list(request[http::field::sec_websocket_protocol])
                      .exists(beast::string_view(kSubprotocol.data(), kSubprotocol.size()));
        client_.binary(binary_);
        client_.set_option(websocket::stream_base::decorator(
            [binary = binary_](websocket::response_type& response) {
                if (binary) {
                    response.set(http::field::sec_websocket_protocol, std::string(kSubprotocol));
                }
            }));
        client_.async_accept(request, [self = shared_from_this()](const ErrorStatus& accepted) {
            self->finish_handshake(!accepted);
        });
    }

    static std::string_view view(beast::string_view text) { return {text.data(), text.size()}; }

    void refuse(http::status code, const char* text) {
        response_.result(code);
        response_.set(http::field::content_type, "text/plain");
        response_.set(http::field::upgrade, "websocket");
        response_.body() = text;
        response_.keep_alive(false);
        response_.prepare_payload();
        http::async_write(client_.next_layer(), response_,
                          [self = shared_from_this()](const ErrorStatus&, size_t) {
                              ErrorStatus ignored;
                              self->client_.next_layer().shutdown(asio::socket_base::shutdown_both,
                                                                  ignored);
                              self->finish_handshake(false);
                          });
    }

    void finish_handshake(bool accepted) {
        deadline_.cancel();
        if (accepted && on_handshake_) {
            receive_from_client();
            receive_from_stream();
        }
        if (const auto callback = std::exchange(on_handshake_, nullptr)) {
            callback(accepted);
        }
    }

    void receive_from_client() {
        client_.async_read_some(
            asio::buffer(from_client_),
            [self = shared_from_this()](const ErrorStatus& status, size_t size) {
                status ? self->close() : self->pass_to_stream(size);
            });
    }

    void pass_to_stream(size_t size) {
        asio::async_write(local_, asio::buffer(from_client_, size),
                          [self = shared_from_this()](const ErrorStatus& status, size_t) {
                              status ? self->close() : self->receive_from_client();
                          });
    }

    void receive_from_stream() {
        local_.async_read_some(asio::buffer(from_stream_),
                               [self = shared_from_this()](const ErrorStatus& status, size_t size) {
                                   status ? self->say_goodbye() : self->pass_to_client(size);
                               });
    }

    void pass_to_client(size_t size) {
        sending_ = true;
        client_.async_write(asio::buffer(from_stream_, size),
                            [self = shared_from_this()](const ErrorStatus& status, size_t) {
                                self->sending_ = false;
                                if (self->on_drained_ && self->drained()) {
                                    self->on_drained_();
                                }
                                status ? self->close() : self->receive_from_stream();
                            });
    }

    /// The daemon has closed its end: the client gets a closing handshake.
    void say_goodbye() {
        client_.async_close(websocket::close_code::normal,
                            [self = shared_from_this()](const ErrorStatus&) { self->close(); });
    }

    websocket::stream<ClientSocket> client_;
    asio::local::stream_protocol::socket local_;  ///< our end of the pair
    asio::steady_timer deadline_;
    std::function<void(bool)> on_handshake_;
    std::function<void()> on_drained_;
    bool sending_ = false;
    UniqueFd stream_;  ///< the other end, until it is taken
    beast::flat_buffer buffer_;
    http::request_parser<http::empty_body> parser_;
    http::response<http::string_body> response_;
    bool binary_ = false;
    std::array<std::byte, kChunk> from_client_{};
    std::array<std::byte, kChunk> from_stream_{};
};

WebSocketBridge::WebSocketBridge(std::shared_ptr<Connection> connection)
    : connection_(std::move(connection)) {}

WebSocketBridge::~WebSocketBridge() {
    connection_->abandon();
}

Result<std::unique_ptr<WebSocketBridge>> WebSocketBridge::start(
    MainLoop& loop, UniqueFd client, std::function<void(bool)> on_handshake) {
    auto connection = std::make_shared<Connection>(loop.context(), std::move(on_handshake));
    TRY(connection->assign(std::move(client)));
    connection->start();
    return std::unique_ptr<WebSocketBridge>(new WebSocketBridge(std::move(connection)));
}

UniqueFd WebSocketBridge::take_stream() {
    return connection_->take_stream();
}

bool WebSocketBridge::drained() const {
    return connection_->drained();
}

void WebSocketBridge::set_drain_callback(std::function<void()> callback) {
    connection_->set_drain_callback(std::move(callback));
}

}  // namespace halcyon
