/// BlockingLoop: an event loop for the bench tools that need a Machine without the daemon.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/event_loop.h"

namespace halcyon::bench {

/// Runs posted tasks and due timers on the thread that calls `run_until`, which is the main thread.
class BlockingLoop final : public EventLoop {
public:
    void post(std::function<void()> task) override {
        {
            const std::lock_guard lock(mutex_);
            tasks_.push_back(std::move(task));
        }
        changed_.notify_one();
    }

    std::unique_ptr<LoopTimer> make_timer(std::function<void()> callback) override {
        return std::make_unique<Timer>(*this, std::move(callback));
    }

    [[nodiscard]] SteadyTime now() const override { return std::chrono::steady_clock::now(); }

    /// Serves until `flag` is set by a task or timer.
    void run_until(const bool& flag) {
        while (!flag) {
            std::function<void()> task = next_task();
            if (task) {
                task();
            } else {
                fire_due_timer();
            }
        }
    }

private:
    class Timer final : public LoopTimer {
    public:
        Timer(BlockingLoop& loop, std::function<void()> callback)
            : loop_(loop), callback_(std::move(callback)) {
            loop_.timers_.push_back(this);
        }
        ~Timer() override { std::erase(loop_.timers_, this); }
        void arm(SteadyTime deadline) override { deadline_ = deadline; }
        void cancel() override { deadline_ = SteadyTime::max(); }

        BlockingLoop& loop_;
        std::function<void()> callback_;
        SteadyTime deadline_ = SteadyTime::max();
    };

    [[nodiscard]] Timer* first_timer() const {
        Timer* first = nullptr;
        for (Timer* timer : timers_) {
            if (timer->deadline_ != SteadyTime::max() &&
                (first == nullptr || timer->deadline_ < first->deadline_)) {
                first = timer;
            }
        }
        return first;
    }

    /// Waits for a task; nothing when a timer is due first.
    std::function<void()> next_task() {
        const Timer* timer = first_timer();
        std::unique_lock lock(mutex_);
        const auto ready = [this] { return !tasks_.empty(); };
        if (timer == nullptr) {
            changed_.wait(lock, ready);
        } else if (!changed_.wait_until(lock, timer->deadline_, ready)) {
            return nullptr;
        }
        std::function<void()> task = std::move(tasks_.front());
        tasks_.pop_front();
        return task;
    }

    void fire_due_timer() {
        Timer* timer = first_timer();
        if (timer != nullptr && timer->deadline_ <= now()) {
            timer->deadline_ = SteadyTime::max();
            timer->callback_();
        }
    }

    std::mutex mutex_;  ///< guards tasks_
    std::condition_variable changed_;
    std::deque<std::function<void()>> tasks_;
    std::vector<Timer*> timers_;  ///< main thread
};

}  // namespace halcyon::bench
