#include "machine/vcpu_thread.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <system_error>
#include <utility>

#include "accel/run_entry.h"
#include "base/log.h"
#include "devices/device.h"
#include "machine/trace_events.h"

namespace halcyon {

namespace {

/// Restores the calling thread's signal mask.
class SignalMaskGuard {
public:
    SignalMaskGuard() { ::pthread_sigmask(SIG_SETMASK, nullptr, &mask_); }
    ~SignalMaskGuard() { ::pthread_sigmask(SIG_SETMASK, &mask_, nullptr); }
    SignalMaskGuard(const SignalMaskGuard&) = delete;
    SignalMaskGuard& operator=(const SignalMaskGuard&) = delete;

private:
    sigset_t mask_{};
};

}  // namespace

std::string_view to_string(VcpuState state) {
    switch (state) {
        case VcpuState::kCreated:
            return "created";
        case VcpuState::kPaused:
            return "paused";
        case VcpuState::kRunning:
            return "running";
        case VcpuState::kExited:
            return "exited";
        case VcpuState::kStopping:
            return "stopping";
        case VcpuState::kStopped:
            return "stopped";
    }
    return "?";
}

VcpuRound::VcpuRound(uint32_t count, std::function<void()> complete)
    : remaining_(count), complete_(std::move(complete)) {
    if (count == 0) {
        complete_();
    }
}

void VcpuRound::acknowledge() {
    if (remaining_.fetch_sub(1) == 1) {
        complete_();
    }
}

/// The board's GuestIo as one vCPU sees it: after a write that made a device ask for a reset or a
/// power-off, this vCPU leaves the run before its next instruction.
class VcpuThread::Io : public GuestIo {
public:
    Io(GuestIo& board, const VcpuThread& thread) : board_(board), thread_(thread) {}

    void pio_read(PioPort port, std::span<std::byte> data) override {
        board_.pio_read(port, data);
        tell(trace::pio_read, port.value(), data);
    }
    void pio_write(PioPort port, std::span<const std::byte> data) override {
        board_.pio_write(port, data);
        tell(trace::pio_write, port.value(), data);
        leave_if_requested();
    }
    void mmio_read(Gpa address, std::span<std::byte> data) override {
        board_.mmio_read(address, data);
        tell(trace::mmio_read, address.value(), data);
    }
    void mmio_write(Gpa address, std::span<const std::byte> data) override {
        board_.mmio_write(address, data);
        tell(trace::mmio_write, address.value(), data);
        leave_if_requested();
    }
    std::optional<uint8_t> acknowledge_extint() override { return board_.acknowledge_extint(); }
    void end_of_interrupt(uint8_t vector) override { board_.end_of_interrupt(vector); }

private:
    void tell(const TraceEvent& event, uint64_t address, std::span<const std::byte> data) const {
        TRACE(event, "vcpu {} address {:#x} size {} value {:#x}", thread_.index_.value(), address,
              data.size(), load_le(data.first(std::min<size_t>(data.size(), 8))));
    }
    void leave_if_requested() {
        if (thread_.gate_.pending()) [[unlikely]] {
            thread_.vcpu_->set_stop();
        }
    }

