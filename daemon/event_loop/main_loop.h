/// MainLoop: the event loop of the daemon's main thread, on Boost.Asio.
#pragma once

#include <functional>
#include <memory>

#include "base/event_loop.h"
#include "base/result.h"

namespace boost::asio {
class io_context;
}

namespace halcyon {

/// Tells when a descriptor is ready. Each request is for one call; a second request while one is
/// outstanding changes nothing. A descriptor that cannot be polled (a regular file) is always
/// ready. Destroying the watch cancels what is outstanding and leaves the descriptor open; it must
/// go before the descriptor is closed. Main thread only. The callbacks may destroy the watch.
class FdWatch {
public:
    virtual ~FdWatch() = default;
    /// Calls `on_readable` when a read would not block, or an error or hang-up is to be seen.
    virtual void wait_readable() = 0;
    /// The same for `on_writable` and a write.
    virtual void wait_writable() = 0;
};

/// The EventLoop on Asio. Constructed, run and destroyed on the main thread.
class MainLoop final : public EventLoop {
public:
    MainLoop();
    ~MainLoop() override;
    MainLoop(const MainLoop&) = delete;
    MainLoop& operator=(const MainLoop&) = delete;

    void post(std::function<void()> task) override;
    std::unique_ptr<LoopTimer> make_timer(std::function<void()> callback) override;
    [[nodiscard]] SteadyTime now() const override;

    /// Watches `fd`, which must be open and not watched yet. Fails when the kernel has no room for
    /// another watch.
    Result<std::unique_ptr<FdWatch>> watch(int fd, std::function<void()> on_readable,
                                           std::function<void()> on_writable);

    /// For what is built on Asio itself (daemon/chardev/websocket_bridge.h); all else uses the
    /// above.
    [[nodiscard]] boost::asio::io_context& context();

    /// Runs tasks, timers and watches until `stop`.
    void run();
    /// Makes `run` return after the present callback. Main thread only.
    void stop();

private:
    struct Implementation;
    std::unique_ptr<Implementation> implementation_;
};

}  // namespace halcyon
