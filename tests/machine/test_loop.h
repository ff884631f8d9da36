/// A real event loop small enough to read: tasks from any thread, timers, run until something
/// holds.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/event_loop.h"

namespace halcyon::test {

class TestLoop : public EventLoop {
public:
    void post(std::function<void()> task) override {
        const std::lock_guard lock(mutex_);
        tasks_.push_back(std::move(task));
        changed_.notify_one();
    }
    std::unique_ptr<LoopTimer> make_timer(std::function<void()> callback) override {
        return std::make_unique<Timer>(*this, std::move(callback));
    }
    [[nodiscard]] SteadyTime now() const override {
        return std::chrono::steady_clock::now() + skew_;
    }

    /// Jumps: timers that lie in between are due at the next run.
    void advance(std::chrono::nanoseconds by) { skew_ += by; }

    /// Runs tasks and timers until `done()`; false after `limit` of real time.
    bool run_until(const std::function<bool()>& done,
                   std::chrono::seconds limit = std::chrono::seconds(30)) {
        const auto end = std::chrono::steady_clock::now() + limit;
        while (!done()) {
            if (std::chrono::steady_clock::now() >= end) {
                return false;
            }
            run_one();
        }
        return true;
    }
    /// Whether anything was posted that has not run.
    [[nodiscard]] bool has_tasks() {
        const std::lock_guard lock(mutex_);
        return !tasks_.empty();
    }
    /// Runs what is ready now.
    void run_ready() {
        while (run_task() || run_timer()) {
        }
    }

private:
    class Timer : public LoopTimer {
    public:
        Timer(TestLoop& loop, std::function<void()> callback)
            : loop_(loop), callback_(std::move(callback)) {
            loop_.timers_.push_back(this);
        }
        ~Timer() override { std::erase(loop_.timers_, this); }
        void arm(SteadyTime deadline) override {
            deadline_ = deadline;
            armed_ = true;
        }
        void cancel() override { armed_ = false; }

        TestLoop& loop_;
        std::function<void()> callback_;
        SteadyTime deadline_;
        bool armed_ = false;
    };

    bool run_task() {
        std::function<void()> task;
        {
            const std::lock_guard lock(mutex_);
            if (tasks_.empty()) {
                return false;
            }
            task = std::move(tasks_.front());
            tasks_.pop_front();
        }
        task();
        return true;
    }
    Timer* next_timer() {
        Timer* next = nullptr;
        for (Timer* timer : timers_) {
            if (timer->armed_ && (next == nullptr || timer->deadline_ < next->deadline_)) {
                next = timer;
            }
        }
        return next;
    }
    bool run_timer() {
        Timer* timer = next_timer();
        if (timer == nullptr || timer->deadline_ > now()) {
            return false;
        }
        timer->armed_ = false;
        timer->callback_();
        return true;
    }
    void run_one() {
        if (run_task() || run_timer()) {
            return;
        }
        Timer* timer = next_timer();
        auto wait = std::chrono::nanoseconds(std::chrono::milliseconds(100));
        if (timer != nullptr) {
            wait = std::min(wait, std::chrono::nanoseconds(timer->deadline_ - now()));
        }
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, wait, [this] { return !tasks_.empty(); });
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> tasks_;
    std::vector<Timer*> timers_;
    std::chrono::nanoseconds skew_{0};
};

}  // namespace halcyon::test
