/// VcpuThread: one vCPU's thread and its states.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "accel/partition.h"
#include "accel/vcpu.h"
#include "base/result.h"
#include "machine/power_gate.h"

namespace halcyon {

/// created -> paused <-> running -> exited; from paused, running and exited -> stopping -> stopped.
enum class VcpuState : uint8_t {
    kCreated,   ///< the thread is not up yet
    kPaused,    ///< parked; registers may be read and written
    kRunning,   ///< in the run loop
    kExited,    ///< the guest cannot go on by itself (the reason was posted); parked as kPaused is
    kStopping,  ///< has left the run loop for good
    kStopped,   ///< joined
};

[[nodiscard]] std::string_view to_string(VcpuState state);

/// What the main thread wants of a vCPU.
enum class VcpuGoal : uint8_t { kPause, kRun, kEnd };

/// One request to a set of vCPUs, until each has acknowledged it. Made on the main thread, shared
/// with the vCPUs' threads.
class VcpuRound {
public:
    /// `complete` is called by the last vCPU to acknowledge, on its thread; at once when `count` is
    /// 0.
    VcpuRound(uint32_t count, std::function<void()> complete);
    void acknowledge();

private:
    std::atomic<uint32_t> remaining_;
    std::function<void()> complete_;
};

/// Owns a vCPU and the thread that runs it. Only the main thread asks for a transition, only the
/// vCPU's thread makes it, and each request is acknowledged. The run loop, the kick and the join
/// are here, once for all backends.
class VcpuThread {
public:
    /// Called on the vCPU's thread when the guest made it exit, before the thread parks.
    using OnExited = std::function<void(VcpuIndex, const RunOutcome&)>;

    /// `io` and `gate` outlive it. `on_start` runs on the thread before anything of the guest's.
    VcpuThread(VcpuIndex index, GuestIo& io, const PowerGate& gate, OnExited on_exited,
               std::function<void()> on_start = nullptr);
    /// Needs the thread to have been joined, or never launched.
    ~VcpuThread();
    VcpuThread(const VcpuThread&) = delete;
    VcpuThread& operator=(const VcpuThread&) = delete;

    /// Creates the vCPU in `partition` and starts the thread, which parks. Main thread.
    Result<void> launch(Partition& partition);
    /// Waits until the launched thread has parked for the first time, which is as long as its start
    /// takes: until then it has no id. A goal may be asked for earlier. Main thread.
    void wait_until_parked() { state_.wait(VcpuState::kCreated); }

    /// States a goal; the thread acknowledges `round` once it is reached. Replaces an unreached
    /// goal, whose round then never completes. A running vCPU does not notice before it is kicked.
    /// Main thread.
    void ask(VcpuGoal goal, std::shared_ptr<VcpuRound> round);
    /// The two halves of a kick, see Vcpu. Main thread.
    void set_stop() { vcpu_->set_stop(); }
    void kick();
    /// Kicks again, and counts it as what should not be necessary. Main thread.
    void rekick();
    /// Asks for a proof that the thread is not wedged: `round` is acknowledged when it next comes
    /// out of the guest or the hypervisor to look what is wanted, at once when it is not there.
    /// Replaces one that was not given, whose round then never completes. A running vCPU does not
    /// notice before it is kicked. Main thread.
    void ask_proof(std::shared_ptr<VcpuRound> round);
    /// Waits for the thread's end, and until the kernel has taken it off /proc: short once its kEnd
    /// round has completed, else as long as the vCPU takes to leave. Main thread.
    void join();
    /// Destroys the vCPU; after `join`. Main thread.
    void close_vcpu() { vcpu_.reset(); }

    [[nodiscard]] VcpuIndex index() const { return index_; }
    [[nodiscard]] VcpuState state() const { return state_.load(); }
    /// Whether the goal last asked for is reached.
    [[nodiscard]] bool acknowledged() const;
    /// Whether the proof last asked for was given.
    [[nodiscard]] bool proven() const;
    /// 0 until the thread is up and after `join`.
    [[nodiscard]] pid_t thread_id() const { return thread_id_.load(); }
    [[nodiscard]] uint64_t kicks() const { return kicks_; }
    [[nodiscard]] uint64_t rekicks() const { return rekicks_; }
    /// What the vCPU has been doing; null when its backend does not count, and after `close_vcpu`.
    [[nodiscard]] const VcpuCounters* counters() const {
        return vcpu_ ? vcpu_->counters() : nullptr;
    }
    /// For register access and reset while the thread is parked. Main thread.
    [[nodiscard]] Vcpu& vcpu() { return *vcpu_; }

private:
    class Io;

    Result<void> start_thread();
    void thread_main() noexcept;
    VcpuState run_parked();
    VcpuState run_guest();
    [[nodiscard]] VcpuGoal goal() const;
    /// Acknowledges the present goal if it is `goal`.
    void acknowledge(VcpuGoal goal);
    void give_proof();

    const VcpuIndex index_;
    const PowerGate& gate_;
    OnExited on_exited_;
    std::function<void()> on_start_;
    std::unique_ptr<Io> io_;
    std::unique_ptr<Vcpu> vcpu_;

    std::atomic<VcpuState> state_{VcpuState::kCreated};
    std::atomic<pid_t> thread_id_{0};
    uint64_t kicks_ = 0;    ///< main thread
    uint64_t rekicks_ = 0;  ///< main thread

    mutable std::mutex mutex_;  ///< guards goal_ and the rounds; a leaf
    std::condition_variable goal_changed_;
    VcpuGoal goal_ = VcpuGoal::kPause;
    std::shared_ptr<VcpuRound> round_;  ///< null once acknowledged
    std::shared_ptr<VcpuRound> proof_;  ///< null once given

    std::thread thread_;  ///< last, so that nothing above goes before it
};

}  // namespace halcyon
