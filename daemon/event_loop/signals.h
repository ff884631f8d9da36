/// The signals of the process: which are blocked, ignored, or read by the main loop.
#pragma once

#include <functional>
#include <memory>

#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/event_loop/main_loop.h"

namespace halcyon {

/// The signal by which `machinectl poweroff` asks for an orderly end (systemd(1)).
[[nodiscard]] int poweroff_signal();

/// SIGTERM, SIGINT, SIGHUP, SIGCONT and `poweroff_signal` as events of the main loop.
///
/// `create` blocks them and the kick signal in the calling thread, so that every thread started
/// later inherits that, and ignores SIGPIPE: call it on the main thread before any other thread
/// exists. Once blocked they wait in the descriptor, however early they come.
class SignalSource {
public:
    static Result<std::unique_ptr<SignalSource>> create();
    SignalSource(const SignalSource&) = delete;
    SignalSource& operator=(const SignalSource&) = delete;

    /// What is called for a signal.
    struct Actions {
        std::function<void()> end;       ///< for each SIGTERM, SIGINT and SIGHUP
        std::function<void()> resumed;   ///< SIGCONT: the terminal may have been changed meanwhile
        std::function<void()> poweroff;  ///< `poweroff_signal`
    };

    /// Calls `actions` from now on. Main thread.
    Result<void> watch(MainLoop& loop, Actions actions);
    /// Stops calling.
    void unwatch() { watch_.reset(); }

    /// Readable when a signal waits; for what must wait before the loop runs.
    [[nodiscard]] int fd() const { return fd_.get(); }
    /// Takes the waiting signals; true when one asks for the end.
    bool take_end_request();

private:
    explicit SignalSource(UniqueFd fd) : fd_(std::move(fd)) {}

    /// What `take` found waiting.
    struct Waiting {
        bool end = false;
        bool resumed = false;
        bool poweroff = false;
    };
    Waiting take();

    UniqueFd fd_;
    std::unique_ptr<FdWatch> watch_;
};

}  // namespace halcyon
