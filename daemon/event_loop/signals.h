/// The signals of the process: which are blocked, ignored, or read by the main loop.
#pragma once

#include <functional>
#include <memory>

#include "base/result.h"
#include "base/unique_fd.h"
#include "daemon/event_loop/main_loop.h"

namespace halcyon {

/// SIGTERM, SIGINT, SIGHUP and SIGCONT as events of the main loop.
///
/// `create` blocks them and the kick signal in the calling thread, so that every thread started
/// later inherits that, and ignores SIGPIPE: call it on the main thread before any other thread
/// exists. Once blocked they wait in the descriptor, however early they come.
class SignalSource {
public:
    static Result<std::unique_ptr<SignalSource>> create();
    SignalSource(const SignalSource&) = delete;
    SignalSource& operator=(const SignalSource&) = delete;

    /// Calls `on_end` for each SIGTERM, SIGINT and SIGHUP, `on_continue` for SIGCONT (the terminal
    /// may have been changed meanwhile). Main thread.
    Result<void> watch(MainLoop& loop, std::function<void()> on_end,
                       std::function<void()> on_continue);
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
    };
    Waiting take();

    UniqueFd fd_;
    std::unique_ptr<FdWatch> watch_;
};

}  // namespace halcyon
