/// Machine: the VM. Owns the partition, the vCPU threads, the board; holds the run state.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "accel/accelerator.h"
#include "base/event_loop.h"
#include "base/guest_memory.h"
#include "base/result.h"
#include "machine/background_task.h"
#include "machine/board.h"
#include "machine/guest_clock.h"
#include "machine/machine_config.h"
#include "machine/memory_dump.h"
#include "machine/memory_view.h"
#include "machine/power_gate.h"
#include "machine/run_state.h"
#include "machine/tick_rate.h"
#include "machine/vcpu_set.h"

namespace halcyon {

/// Told of what happens to the machine. Main thread; each call comes before the completion of the
/// request that caused it. An observer must not call back into the machine from inside.
class MachineObserver {
public:
    virtual ~MachineObserver() = default;
    virtual void on_stopped() = 0;  ///< QMP STOP
    virtual void on_resumed() = 0;  ///< QMP RESUME
    virtual void on_reset(ShutdownCause cause) = 0;
    virtual void on_powerdown() = 0;
    /// `Machine::run_state` has changed; the event that tells clients, if there is one, follows.
    virtual void on_run_state_changed(RunState state) { static_cast<void>(state); }
    /// The end has begun; told once. on_shutdown follows when all vCPUs have left.
    virtual void on_ending(ShutdownCause cause) { static_cast<void>(cause); }
    /// SHUTDOWN. The machine may go on (-no-shutdown) or `on_ended` follows.
    virtual void on_shutdown(ShutdownCause cause) = 0;
    /// Every vCPU thread is joined and the partition closed: the process should now end. Called
    /// once, after on_shutdown, and before the completions of the `quit` requests run.
    virtual void on_ended() = 0;
    /// The guest has set its real-time clock, which is now ahead of the host's by `offset`. Of many
    /// changes at once only the last may be told.
    virtual void on_rtc_changed(std::chrono::seconds offset) { static_cast<void>(offset); }
    /// The dump is over, well or not; before the guest runs on.
    virtual void on_dump_completed(const DumpStatus& status) { static_cast<void>(status); }
};

/// What `query-cpus-fast` and the statistics say of one vCPU.
struct VcpuInfo {
    VcpuIndex index;
    /// The Linux thread id; real, and gone once the machine has ended.
    pid_t thread_id = 0;
    /// The state's name: created, paused, running, exited, stopping, stopped.
    std::string_view state;
    /// Requests to leave the hypervisor, and how many of those were repeated because no
    /// acknowledgement came within 10 ms. The second should be 0 for ever.
    uint64_t kicks = 0;
    uint64_t rekicks = 0;
    /// Null when the backend does not count, and once the machine has ended; lives as long as the
    /// machine does not end.
    const VcpuCounters* counters = nullptr;
    /// `counters->guest_time`.
    std::chrono::nanoseconds guest_time{0};
};

/// One virtual machine. Main thread only, all of it. No call blocks: what must wait for vCPUs takes
/// a completion, called exactly once, on the main thread, possibly before the call returns.
/// Requests are carried out in order, one at a time, but `quit` overtakes all others: those still
/// waiting then fail.
class Machine {
public:
    using Done = std::function<void(Result<void>)>;

    /// Builds the whole machine: accelerator, partition, memory, devices, firmware, vCPU threads
    /// (which park). Nothing runs yet. `loop` and `observer` outlive it. Fails with a one-line
    /// reason and leaves nothing.
    static Result<std::unique_ptr<Machine>> create(MachineConfig config, EventLoop& loop,
                                                   MachineObserver& observer);
    /// Needs a machine that has ended, or whose vCPUs never left `created`/parked.
    ~Machine();
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    /// After the monitors listen, once, before any other request: waits for the vCPU threads to be
    /// up, then runs the guest unless -S or --preconfig.
    void start(Done done);
    /// x-exit-preconfig. Fails outside preconfig.
    void exit_preconfig(Done done);
    /// `stop`: completes when every vCPU is parked. Success without effect where there is nothing
    /// to stop.
    void pause(Done done);
    /// `cont`: fails in internal-error and shutdown ("Resetting the Virtual Machine is required").
    void resume(Done done);
    /// `system_reset`: from running it runs on; from any other state it ends in prelaunch, as in
    /// QEMU.
    void reset(Done done);
    /// `system_powerdown`: presses the ACPI power button. Tells the observer; what the guest does
    /// is its own affair.
    void power_button();
    /// Ends the machine: kicks all vCPUs, joins them, closes devices and partition, tells the
    /// observer, completes. May be called again meanwhile. When a vCPU does not leave in time,
    /// completes with an Error naming it and where its thread is; the end still comes, and is told
    /// to the observer, if the vCPU leaves later.
    void quit(ShutdownCause cause, Done done);

    /// Reads the registers of a vCPU, for which all are parked for a moment; no event tells of it.
    /// `use` is called as a completion is. Fails when there is no such vCPU.
    void read_registers(VcpuIndex index, std::function<void(Result<VcpuRegisters>)> use);
    /// The same for all vCPUs at one moment, by their numbers.
    void read_all_registers(std::function<void(Result<std::vector<VcpuRegisters>>)> use);
    /// Runs `work` on a thread of its own, and completes with its result. The machine does not end
    /// before: an end cancels it. The work may read a `memory()` taken here.
    void run_in_background(std::string name, BackgroundTask::Work work, Done done);
    /// `dump-guest-memory`: stops the guest (save-vm), writes its memory in the background, lets it
    /// run on. Completes when that is done, or begun if it is to be detached. Meanwhile `pause`,
    /// `resume`, `reset` and another dump fail.
    void dump(DumpOptions options, Done done);
    /// Whether a dump has been asked for and is not over.
    [[nodiscard]] bool dumping() const { return dumping_; }
    /// The latest dump.
    [[nodiscard]] DumpStatus dump_status() const;

