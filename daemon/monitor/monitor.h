/// Monitor: a QMP server on a character back end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "daemon/chardev/chardev.h"
#include "daemon/event_loop/main_loop.h"
#include "daemon/monitor/descriptors.h"
#include "devices/char_backend.h"
#include "protocol/session.h"

namespace halcyon {

/// Serves one client after the other on its back end, each with a Session of its own.
///
/// Its memory is bounded, whatever the client does. While more than `kInputLimit` bytes are unsent
/// nothing is read, so that no reply can add to them but those of commands already taken; beyond
/// `kEventLimit` events are dropped, and counted. What one client does costs no other monitor
/// anything. Main thread only; `chardev`, `dispatcher` and `loop` outlive it.
class Monitor final : public CharFrontend {
public:
    static constexpr size_t kInputLimit = 64 * 1024;
    static constexpr size_t kEventLimit = 1024 * 1024;

    Monitor(Chardev& chardev, Dispatcher& dispatcher, SessionConfig config, MainLoop& loop);
    ~Monitor() override;
    Monitor(const Monitor&) = delete;
    Monitor& operator=(const Monitor&) = delete;

    /// Serves from now on, beginning with a client that is there already.
    void start() { chardev_.connect(this); }
    /// Tells the client, if it has negotiated.
    void emit(const Event& event);
    /// Whether everything sent has been taken by the kernel, or there is nobody to take it.
    [[nodiscard]] bool drained() const;
    /// Bytes that the back end has not taken yet.
    [[nodiscard]] size_t unsent() const { return output_.size() - output_done_; }

    [[nodiscard]] const Chardev& chardev() const { return chardev_; }
    /// Whether `session` is that of the present client.
    [[nodiscard]] bool serves(const Session& session) const { return session_.get() == &session; }
    /// The oldest descriptor that the client has sent and nobody has taken; none without.
    UniqueFd take_descriptor() { return chardev_.take_descriptor(); }
    /// What `getfd` keeps. It outlives the client, as in QEMU.
    [[nodiscard]] NamedDescriptors& descriptors() { return descriptors_; }
    /// Called after a client has gone.
    void set_close_callback(std::function<void()> callback) { on_closed_ = std::move(callback); }
    /// Events that clients of this monitor missed because they did not read.
    [[nodiscard]] uint64_t dropped_events() const { return dropped_events_; }

    size_t can_receive() override;
    void receive(std::span<const std::byte> data) override;
    void on_writable() override;
    void on_open() override;
    void on_close() override;

private:
    /// Bytes given to the session at once at most.
    static constexpr size_t kPiece = 512;
    /// After a request or a reply of at least this, free memory is given back to the system: malloc
    /// by itself keeps what lies below anything that is still in use.
    static constexpr size_t kTrimBytes = 256 * 1024;

    /// What a posted task needs to find this object, if that still exists.
    struct Anchor {
        Monitor* monitor;
    };

    [[nodiscard]] bool may_take_input() const;
    void process_input();
    void process_later();
    void send(std::string message);
    void flush_output();
    void trim_memory();

    Chardev& chardev_;
    Dispatcher& dispatcher_;
    SessionConfig config_;
    MainLoop& loop_;
    std::unique_ptr<Session> session_;  ///< none without a client
    std::string input_;                 ///< read, and not yet given to the session
    std::string output_;                ///< of the session, not yet taken by the back end
    size_t output_done_ = 0;
    bool batching_ = false;          ///< requests are being run; their replies go out together
    size_t input_since_output_ = 0;  ///< bytes received since anything was sent
    size_t largest_ = 0;  ///< the most that was received before, or sent as, one message lately
    bool dropping_ = false;
    uint64_t dropped_events_ = 0;
    NamedDescriptors descriptors_;
    std::function<void()> on_closed_;
    std::shared_ptr<Anchor> anchor_;
};

}  // namespace halcyon
