#include "accel/soft/soft_vcpu.h"

#include <cstring>
#include <utility>

#include "accel/soft/soft_partition.h"

namespace halcyon {

namespace {

/// Instructions between two looks at the timer: some tens of microseconds.
constexpr int64_t kTimerInterval = 1000;
/// Instructions before a waiting vCPU gets its turn: about a millisecond.
constexpr int64_t kSlice = 16 * kTimerInterval;

}  // namespace

Result<std::unique_ptr<SoftVcpu>> SoftVcpu::create(SoftPartition& partition, VcpuIndex index,
                                                   GuestIo& io) {
    std::unique_ptr<SoftVcpu> vcpu(new SoftVcpu(partition, index, io));
    vcpu->cpu_ = TRY(SoftCpu::create(partition.memory(), *vcpu, vcpu->slot_.attention));
    return vcpu;
}

SoftVcpu::SoftVcpu(SoftPartition& partition, VcpuIndex index, GuestIo& io)
    : partition_(partition),
      index_(index),
      io_(io),
      apic_(static_cast<uint8_t>(index.value())),
      state_(partition.has_local_apics() && index.value() != 0 ? State::kWaitForSipi
                                                               : State::kRunning) {}

SoftVcpu::~SoftVcpu() {
    partition_.remove(*this);
}

void SoftVcpu::set_stop() {
    slot_.attention.fetch_or(ExecutionSlot::kStop, std::memory_order_acq_rel);
}

void SoftVcpu::kick() {
    partition_.token().notify(slot_, ExecutionSlot::kStop);
}

void SoftVcpu::clear_stop() {
    slot_.attention.fetch_and(~static_cast<uint32_t>(ExecutionSlot::kStop),
                              std::memory_order_acq_rel);
}

RunOutcome SoftVcpu::run() {
    counters_.entries.increment();
    counters_.guest_time.enter();
    RunOutcome outcome = run_until_stopped();
    counters_.guest_time.leave();
    return outcome;
}

RunOutcome SoftVcpu::run_until_stopped() {
    ExecutionToken& token = partition_.token();
    Lock lock = token.lock();
    for (;;) {
        if (slot_.stop_set()) {
            return {RunStop::kKicked, {}};
        }
        if (init_wanted_) {
            take_init();
        }
        if (state_ == State::kTripleFaulted) {
            return {RunStop::kTripleFault, {}};
        }
        if (state_ != State::kRunning) {
            wait(lock);
            continue;
        }
        if (!token.acquire(lock, slot_)) {
            continue;
        }
        std::optional<RunOutcome> outcome = run_slice(lock);
        token.release(lock, slot_);
        if (outcome) {
            return *std::move(outcome);
        }
    }
}

/// INIT: the processor and its APIC as after power-on, but for APIC id, APIC base and the model
/// specific registers (Intel SDM 3A table 9-1).
void SoftVcpu::take_init() {
    init_wanted_ = false;
    nmi_wanted_ = false;
    apic_.init();
    cpu_->reset();
    state_ = index_.value() == 0 ? State::kRunning : State::kWaitForSipi;
}

/// One step of waiting, with a look at what may have ended it.
void SoftVcpu::wait(Lock& lock) {
    if (state_ == State::kWaitForSipi) {
        slot_.wake.wait(lock, [&] { return slot_.stop_set() || init_wanted_ || start_up_; });
        if (start_up_ && !slot_.stop_set() && !init_wanted_) {
            cpu_->start_up(*std::exchange(start_up_, std::nullopt));
            state_ = State::kRunning;
        }
        return;
    }
    const SoftClock& clock = partition_.clock();
    const auto woken = [&] {
        apic_.poll_timer(clock.now());
        return slot_.stop_set() || init_wanted_ || wakes();
    };
    while (!woken()) {
        const std::optional<int64_t> deadline = apic_.timer_deadline();
        if (deadline) {
            slot_.wake.wait_until(lock, clock.host_time(*deadline));
        } else {
            slot_.wake.wait(lock);
        }
    }
    if (wakes()) {
        state_ = State::kRunning;
    }
}

/// Whether something ends a HLT.
bool SoftVcpu::wakes() const {
    return (nmi_wanted_ && cpu_->nmi_allowed()) || (interrupt_waiting() && cpu_->interruptible());
}

bool SoftVcpu::interrupt_waiting() const {
    if (!partition_.has_local_apics()) {
        return index_.value() == 0 && partition_.extint();
    }
    return apic_.interrupt_pending() || apic_.ext_int_pending();
}

/// Executes with the token, until the slice is over (nothing) or `run` must return.
std::optional<RunOutcome> SoftVcpu::run_slice(Lock& lock) {
    int64_t left = kSlice;
    bool look = true;  // something may have come while this vCPU did not execute
    for (;;) {
        if (look) {
            slot_.attention.fetch_or(ExecutionSlot::kEvent, std::memory_order_relaxed);
            look = false;
        }
        if (slot_.attention.load(std::memory_order_acquire) != 0 && !answer_attention(lock)) {
            return leave_with(cpu_->pending_exit());
        }
        lock.unlock();
        const SoftCpu::Exit exit = cpu_->execute(kTimerInterval);
        lock.lock();
        apic_.poll_timer(partition_.clock().now());
        look = true;
        if (exit != SoftCpu::Exit::kBudget && exit != SoftCpu::Exit::kAttention) {
            return leave_with(exit);
        }
        left -= exit == SoftCpu::Exit::kBudget ? kTimerInterval : 0;
        if (left <= 0) {
            if (partition_.token().contended()) {
                return std::nullopt;
            }
            left = kSlice;
        }
    }
}

/// Turns the interpreter's exit into what `run` returns; nothing when the vCPU goes on later.
std::optional<RunOutcome> SoftVcpu::leave_with(SoftCpu::Exit exit) {
    switch (exit) {
        case SoftCpu::Exit::kAttention:
        case SoftCpu::Exit::kBudget:
            return std::nullopt;
        case SoftCpu::Exit::kHalt:
            counters_.halt_exits.increment();
            if (!partition_.has_local_apics()) {
                return RunOutcome{RunStop::kHalted, {}};
            }
            state_ = State::kHalted;
            return std::nullopt;
        case SoftCpu::Exit::kTripleFault:
            state_ = State::kTripleFaulted;
            return RunOutcome{RunStop::kTripleFault, {}};
        case SoftCpu::Exit::kUnsupported:
            return RunOutcome{RunStop::kFault, cpu_->unsupported_reason()};
    }
    return std::nullopt;
}

/// Deals with the attention word. False when the slice must end.
bool SoftVcpu::answer_attention(Lock& lock) {
    const uint32_t reasons =
        slot_.attention.fetch_and(ExecutionSlot::kStop, std::memory_order_acq_rel);
    if ((reasons & ExecutionSlot::kSafePoint) != 0) {
        partition_.token().safe_point(lock, slot_);
    }
    if ((reasons & ExecutionSlot::kStop) != 0 || slot_.stop_set() || init_wanted_) {
        return false;
    }
    inject(lock);
    if (cpu_->pending_exit() == SoftCpu::Exit::kTripleFault ||
        cpu_->pending_exit() == SoftCpu::Exit::kUnsupported) {
        return false;
    }
    return (reasons & ExecutionSlot::kYield) == 0 || !partition_.token().contended();
}

/// Delivers the most urgent event, if the processor takes one now. Gives the mutex up meanwhile.
void SoftVcpu::inject(Lock& lock) {
    nmi_wanted_ = apic_.take_nmi() || nmi_wanted_;
    if (nmi_wanted_) {
        if (!cpu_->nmi_allowed()) {
            cpu_->want_interrupt_window();
            return;
        }
        nmi_wanted_ = false;
        lock.unlock();  // the guest's stack may be a device
        cpu_->nmi();
        lock.lock();
        return;
    }
    if (!interrupt_waiting()) {
        return;
    }
    if (!cpu_->interruptible()) {
        cpu_->want_interrupt_window();
        return;
    }
    std::optional<uint8_t> vector;
    if (partition_.has_local_apics() && !apic_.ext_int_pending()) {
        vector = apic_.acknowledge();
        lock.unlock();
    } else {
        lock.unlock();
        leave_guest();
        vector = io_.acknowledge_extint();
        enter_guest();
    }
    if (vector) {
        cpu_->interrupt(*vector);  // without the mutex: the guest's stack may be a device
    }
    lock.lock();
    if (interrupt_waiting()) {
        cpu_->want_interrupt_window();
    }
}

void SoftVcpu::receive(const ApicMessage& message) {
    switch (message.mode) {
        case ApicMessage::kFixed:
        case ApicMessage::kLowestPriority:
            apic_.accept(message.vector, message.level_triggered);
            break;
        case ApicMessage::kNmi:
            nmi_wanted_ = true;
            break;
        case ApicMessage::kInit:
            init_wanted_ = true;
            start_up_.reset();  // one that arrives after this counts
            break;
        case ApicMessage::kStartUp:
            if (state_ == State::kWaitForSipi || init_wanted_) {
                start_up_ = message.vector;
            }
            break;
    }
    ExecutionToken::notify_locked(slot_, ExecutionSlot::kEvent);
}

void SoftVcpu::set_lint0(bool level) {
    apic_.set_lint0(level);
    if (level) {
        ExecutionToken::notify_locked(slot_, ExecutionSlot::kEvent);
    }
}

std::optional<CpuidRegisters> SoftVcpu::cpuid(uint32_t leaf, uint32_t) const {
    return SoftCpu::cpuid(leaf, static_cast<uint8_t>(index_.value()), partition_.has_local_apics());
}

Result<VcpuRegisters> SoftVcpu::registers() {
    const Lock lock = partition_.token().lock();
    return cpu_->registers();
}

Result<void> SoftVcpu::set_registers(const VcpuRegisters& registers) {
    if (!SoftCpu::can_run(registers)) {
        return Error("the soft backend runs real-mode and unpaged protected-mode guests only",
                     ErrorCode::kUnsupported);
    }
    const Lock lock = partition_.token().lock();
    cpu_->set_registers(registers);
    if (state_ == State::kTripleFaulted) {
        state_ = State::kRunning;
    }
    return {};
}

Result<void> SoftVcpu::reset() {
    const Lock lock = partition_.token().lock();
    const bool wired = index_.value() == 0 && partition_.extint();
    apic_.reset();
    apic_.set_lint0(wired);
    model_.reset();
    cpu_->reset();
    time_stamp_offset_ = 0 - static_cast<uint64_t>(partition_.clock().now());
    init_wanted_ = nmi_wanted_ = false;
    start_up_.reset();
    state_ =
        partition_.has_local_apics() && index_.value() != 0 ? State::kWaitForSipi : State::kRunning;
    return {};
}

}  // namespace halcyon