    /// Completes when every vCPU that runs has answered a kick; see VcpuSet::prove_alive. Never,
    /// once the end has begun.
    void prove_vcpus_alive(std::function<void()> done);
    /// The first vCPU that owes the answer; empty when none.
    [[nodiscard]] std::string describe_unproven_vcpu() const { return vcpus_.describe_unproven(); }

    /// -no-reboot and -no-shutdown, also changed by set-action.
    void set_no_reboot(bool value) { config_.no_reboot = value; }
    void set_no_shutdown(bool value) { config_.no_shutdown = value; }

    [[nodiscard]] RunState run_state() const { return run_state_; }
    /// The end has begun, or is over.
    [[nodiscard]] bool quitting() const { return ending_; }
    /// How much an end still waits for: vCPUs that have not left and work in the background. 0 once
    /// it has ended.
    [[nodiscard]] size_t awaited_by_end() const;
    [[nodiscard]] const MachineConfig& config() const { return config_; }
    /// Null for board "none".
    [[nodiscard]] const Accelerator* accelerator() const { return accelerator_; }
    [[nodiscard]] std::vector<VcpuInfo> vcpus();
    /// The memory that the guest sees; nothing for board "none" and once the machine has ended.
    [[nodiscard]] MemoryView memory() const { return board_ ? board_->memory() : MemoryView(); }
    /// The PCI bus; null for board "none" and once the machine has ended.
    [[nodiscard]] const PciBus* pci_bus() const { return board_ ? board_->pci_bus() : nullptr; }
    /// What CPUID shows vCPU 0; nothing when there is none, or its backend cannot tell.
    [[nodiscard]] std::optional<CpuidRegisters> cpuid(uint32_t leaf, uint32_t subleaf) const;
    /// Delivers a non-maskable interrupt to every vCPU (inject-nmi). Fails once the machine has
    /// ended.
    Result<void> inject_nmi();
    /// The board, for what it tells of itself; null for board "none" and once the machine has
    /// ended.
    [[nodiscard]] Board* board() { return board_.get(); }

private:
    struct Request {
        std::function<void()> begin;  ///< null once under way
        Done done;
    };

    Machine(MachineConfig config, EventLoop& loop, MachineObserver& observer);
    Result<void> build_pc();
    Result<void> launch_vcpus();

    // Requests run one at a time: `begin` leads, by itself or through a fan-out, to one `finish`.
    void enqueue(std::function<void()> begin, Done done);
    void run_requests();
    void finish(Result<void> result);
    /// Fails the request under way and those waiting.
    void abandon_requests();

    /// Parks all vCPUs and the guest's time, then `next`.
    void park_guest(std::function<void()> next);
    /// Lets time and vCPUs run, then finishes the request under way.
    void run_guest();
    void set_run_state(RunState state);
    /// For a request under way whose guest is parked. The observer is told if it was running.
    void stop_in(RunState state);
    void reset_parked(ShutdownCause cause, bool run_on);

    // What a guest asks for, or runs into. The first three on vCPU threads, the rest on the main
    // thread.
    void on_rtc_set(std::chrono::seconds offset);
    void on_power_request();
    void on_vcpu_exited(VcpuIndex index, const RunOutcome& outcome);
    void handle_power_request();
    void handle_shutdown(ShutdownCause cause);
    void handle_vcpu_fault(VcpuIndex index, const std::string& detail);
    /// Posts `task` to the main thread, to run only if the machine still is.
    void post(std::function<void()> task);

    /// Of all vCPUs, which are parked.
    Result<std::vector<VcpuRegisters>> parked_registers();
    // The steps of `dump`.
    void enqueue_dump(std::shared_ptr<MemoryDump> dump, Done done);
    void begin_dump(const std::shared_ptr<Done>& reply, bool was_running);
    void conclude_dump(const std::shared_ptr<Done>& reply, Result<void> result, bool was_running);
    [[nodiscard]] static Error dump_in_process();

    void begin_end(ShutdownCause cause);
    void on_quit_timeout();
    /// Ends the machine if nothing is left to be waited for.
    void try_finish_end();
    void finish_end();
    void complete_quits(const Result<void>& result);

    MachineConfig config_;
    EventLoop& loop_;
    MachineObserver& observer_;
    RunState run_state_ = RunState::kPrelaunch;

    std::deque<Request> requests_;  ///< the first is under way
    bool in_run_requests_ = false;
    bool dumping_ = false;              ///< from the request to the end of a dump
    std::shared_ptr<MemoryDump> dump_;  ///< the latest; null when there was none
    bool ending_ = false;
    bool vcpus_ended_ = false;
    bool ended_ = false;
    ShutdownCause end_cause_ = ShutdownCause::kHostQmpQuit;
    std::vector<Done> quit_waiters_;
    std::unique_ptr<LoopTimer> quit_timer_;
    std::shared_ptr<bool> alive_;  ///< expires with the machine: posted tasks then do nothing

    // Built in this order, and gone in the opposite one: no vCPU outlives what it calls into.
    const Accelerator* accelerator_ = nullptr;
    MachineClock clock_;
    PowerGate power_gate_;
    GuestMemory memory_;
    std::unique_ptr<Partition> partition_;
    bool time_frozen_ = false;
    TickRate tick_rate_;
    std::atomic<std::chrono::seconds> rtc_offset_{};
    std::atomic<bool> rtc_change_posted_ = false;  ///< and not yet told
    std::unique_ptr<Board> board_;
    VcpuSet vcpus_;
    /// They read the memory.
    std::vector<std::unique_ptr<BackgroundTask>> tasks_;
};

}  // namespace halcyon
