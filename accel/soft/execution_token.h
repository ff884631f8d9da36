/// ExecutionToken: lets one vCPU of a soft partition execute at a time, and everybody else in
/// between.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>

namespace halcyon {

/// What one vCPU needs to be woken and interrupted. Owned by the vCPU, outlives its use of the
/// token.
struct ExecutionSlot {
    /// Reasons to leave the interpreter, seen before the next instruction; never a lost wake-up,
    /// since whoever sets a bit also notifies `wake` under the mutex.
    enum Attention : uint32_t {
        kStop = 1,       ///< the stop word: stays until the vCPU's thread clears it
        kEvent = 2,      ///< an interrupt, INIT or start-up IPI arrived
        kSafePoint = 4,  ///< somebody wants the exclusive section
        kYield = 8,      ///< another vCPU waits and this one has nothing useful to do
    };

    [[nodiscard]] bool stop_set() const {
        return (attention.load(std::memory_order_acquire) & kStop) != 0;
    }

    std::atomic<uint32_t> attention{0};
    /// The holder is inside a device and touches no guest memory.
    std::atomic<bool> outside{false};
    std::condition_variable wake;
};

/// A fair lock with a queue, whose waiters can be kicked. Because only its holder executes, every
/// guest instruction is atomic for the other vCPUs, and `LOCK` needs nothing more. The mutex also
/// guards the partition's interrupt state. No device is ever called with it held.
class ExecutionToken {
public:
    using Lock = std::unique_lock<std::mutex>;

    [[nodiscard]] Lock lock() { return Lock(mutex_); }

    /// Waits in turn until `slot` may execute. False when its stop word is set: the token is not
    /// held then.
    bool acquire(Lock& lock, ExecutionSlot& slot);
    /// Hands the token to the longest waiter.
    void release(Lock& lock, ExecutionSlot& slot);
    /// Whether another vCPU waits for its turn. Any thread.
    [[nodiscard]] bool contended() const { return waiting_.load(std::memory_order_relaxed) != 0; }

    /// Around a call into a device, by the holder and without the mutex: while outside, the
    /// exclusive section may run. Device code may itself enter it.
    void leave_guest(ExecutionSlot& slot);
    void enter_guest(ExecutionSlot& slot);
    /// The holder's answer to kSafePoint.
    void safe_point(Lock& lock, ExecutionSlot& slot);

    /// Runs `change` while no vCPU executes instructions, with the mutex held. Any thread, also
    /// from a device that a vCPU called.
    void exclusive(const std::function<void()>& change);

    /// Sets a bit of `slot.attention` and wakes its vCPU from whatever it waits for.
    void notify(ExecutionSlot& slot, ExecutionSlot::Attention reason);
    /// The same for a caller that holds the mutex.
    static void notify_locked(ExecutionSlot& slot, ExecutionSlot::Attention reason);

private:
    std::mutex mutex_;
    ExecutionSlot* holder_ = nullptr;
    std::deque<ExecutionSlot*> queue_;
    std::atomic<uint32_t> waiting_{0};
    /// How many threads want the exclusive section; written under the mutex.
    std::atomic<uint32_t> exclusive_wanted_{0};
    std::condition_variable exclusive_wake_;
    std::condition_variable exclusive_done_;
};

}  // namespace halcyon
