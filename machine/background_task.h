/// BackgroundTask: work that may wait for files, on a thread of its own.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "base/result.h"

namespace halcyon {

/// Main thread, but for the work. Destroying it cancels the work and waits for its end.
class BackgroundTask {
public:
    /// Runs on the task's thread. It returns soon once `cancelled` is true, whatever it then
    /// returns.
    using Work = std::function<Result<void>(const std::atomic<bool>& cancelled)>;
    /// Called on the task's thread with what the work returned, as the last thing that happens
    /// there.
    using Done = std::function<void(Result<void>)>;

    /// `name` is the thread's, of at most 15 bytes.
    explicit BackgroundTask(std::string name) : name_(std::move(name)) {}
    ~BackgroundTask();
    BackgroundTask(const BackgroundTask&) = delete;
    BackgroundTask& operator=(const BackgroundTask&) = delete;

    /// Once. Fails, with neither function called, when there is no thread to be had.
    Result<void> start(Work work, Done done);
    void cancel() { cancelled_.store(true); }
    [[nodiscard]] const std::string& name() const { return name_; }

private:
    const std::string name_;
    std::atomic<bool> cancelled_{false};
    std::thread thread_;
};

}  // namespace halcyon
