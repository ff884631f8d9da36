/// The kinds of character back ends, one class each.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>
#include <termios.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "daemon/chardev/chardev.h"
#include "daemon/chardev/socket_endpoint.h"
#include "daemon/options/options.h"

namespace halcyon {

class WebSocketBridge;

/// Makes the back end and opens what it needs: a server listens, a client is connected, a pty is
/// there and its path printed. Fails with a one-line reason that begins with the option it came
/// from.
Result<std::unique_ptr<Chardev>> create_chardev(const ChardevOptions& options, MainLoop& loop);

/// Takes everything, gives nothing.
class NullChardev final : public Chardev {
public:
    NullChardev(std::string id, MainLoop& loop);
    [[nodiscard]] std::string filename() const override { return "null"; }
};

/// Writes to a file. What goes to a regular file goes there at once, on the thread that writes: a
/// file makes nobody wait as a reader can, and a log without holes is worth a system call a byte.
/// Once a write fails (a full disk) the rest is discarded, with a warning.
class FileChardev final : public Chardev {
public:
    static Result<std::unique_ptr<Chardev>> create(std::string id,
                                                   const FileChardevOptions& options,
                                                   MainLoop& loop);
    [[nodiscard]] std::string filename() const override { return "file"; }
    [[nodiscard]] size_t write(std::span<const std::byte> data) override;

private:
    FileChardev(std::string id, MainLoop& loop, int regular_file)
        : Chardev(std::move(id), loop), regular_file_(regular_file) {}
    void on_output_error(int error) override;
    void report_failure() { on_output_error(failure_.load()); }

    const int regular_file_;  ///< the descriptor the base class owns; -1 when it is no regular file
    std::atomic<int> failure_{0};  ///< errno of the first write that failed
};

/// A pseudo-terminal; the peer is whoever opens its other side. Opening is noticed through inotify,
/// since the master's side gives no event for it.
class PtyChardev final : public Chardev {
public:
    static Result<std::unique_ptr<Chardev>> create(std::string id, MainLoop& loop);
    /// The device that a peer opens.
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] std::string filename() const override { return "pty:" + path_; }

private:
    using Chardev::Chardev;
    void on_opened();
    void open_if_used();
    void on_input_end() override { close_stream(); }
    void on_peer_gone() override { open_if_used(); }

    UniqueFd master_;
    UniqueFd inotify_;
    std::unique_ptr<FdWatch> inotify_watch_;
    std::string path_;
};

/// The process's standard input and output. The end of the input ends nothing. A terminal is in
/// raw mode while a device is connected, and restored when the process ends, fatal signals
/// included. At most one exists.
class StdioChardev final : public Chardev {
public:
    static Result<std::unique_ptr<Chardev>> create(std::string id,
                                                   const StdioChardevOptions& options,
                                                   MainLoop& loop);
    ~StdioChardev() override;

    [[nodiscard]] std::string filename() const override { return "stdio"; }
    void set_echo(bool echo) override;
    void on_continued() override { apply_mode(); }

private:
    using Chardev::Chardev;
    void apply_mode();
    void on_output_error(int error) override { static_cast<void>(error); }

    bool signals_ = true;
    bool echo_ = false;
    /// The terminal's mode as it was found; nothing when standard input is no terminal.
    std::optional<termios> original_mode_;
};

/// A socket, Unix or TCP: a server that serves one client at a time (others wait in the backlog),
/// or a client, which with `reconnect` tries again and again. With `websocket`, clients speak that.
class SocketChardev final : public Chardev {
public:
    static Result<std::unique_ptr<Chardev>> create(std::string id,
                                                   const SocketChardevOptions& options,
                                                   MainLoop& loop);
    ~SocketChardev() override;

    /// For a server with wait=on: waits until a client has connected; false when `cancel_fd` became
    /// readable first. Before the loop runs.
    Result<bool> wait_for_client(int cancel_fd);
    void accept_waiting() override;
    void turn_away_waiting() override;
    [[nodiscard]] std::string filename() const override;
    [[nodiscard]] bool drained() const override;
    UniqueFd take_descriptor() override;
    Result<void> adopt_client(UniqueFd socket) override;
    [[nodiscard]] bool has_connection() const override { return true; }
    void cut_connection() override {
        post(static_cast<void (Chardev::*)()>(&SocketChardev::on_cut));
    }

private:
    /// The pause before accepting again when descriptors or memory have run out.
    static constexpr std::chrono::milliseconds kAcceptRetry{100};
    /// Descriptors that come with one message at most; the kernel's own limit is 253 (unix(7)).
    static constexpr size_t kMaxDescriptors = 16;

    struct Listener {
        UniqueFd socket;
        std::unique_ptr<FdWatch> watch;
    };

    SocketChardev(std::string id, const SocketChardevOptions& options, MainLoop& loop);
    Result<void> open_endpoint();
    Result<void> adopt_descriptor();
    Result<void> adopt_peer(UniqueFd socket);
    void on_websocket(bool accepted);
    void log_peer(int socket) const;

    Result<void> start_accepting(std::vector<UniqueFd> listeners);
    void wait_for_connections();
    Result<bool> accept_client(int listener);
    void on_connection(int listener);
    /// A peer, or one that is still at its handshake.
    [[nodiscard]] bool has_peer() const { return is_open() || websocket_ != nullptr; }

    void begin_connect();
    void on_connected();
    void connect_failed(const Error& error);

    void on_input_end() override;
    void on_recheck() override;
    void on_cut();
    void on_peer_gone() override;
    ssize_t read_some(int fd, std::span<std::byte> buffer) override;
    ssize_t write_some(int fd, std::span<const std::byte> data) override;
    void take_control(msghdr& message);

    SocketChardevOptions options_;
    std::optional<SocketEndpoint> endpoint_;  ///< none with an inherited descriptor
    std::string names_;                       ///< of TCP sockets: where we listen or connect to
    std::string peer_name_;                   ///< of a TCP peer
    std::unique_ptr<LoopTimer> retry_timer_;
    bool retry_logged_ = false;

    std::vector<Listener> listeners_;
    std::unique_ptr<WebSocketBridge> websocket_;
    UniqueFd received_;  ///< by SCM_RIGHTS, and not yet taken

    UniqueFd connecting_;
    std::unique_ptr<FdWatch> connect_watch_;
    size_t next_address_ = 0;
};

/// Keeps the last bytes of output, and of what QMP's ringbuf-write puts there, for ringbuf-read.
class RingbufChardev final : public Chardev {
public:
    RingbufChardev(std::string id, const RingbufChardevOptions& options, MainLoop& loop);
    [[nodiscard]] std::string filename() const override { return "ringbuf"; }
    [[nodiscard]] size_t write(std::span<const std::byte> data) override;

    /// Takes the oldest bytes out, at most `size`.
    std::string read(size_t size);

private:
    mutable std::mutex ring_mutex_;  ///< guards the members below; a leaf
    std::vector<std::byte> ring_;    ///< its size is a power of two
    uint64_t produced_ = 0;          ///< bytes ever written
    uint64_t consumed_ = 0;          ///< bytes read or overwritten
};

}  // namespace halcyon