    GuestIo& board_;
    const VcpuThread& thread_;
};

VcpuThread::VcpuThread(VcpuIndex index, GuestIo& io, const PowerGate& gate, OnExited on_exited,
                       std::function<void()> on_start)
    : index_(index),
      gate_(gate),
      on_exited_(std::move(on_exited)),
      on_start_(std::move(on_start)),
      io_(std::make_unique<Io>(io, *this)) {}

VcpuThread::~VcpuThread() = default;

Result<void> VcpuThread::launch(Partition& partition) {
    vcpu_ = TRY(partition.create_vcpu(index_, *io_));
    Result<void> started = start_thread();
    if (!started) {
        vcpu_.reset();
    }
    return started;
}

Result<void> VcpuThread::start_thread() {
    // A thread inherits the signal mask of the one that starts it, so what could fail does so here.
    const SignalMaskGuard restored_afterwards;
    TRY(prepare_vcpu_thread_signals());
    try {
        thread_ = std::thread([this] { thread_main(); });
    } catch (const std::system_error& failure) {
        return Error::from_errno(
            "cannot start the thread of vCPU " + std::to_string(index_.value()),
            failure.code().value());
    }
    return {};
}

void VcpuThread::ask(VcpuGoal goal, std::shared_ptr<VcpuRound> round) {
    {
        const std::lock_guard lock(mutex_);
        goal_ = goal;
        round_ = std::move(round);
    }
    goal_changed_.notify_one();
}

void VcpuThread::kick() {
    ++kicks_;
    TRACE(trace::vcpu_kick, "vcpu {} state {}", index_.value(), to_string(state()));
    vcpu_->kick();
}

void VcpuThread::rekick() {
    ++rekicks_;
    kick();
}

void VcpuThread::join() {
    thread_.join();
    // The join returns when the kernel has cleared the thread's id in our memory, which is shortly
    // before it takes the thread off /proc. Whoever is told that the thread is gone must not find
    // it there.
    while (::syscall(SYS_tgkill, ::getpid(), thread_id_.load(), 0) == 0) {
        ::sched_yield();
    }
    thread_id_.store(0);
    state_.store(VcpuState::kStopped);
}

void VcpuThread::ask_proof(std::shared_ptr<VcpuRound> round) {
    {
        const std::lock_guard lock(mutex_);
        proof_ = std::move(round);
    }
    // The thread first makes its state known, then looks for this: one of the two sees the other.
    if (state_.load() != VcpuState::kRunning) {
        give_proof();
    }
}

void VcpuThread::give_proof() {
    std::shared_ptr<VcpuRound> proof;
    {
        const std::lock_guard lock(mutex_);
        proof = std::exchange(proof_, nullptr);
    }
    if (proof) {
        proof->acknowledge();
    }
}

bool VcpuThread::proven() const {
    const std::lock_guard lock(mutex_);
    return proof_ == nullptr;
}

bool VcpuThread::acknowledged() const {
    const std::lock_guard lock(mutex_);
    return round_ == nullptr;
}

void VcpuThread::acknowledge(VcpuGoal goal) {
    std::shared_ptr<VcpuRound> round;
    {
        const std::lock_guard lock(mutex_);
        if (goal_ != goal) {
            return;
        }
        round = std::exchange(round_, nullptr);
    }
    if (round) {
        round->acknowledge();
    }
}

void VcpuThread::thread_main() noexcept {
    thread_id_.store(::gettid());
    ::pthread_setname_np(::pthread_self(), ("vcpu" + std::to_string(index_.value())).c_str());
    const LogScope log_scope("VCPU", std::to_string(index_.value()));
    vcpu_->attach_thread();
    if (on_start_) {
        on_start_();
    }
    VcpuState state = VcpuState::kPaused;
    while (state != VcpuState::kStopping) {
        state_.store(state);
        state_.notify_all();
        give_proof();
        state = state == VcpuState::kRunning ? run_guest() : run_parked();
    }
    vcpu_->detach_thread();
    state_.store(state);
    state_.notify_all();
    give_proof();
    acknowledge(VcpuGoal::kEnd);
}

VcpuState VcpuThread::run_parked() {
    std::unique_lock lock(mutex_);
    // Only a new request leads out: a vCPU that exited by itself still has the goal to run.
    while (round_ == nullptr || goal_ == VcpuGoal::kPause) {
        if (round_ == nullptr) {
            goal_changed_.wait(lock);
        } else {
            lock.unlock();
            acknowledge(VcpuGoal::kPause);
            lock.lock();
        }
    }
    return goal_ == VcpuGoal::kRun ? VcpuState::kRunning : VcpuState::kStopping;
}

VcpuState VcpuThread::run_guest() {
    while (true) {
        // First clear the stop word, then look for what is wanted: a request stored before its kick
        // is never missed.
        vcpu_->clear_stop();
        acknowledge(VcpuGoal::kRun);
        give_proof();
        switch (goal()) {
            case VcpuGoal::kPause:
                return VcpuState::kPaused;
            case VcpuGoal::kEnd:
                return VcpuState::kStopping;
            case VcpuGoal::kRun:
                break;
        }
        if (gate_.pending()) {
            return VcpuState::kExited;
        }
        TRACE(trace::vcpu_run, "vcpu {}", index_.value());
        const RunOutcome outcome = vcpu_->run();
        TRACE(trace::vcpu_stop, "vcpu {} {}{}{}", index_.value(), to_string(outcome.stop),
              outcome.detail.empty() ? "" : ": ", outcome.detail);
        if (outcome.stop != RunStop::kKicked) {
            on_exited_(index_, outcome);
            return VcpuState::kExited;
        }
    }
}

VcpuGoal VcpuThread::goal() const {
    const std::lock_guard lock(mutex_);
    return goal_;
}

}  // namespace halcyon
