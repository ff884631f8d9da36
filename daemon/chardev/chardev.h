/// Chardev: the part that all character back ends share. The kinds differ in where their
/// descriptors come from and in what the end of a stream means.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "daemon/event_loop/main_loop.h"
#include "devices/char_backend.h"

namespace halcyon {

/// A character back end over non-blocking descriptors. Its front end is a device or a monitor.
///
/// Output from any thread is collected in a bounded buffer and written by the main thread; input is
/// read on the main thread, only while the front end has room for it, so that back-pressure reaches
/// the peer. Descriptors are touched by the main thread alone. All methods are for the main thread,
/// but for `write` and `input_wanted`. `loop` outlives it.
class Chardev : public CharBackend {
public:
    /// Bytes of output that wait here at most.
    static constexpr size_t kOutputLimit = 16 * 1024;
    /// Bytes of input read at once at most.
    static constexpr size_t kInputChunk = 16 * 1024;
    /// What an emptied buffer keeps at most, here and in the monitors: idle ones are many.
    static constexpr size_t kSpareBytes = 1024;

    ~Chardev() override;
    Chardev(const Chardev&) = delete;
    Chardev& operator=(const Chardev&) = delete;

    [[nodiscard]] const std::string& id() const { return id_; }

    /// What it is connected to, in QEMU's words: "unix:/run/vm.sock,server=on".
    [[nodiscard]] virtual std::string filename() const = 0;
    /// Whether a device or a monitor uses it.
    [[nodiscard]] bool has_frontend() const { return frontend_ != nullptr; }

    /// What is written goes to `file`, too. Before any writing.
    void set_log(UniqueFd file) { log_ = std::move(file); }

    [[nodiscard]] size_t write(std::span<const std::byte> data) override;
    void input_wanted() final;
    void connect(CharFrontend* frontend) final;

    /// As `write`, but hands to the kernel at once what it takes. Main thread.
    [[nodiscard]] size_t write_now(std::span<const std::byte> data);
    /// As `input_wanted`, for the main thread.
    void resume_input();

    /// Whether there is a peer.
    [[nodiscard]] bool is_open() const { return open_; }
    /// Whether the kernel has taken all output, or there is no peer to take it.
    [[nodiscard]] virtual bool drained() const;
    /// Called each time all output is with the kernel, and when the peer goes.
    void set_drain_callback(std::function<void()> callback) { on_drained_ = std::move(callback); }
    /// While `hold` is true, a peer that has sent all it will (a half-closed socket) is kept for
    /// the sake of the output; `recheck_end` asks again.
    void set_hold(std::function<bool()> hold) { hold_ = std::move(hold); }
    void recheck_end() {
        if (half_closed_) {
            post(&Chardev::on_recheck);
        }
    }

    /// A server takes a client that waits already; for others nothing. Otherwise the client is
    /// taken when the loop runs.
    virtual void accept_waiting() {}
    /// A server closes the connections of clients that wait; for others nothing. At the end.
    virtual void turn_away_waiting() {}
    /// A terminal echoes and edits lines (for a person who types QMP) or not (for a device).
    virtual void set_echo(bool echo) { static_cast<void>(echo); }
    /// The process was continued after a stop.
    virtual void on_continued() {}
    /// The descriptor that came last from the peer (SCM_RIGHTS), the first of its message; none
    /// when it was taken.
    virtual UniqueFd take_descriptor() { return {}; }
    /// Serves the client at the other end of a connected socket, as if it had been accepted.
    virtual Result<void> adopt_client(UniqueFd socket);
    /// Whether it is on a socket, so that `cut_connection` does something.
    [[nodiscard]] virtual bool has_connection() const { return false; }
    /// Makes the peer gone, if there is one, when the loop runs; then as after its own going.
    virtual void cut_connection() {}

protected:
    Chardev(std::string id, MainLoop& loop);

    /// The peer has come. Either descriptor may be none; they may be the same one, as `input`.
    Result<void> open_stream(UniqueFd input, UniqueFd output);
    /// A peer without descriptors, that takes everything (null).
    void open_sink();
    /// The peer has gone: forgets its output, closes the descriptors, tells the front end, then
    /// calls `on_peer_gone`.
    void close_stream();

    /// Copies output that was taken to the log, if there is one; what that does not take (a full
    /// disk) is lost. Any thread.
    void log(std::span<const std::byte> data) const;

    /// The input has ended: the peer closed its side, or reading failed. By default the output
    /// stays usable. Reading goes on only if this calls `resume_input`.
    virtual void on_input_end() {}
    /// A write failed for good. By default the peer counts as gone.
    virtual void on_output_error(int error) {
        static_cast<void>(error);
        close_stream();
    }
    virtual void on_peer_gone() {}
    /// `recheck_end` was called while `half_closed_`.
    virtual void on_recheck() {}
    /// How to read and write; a socket has flags of its own.
    virtual ssize_t read_some(int fd, std::span<std::byte> buffer);
    virtual ssize_t write_some(int fd, std::span<const std::byte> data);

    /// Output that a kind holds itself has gone: asks again whether all has.
    void recheck_drained();
    /// Whether `set_hold`'s function keeps the peer.
    [[nodiscard]] bool held() const { return hold_ && hold_(); }
    /// Runs `action` on the main thread later, unless this object has gone by then. Any thread.
    void post(void (Chardev::*action)());
    [[nodiscard]] MainLoop& loop() { return loop_; }
    /// The peer is held although its input has ended; the kind sets it.
    bool half_closed_ = false;
    /// Where input comes from; -1 without a peer.
    [[nodiscard]] int input_fd() const { return input_.get(); }

private:
    /// What a posted task needs to find this object, if that still exists. Main thread.
    struct Anchor {
        Chardev* chardev;
    };

    /// What one attempt to write came to.
    enum class WriteStatus { kAll, kBlocked, kFailed };

    void announce_peer();
    void on_readable();
    void on_resume();
    void flush();
    [[nodiscard]] WriteStatus write_out(std::span<const std::byte> data, size_t* written);
    [[nodiscard]] bool take_incoming();
    void after_flush();
    void on_output_failed();
    [[nodiscard]] int output_fd() const { return output_ ? output_.get() : input_.get(); }
    [[nodiscard]] FdWatch* output_watch() {
        return output_watch_ ? output_watch_.get() : input_watch_.get();
    }

    std::string id_;
    UniqueFd log_;  ///< none without
    MainLoop& loop_;
    CharFrontend* frontend_ = nullptr;
    std::function<void()> on_drained_;
    std::function<bool()> hold_;

    UniqueFd input_;
    UniqueFd output_;  ///< none when `input_` serves both ways
    std::unique_ptr<FdWatch> input_watch_;
    std::unique_ptr<FdWatch> output_watch_;
    int output_error_ = 0;
    std::vector<std::byte> outgoing_;  ///< taken from `incoming_`, being written
    size_t outgoing_done_ = 0;

    std::atomic<bool> resume_posted_{false};
    mutable std::mutex mutex_;  ///< guards the members below; a leaf
    bool sink_ = false;         ///< a peer without descriptors; set once
    bool open_ = false;         ///< also read without the lock by the main thread, its only writer
    std::vector<std::byte> incoming_;
    size_t outgoing_bytes_ = 0;  ///< what is left of `outgoing_`
    bool flush_posted_ = false;
    bool starved_ = false;  ///< a `write` took less than all

    std::shared_ptr<Anchor> anchor_;
};

}  // namespace halcyon
