/// FakeClock: a GuestClock that stands still until a test moves it.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "devices/device.h"

namespace halcyon {

/// The clock and its timers. `advance` is the test's main thread: it fires what falls due, in the
/// order of the deadlines, each at its own deadline and with no lock held. `now`, `arm` and
/// `cancel` may come from any thread. Must outlive its timers.
class FakeClock final : public GuestClock {
public:
    [[nodiscard]] GuestTime now() const override {
        std::lock_guard lock(mutex_);
        return now_;
    }

    std::unique_ptr<GuestTimer> make_timer(std::function<void()> callback) override {
        return std::make_unique<Timer>(*this, std::move(callback));
    }

    /// Moves the clock by `step` and fires the timers on the way. A timer that is armed in the past
    /// fires at once, that is within this call or the next.
    void advance(GuestTime step) {
        const GuestTime end = now() + step;
        while (Timer* timer = take_due(end)) {
            timer->callback_();
        }
        std::lock_guard lock(mutex_);
        now_ = end;
    }

    /// Moves the clock without firing anything, as a busy main thread would: the timers are late.
    void advance_late(GuestTime step) {
        std::lock_guard lock(mutex_);
        now_ += step;
    }

    /// Fires what is due now.
    void run_due() { advance(GuestTime{0}); }

    /// How many timers are armed.
    [[nodiscard]] size_t armed() const {
        std::lock_guard lock(mutex_);
        return static_cast<size_t>(
            std::count_if(timers_.begin(), timers_.end(),
                          [](const Timer* t) { return t->deadline_.has_value(); }));
    }

    /// The earliest deadline of all armed timers.
    [[nodiscard]] std::optional<GuestTime> next_deadline() const {
        std::lock_guard lock(mutex_);
        const Timer* first = earliest();
        return first == nullptr ? std::nullopt : first->deadline_;
    }

private:
    class Timer final : public GuestTimer {
    public:
        Timer(FakeClock& clock, std::function<void()> callback)
            : clock_(clock), callback_(std::move(callback)) {
            std::lock_guard lock(clock_.mutex_);
            clock_.timers_.push_back(this);
        }
        ~Timer() override {
            std::lock_guard lock(clock_.mutex_);
            std::erase(clock_.timers_, this);
        }
        Timer(const Timer&) = delete;
        Timer& operator=(const Timer&) = delete;

        void arm(GuestTime deadline) override {
            std::lock_guard lock(clock_.mutex_);
            deadline_ = deadline;
        }
        void cancel() override {
            std::lock_guard lock(clock_.mutex_);
            deadline_.reset();
        }

    private:
        friend class FakeClock;
        FakeClock& clock_;
        std::function<void()> callback_;
        std::optional<GuestTime> deadline_;
    };

    /// The armed timer with the first deadline, or null. With the lock held.
    [[nodiscard]] Timer* earliest() const {
        Timer* first = nullptr;
        for (Timer* timer : timers_) {
            if (timer->deadline_ && (first == nullptr || *timer->deadline_ < *first->deadline_)) {
                first = timer;
            }
        }
        return first;
    }

    /// Disarms the first timer that is due by `end` and moves the clock to its deadline.
    [[nodiscard]] Timer* take_due(GuestTime end) {
        std::lock_guard lock(mutex_);
        Timer* first = earliest();
        if (first == nullptr || *first->deadline_ > end) {
            return nullptr;
        }
        now_ = std::max(now_, *first->deadline_);
        first->deadline_.reset();
        return first;
    }

    mutable std::mutex mutex_;
    GuestTime now_{0};
    std::vector<Timer*> timers_;
};

}  // namespace halcyon
