/// The kinds of character back ends, one class each.
#pragma once

#include <sys/types.h>
#include <termios.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "daemon/chardev/chardev.h"
#include "daemon/options/options.h"

namespace halcyon {

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

/// A Unix socket: a server that serves one client at a time (others wait in the backlog), or a
/// client.
class SocketChardev final : public Chardev {
public:
    static Result<std::unique_ptr<Chardev>> create(std::string id,
                                                   const SocketChardevOptions& options,
                                                   MainLoop& loop);
    /// Closes the listening socket, and unlinks its file if this object made it.
    ~SocketChardev() override;

    /// For a server with wait=on: waits until a client has connected; false when `cancel_fd` became
    /// readable first. Before the loop runs.
    Result<bool> wait_for_client(int cancel_fd);
    [[nodiscard]] std::string filename() const override;

private:
    /// Pending connections; others are refused by the kernel's own limit.
    static constexpr int kBacklog = 64;
    /// The pause before accepting again when descriptors or memory have run out.
    static constexpr std::chrono::milliseconds kAcceptRetry{100};

    SocketChardev(std::string id, const SocketChardevOptions& options, MainLoop& loop);
    Result<void> listen_at_path();
    Result<void> connect_to_path();
    Result<void> adopt_descriptor();
    Result<void> start_accepting();
    Result<bool> accept_client();
    void on_connection();
    void on_input_end() override;
    void on_recheck() override;
    void on_peer_gone() override;
    ssize_t read_some(int fd, std::span<std::byte> buffer) override;
    ssize_t write_some(int fd, std::span<const std::byte> data) override;

    SocketChardevOptions options_;
    UniqueFd listener_;
    std::unique_ptr<FdWatch> accept_watch_;
    std::unique_ptr<LoopTimer> retry_timer_;
    bool retry_logged_ = false;
    /// Identifies the socket file that was made here.
    bool made_file_ = false;
    std::string file_path_;  ///< absolute: the working directory may change
    dev_t file_device_ = 0;
    ino_t file_inode_ = 0;
};

}  // namespace halcyon
