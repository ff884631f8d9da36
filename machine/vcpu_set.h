/// VcpuSet: all vCPUs of a machine, asked as one.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/event_loop.h"
#include "machine/thread_probe.h"
#include "machine/vcpu_thread.h"

namespace halcyon {

/// Fans requests out to the vCPU threads in parallel: all goals and stop words first, then all
/// signals, then one wait for all acknowledgements, so stopping many takes the time of the slowest.
/// Main thread only.
class VcpuSet {
public:
    /// How long a kick may stay unacknowledged before it is repeated.
    static constexpr std::chrono::milliseconds kRekickInterval{10};

    explicit VcpuSet(EventLoop& loop);

    /// Adds a launched vCPU.
    void add(std::unique_ptr<VcpuThread> thread) { threads_.push_back(std::move(thread)); }

    /// Asks every vCPU for `goal`; `done` is called on the main thread when all have acknowledged.
    /// A request that is still under way is given up: its `done` is never called.
    void ask_all(VcpuGoal goal, std::function<void()> done);

    /// Kicks every vCPU that runs; `done` is called on the main thread when each has come out to
    /// see why, at once for those that are parked. Changes no goal, and is never repeated by
    /// itself. One that is still under way is given up. Not after `join_all`.
    void prove_alive(std::function<void()> done);
    /// The first vCPU that owes the proof last asked for, with where its thread is; empty when
    /// none.
    [[nodiscard]] std::string describe_unproven() const;

    /// Waits for the threads' ends and closes the vCPUs. After ask_all(kEnd): short when that is
    /// done or all threads were parked, else as long as the slowest vCPU takes.
    void join_all();

    /// The first vCPU that has not acknowledged the request under way, with where its thread is;
    /// empty when none.
    [[nodiscard]] std::string describe_unacknowledged() const;
    /// How many have not acknowledged the request under way.
    [[nodiscard]] size_t count_unacknowledged() const;
    [[nodiscard]] const std::vector<std::unique_ptr<VcpuThread>>& threads() const {
        return threads_;
    }

private:
    /// What was seen of a vCPU's thread that has not acknowledged a kick.
    struct Watch {
        /// Processor time it had had when it was first looked at, or last kicked again.
        std::optional<std::chrono::nanoseconds> cpu_time;
        /// The latest look.
        std::optional<ThreadProbe> last;
    };

    void on_rekick_due();

    EventLoop& loop_;
    std::vector<std::unique_ptr<VcpuThread>> threads_;

    uint64_t round_number_ = 0;
    std::function<void()> done_;  ///< of the request under way; null when there is none
    std::vector<Watch> watches_;  ///< of the request under way, by thread
    uint64_t proof_number_ = 0;
    std::function<void()> proof_done_;  ///< null when no proof is under way
    std::shared_ptr<bool> alive_;  ///< expires with the set: posted completions then do nothing
    std::unique_ptr<LoopTimer> rekick_timer_;
};

}  // namespace halcyon
