/// The guest's clock and its timers, on top of the event loop.
#pragma once

#include <chrono>
#include <list>
#include <memory>
#include <mutex>
#include <optional>

#include "base/event_loop.h"
#include "devices/device.h"

namespace halcyon {

/// Guest time: runs while the VM runs. Created paused, at 0. `now` and the timers' `arm` and
/// `cancel` from any thread, all else on the main thread. Outlives its timers.
class MachineClock : public GuestClock {
public:
    /// How often one timer fires at most: a guest may program periods of a microsecond, and is not
    /// to occupy the main thread with them. Devices count what passed meanwhile. Shorter than the
    /// shortest period that guests rely on, 1/8192 s of the real-time clock.
    static constexpr std::chrono::microseconds kShortestInterval{100};

    explicit MachineClock(EventLoop& loop);
    ~MachineClock() override;

    [[nodiscard]] GuestTime now() const override;
    std::unique_ptr<GuestTimer> make_timer(std::function<void()> callback) override;

    /// Starts or stops the guest's time; armed timers follow. No effect when it is so already.
    void set_running(bool running);

private:
    class Timer;

    /// The host time at which guest time `deadline` comes; nothing while the clock stands still.
    [[nodiscard]] std::optional<SteadyTime> host_deadline(GuestTime deadline) const;

    EventLoop& loop_;
    std::list<Timer*> timers_;  ///< main thread

    mutable std::mutex mutex_;  ///< guards the two below; taken last
    bool running_ = false;
    /// Guest time while paused; host time minus guest time while running.
    GuestTime offset_{0};
};

}  // namespace halcyon
