/// Session: the protocol state of one connected client.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "protocol/dispatcher.h"
#include "protocol/event.h"
#include "protocol/framer.h"
#include "protocol/json.h"
#include "protocol/reply.h"

namespace halcyon {

/// The QAPI level that the greeting and `query-version` tell.
struct QmpVersion {
    int major = 0;
    int minor = 0;
    int micro = 0;
};

/// What a Session needs to know of its monitor.
struct SessionConfig {
    QmpVersion version;
    /// The greeting's `package`: who the server really is.
    std::string package;
    /// Whether the greeting offers out-of-band execution.
    bool oob_allowed = true;
    /// Whether messages are spread over lines.
    bool pretty = false;
};

/// What a connected client has negotiated and sent, without the transport: bytes go in by
/// `receive`, messages come out by the `send` callback, each complete and ended by CR LF.
///
/// In-band commands run one at a time, in order, and are answered in order. Without the `oob`
/// capability nothing is read while one runs. With it reading goes on: out-of-band requests run at
/// once, in-band ones wait in a queue of 8.
///
/// Main thread only. Owned by the connection. `send` and the handlers that run inside `receive` may
/// call `close()` and may destroy the Session. Nothing fails: a fault of the client is an error
/// reply.
class Session {
public:
    using SendFunction = std::function<void(std::string)>;

    /// How many in-band requests wait while one runs, if `oob` is enabled. QEMU's number
    /// (QMP_REQ_QUEUE_LEN_MAX).
    static constexpr size_t kQueueLimit = 8;

    /// `dispatcher` outlives the session.
    Session(Dispatcher& dispatcher, SessionConfig config, SendFunction send);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    /// Sends the greeting. Once, before anything else.
    void open();

    /// Bytes of the client, split anywhere. May be called when `wants_input()` is false: the bytes
    /// are kept, and so the caller had better not.
    void receive(std::string_view bytes);

    /// Sends the event if capabilities negotiation is complete; else it is not kept either.
    void emit(const Event& event);

    /// The client has gone: nothing is sent any more, queued requests are dropped, answers of
    /// running commands go nowhere.
    void close();

    /// Whether the caller should read from the client. False while a command runs (without `oob`),
    /// while the queue is full (with it), and after `close()`.
    [[nodiscard]] bool wants_input() const;
    /// Called when `wants_input()` turns true again, outside `receive`.
    void set_input_callback(std::function<void()> callback) {
        input_callback_ = std::move(callback);
    }

    /// Whether every request received so far has been answered. A half-closed connection may be
    /// closed when this is true.
    [[nodiscard]] bool idle() const { return !running_ && queue_.empty(); }

    [[nodiscard]] bool negotiated() const { return negotiated_; }
    [[nodiscard]] bool oob_enabled() const { return oob_enabled_; }

    /// What `qmp_capabilities` does: completes the negotiation with `oob` enabled or not, or
    /// answers why that is not possible.
    void negotiate(bool enable_oob, Reply<void> reply);

private:
    /// What a reply that comes later needs to find its session, if that still exists.
    struct Anchor {
        Session* session;
    };
    /// A request of the queue; one that is malformed waits for its turn like the others.
    using QueuedRequest = std::variant<Request, BadRequest>;

    void process();
    void accept(Frame frame);
    void run_next();
    void run(QueuedRequest queued, bool out_of_band);
    [[nodiscard]] ReplySink make_sink(std::optional<Json> id, bool out_of_band);
    void answer(const ReplyValue& value, const std::optional<Json>& id, bool out_of_band);
    [[nodiscard]] std::string encode_reply(const ReplyValue& value,
                                           const std::optional<Json>& id) const;
    void send_message(std::string message);
    [[nodiscard]] std::string encode(const Json& value) const;
    [[nodiscard]] bool dropped_by_quit(const QueuedRequest& queued) const;

    Dispatcher& dispatcher_;
    SessionConfig config_;
    std::shared_ptr<const SendFunction> send_;  ///< shared, to outlive a call that destroys us
    std::function<void()> input_callback_;

    Framer framer_;
    std::deque<QueuedRequest> queue_;
    std::shared_ptr<Anchor> anchor_;
    bool running_ = false;        ///< an in-band command has not answered yet
    bool processing_ = false;     ///< `process` is on the stack
    bool input_blocked_ = false;  ///< reading stopped, and the callback is owed
    bool closed_ = false;
    bool negotiated_ = false;
    bool oob_enabled_ = false;
};

}  // namespace halcyon
