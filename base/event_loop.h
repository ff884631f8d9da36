/// EventLoop: what the machine and the devices need of the main loop, without knowing which loop it
/// is.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

namespace halcyon {

/// The host's monotonic clock.
using SteadyTime = std::chrono::steady_clock::time_point;

/// A one-shot timer of the loop. Main thread only, but for `EventLoop::make_timer`'s remark.
/// Destroying it cancels it.
class LoopTimer {
public:
    virtual ~LoopTimer() = default;
    /// Calls the callback once, on the main thread, at or soon after `deadline`; replaces an
    /// earlier deadline.
    virtual void arm(SteadyTime deadline) = 0;
    virtual void cancel() = 0;
};

/// The main thread's event loop. Implemented by daemon/ on Asio and by tests by hand.
class EventLoop {
public:
    virtual ~EventLoop() = default;
    /// Runs `task` on the main thread, later, in the order of the calls. From any thread.
    virtual void post(std::function<void()> task) = 0;
    /// A timer that calls `callback` on the main thread. Main thread only.
    virtual std::unique_ptr<LoopTimer> make_timer(std::function<void()> callback) = 0;
    /// The time that timers go by.
    [[nodiscard]] virtual SteadyTime now() const = 0;
};

}  // namespace halcyon
