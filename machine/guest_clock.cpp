#include "machine/guest_clock.h"

#include <algorithm>
#include <utility>

namespace halcyon {

namespace {

GuestTime since_epoch(SteadyTime time) {
    return std::chrono::duration_cast<GuestTime>(time.time_since_epoch());
}

}  // namespace

/// Deadlines are set on any thread and carried to the event loop's timer on the main thread.
/// However often a guest re-arms, at most one such task is on its way.
class MachineClock::Timer : public GuestTimer {
public:
    Timer(MachineClock& clock, std::function<void()> callback)
        : clock_(clock),
          shared_(std::make_shared<Shared>()),
          loop_timer_(clock.loop_.make_timer([this] { on_due(); })),
          callback_(std::move(callback)) {
        shared_->timer = this;
        position_ = clock.timers_.insert(clock.timers_.end(), this);
    }
    ~Timer() override {
        clock_.timers_.erase(position_);
        shared_->timer = nullptr;
    }

    void arm(GuestTime deadline) override { set_deadline(deadline); }
    void cancel() override { set_deadline(std::nullopt); }

    /// Brings the loop's timer in line with the deadline and the clock. Main thread.
    void update() {
        std::optional<GuestTime> deadline;
        {
            const std::lock_guard lock(shared_->mutex);
            shared_->update_posted = false;
            deadline = shared_->deadline;
        }
        const auto host = deadline ? clock_.host_deadline(*deadline) : std::nullopt;
        if (host) {
            loop_timer_->arm(std::max(*host, earliest_));
        } else {
            loop_timer_->cancel();
        }
    }

private:
    /// Outlives the timer in tasks that are still posted.
    struct Shared {
        Timer* timer = nullptr;  ///< main thread
        std::mutex mutex;        ///< guards the rest
        std::optional<GuestTime> deadline;
        bool update_posted = false;
    };

    void set_deadline(std::optional<GuestTime> deadline) {
        {
            const std::lock_guard lock(shared_->mutex);
            // Devices state the same deadline again at every access that changes nothing.
            if (shared_->deadline == deadline) {
                return;
            }
            shared_->deadline = deadline;
            if (std::exchange(shared_->update_posted, true)) {
                return;
            }
        }
        clock_.loop_.post([shared = shared_] {
            if (shared->timer != nullptr) {
                shared->timer->update();
            }
        });
    }

    void on_due() {
        if (take_due()) {
            earliest_ = clock_.loop_.now() + kShortestInterval;
            callback_();
        } else {
            update();  // cancelled or moved to later since the loop's timer was armed
        }
    }

    /// Whether the deadline has come; it is used up then.
    bool take_due() {
        const std::lock_guard lock(shared_->mutex);
        if (!shared_->deadline || clock_.now() < *shared_->deadline) {
            return false;
        }
        shared_->deadline.reset();
        return true;
    }

    MachineClock& clock_;
    std::shared_ptr<Shared> shared_;
    std::unique_ptr<LoopTimer> loop_timer_;
    std::function<void()> callback_;
    SteadyTime earliest_;  ///< when it may fire again; main thread
    std::list<Timer*>::iterator position_;
};

MachineClock::MachineClock(EventLoop& loop) : loop_(loop) {}

MachineClock::~MachineClock() = default;

GuestTime MachineClock::now() const {
    const std::lock_guard lock(mutex_);
    return running_ ? since_epoch(loop_.now()) - offset_ : offset_;
}

std::unique_ptr<GuestTimer> MachineClock::make_timer(std::function<void()> callback) {
    return std::make_unique<Timer>(*this, std::move(callback));
}

std::optional<SteadyTime> MachineClock::host_deadline(GuestTime deadline) const {
    const std::lock_guard lock(mutex_);
    if (!running_) {
        return std::nullopt;
    }
    if (deadline > GuestTime::max() - std::max(offset_, GuestTime(0))) {
        return SteadyTime::max();
    }
    return SteadyTime(std::chrono::duration_cast<SteadyTime::duration>(deadline + offset_));
}

void MachineClock::set_running(bool running) {
    {
        const std::lock_guard lock(mutex_);
        if (running_ == running) {
            return;
        }
        offset_ = since_epoch(loop_.now()) - offset_;
        running_ = running;
    }
    for (Timer* timer : timers_) {
        timer->update();
    }
}

}  // namespace halcyon
