#include "tools/mshv-emulator/run.h"

#include <atomic>
#include <cerrno>
#include <cstring>

#include "tools/mshv-emulator/log.h"
#include "tools/mshv-emulator/options.h"
#include "tools/mshv-emulator/partition.h"
#include "tools/mshv-emulator/register_page.h"
#include "tools/mshv-emulator/registers.h"

namespace halcyon::emulator {

namespace {

constexpr uint64_t kInterruptFlag = 1U << 9;
constexpr uint64_t kNmiWindow = 1U << 0;
constexpr uint64_t kInterruptWindow = 1U << 1;
constexpr uint32_t kTypeExternal = 0;
constexpr uint32_t kTypeNmi = 2;

/// How long the guest runs on with a signal pending, and how often one looks whether it has halted:
/// faults, which must not change what ends and what does not.
constexpr long kRunOnTime = 5'000'000;
constexpr long kHaltLookTime = 1'000'000;

/// A type that no hypervisor defines.
constexpr auto kUnknownType = static_cast<mshv::MessageType>(0x8001fff0);

bool window_is_open(const kvm_sync_regs& state) {
    const kvm_vcpu_events& events = state.events;
    return (state.regs.rflags & kInterruptFlag) != 0 && events.interrupt.shadow == 0 &&
           events.interrupt.injected == 0 && events.exception.injected == 0 &&
           events.nmi.injected == 0;
}

}  // namespace

Runner::Runner(Partition& partition, uint32_t vp_index, KvmVcpu& vcpu, bool has_sync)
    : partition_(partition),
      vp_index_(vp_index),
      physical_width_(partition.cpuid().physical_width()),
      vcpu_(vcpu),
      faults_(options().faults, vp_index),
      state_(vcpu, has_sync) {}

void Runner::set_pages(mshv::RegisterPage* registers, mshv::Message* message) {
    page_ = registers;
    message_page_ = message;
}

// ---- others' use of the vCPU -------------------------------------------------------------------

void Runner::settle(bool changes) {
    if (changes && pending_) {
        if (state_.load() == 0) {
            ExitSource source = make_source();
            pending_.end(vcpu_, state_, source);
        }
    }
    state_.flush();
}

void Runner::note_changes() {
    state_.forget();
    if (page_ != nullptr) {
        page_->is_valid = 0;
    }
}

// ---- RUN_VP ------------------------------------------------------------------------------------

long Runner::run(const TrapContext& context, mshv::Message& message) {
    gate_.begin_run();
    const long result = run_held(context);
    if (result == 0) {
        message = message_;
    }
    gate_.end_run();
    return result;
}

long Runner::run_held(const TrapContext& context) {
    control_.intercept_suspend = false;
    control_.explicit_suspend = false;
    Outcome outcome = begin();
    while (!outcome) {
        if (control_.explicit_suspend) {
            outcome = wait_while_suspended(context);
        } else {
            outcome = run_once(context);
        }
        if (!outcome) {
            gate_.let_others();
        }
    }
    if (*outcome == 0) {
        return end_with_message();
    }
    return *outcome == -EINTR || *outcome == -EAGAIN ? end_with_signal(*outcome) : *outcome;
}

Runner::Outcome Runner::begin() {
    if (const Outcome failed = take_over_page()) {
        return failed;
    }
    if (faults_.due(&FaultPlan::run_eagain)) {
        return -EAGAIN;
    }
    if (faults_.due(&FaultPlan::spurious_eintr)) {
        return -EINTR;
    }
    if (faults_.due(&FaultPlan::unknown_message) && state_.load() == 0) {
        return send(header_message(message_state(), kUnknownType, 0));
    }
    return std::nullopt;
}

/// What the program changed since the last message takes effect: with it, what KVM had begun ends.
Runner::Outcome Runner::take_over_page() {
    uint32_t dirty = 0;
    if (page_ != nullptr) {
        page_->is_valid = 0;
        dirty = std::atomic_ref(page_->dirty).exchange(0);
    }
    if (dirty == 0 && !pending_) {
        return std::nullopt;
    }
    if (const long error = state_.load(); error < 0) {
        return fail("KVM does not give registers", static_cast<uint64_t>(-error));
    }
    const kvm_regs before = state_.get().regs;
    kvm_regs wanted = before;
    kvm_sregs sregs = state_.get().sregs;
    const bool segments = dirty != 0 && import_registers(*page_, dirty, wanted, sregs);
    if (pending_ && (segments || !pending_.leave_to_kvm(before, wanted, vcpu_.run()))) {
        ExitSource source = make_source();
        if (const long error = pending_.end(vcpu_, state_, source); error < 0) {
            return fail("KVM does not end an access", static_cast<uint64_t>(-error));
        }
    }
    if ((dirty & (mshv::kDirtyGpr | mshv::kDirtyRip | mshv::kDirtyRflags)) != 0) {
        state_.change_regs() = wanted;
    }
    if ((dirty & mshv::kDirtyXmm) != 0) {
        import_vectors(*page_, exported_vectors_, vcpu_);
    }
    if (segments) {
        state_.flush();
        if (vcpu_.ioctl(KVM_SET_SREGS, &sregs) < 0) {
            return send(invalid_register_message(vp_index_));
        }
        state_.forget();
    }
    return std::nullopt;
}

void Runner::set_signal_mask(KernelSigset blocked) {
    blocked &= ~signal_bit(kOwnSignal);
    if (signal_mask_ != blocked && vcpu_.set_signal_mask(blocked) == 0) {
        signal_mask_ = blocked;
    }
}

/// What the program set and KVM would not take before the rest had followed.
Runner::Outcome Runner::load_pending() {
    if (!partition_.synthetic(vp_index_).pending_sregs) {
        return std::nullopt;
    }
    state_.flush();
    state_.forget();
    return load_pending_registers(partition_, vp_index_, vcpu_)
               ? std::nullopt
               : send(invalid_register_message(vp_index_));
}

long Runner::enter() {
    kvm_run& run = vcpu_.run();
    run.request_interrupt_window = (control_.notifications & kInterruptWindow) != 0 ? 1 : 0;
    partition_.interrupts().offer_ext_int(vp_index_, vcpu_);
    return gate_.run([this] {
        pending_.forget();
        return state_.run();
    });
}

Runner::Outcome Runner::run_once(const TrapContext& context) {
    if (const Outcome window = deliver_window()) {
        return window;
    }
    if (const Outcome inconsistent = load_pending()) {
        return inconsistent;
    }
    set_signal_mask(context.blocked);
    long result = 0;
    if (faults_.is_planned(&FaultPlan::halt_message) && partition_.has_local_apics()) {
        const OwnSignalTimer timer(kHaltLookTime);
        result = enter();
        if (result == -EINTR && is_halted() && faults_.due(&FaultPlan::halt_message) &&
            state_.load() == 0) {
            return send(header_message(message_state(), mshv::MessageType::kX64Halt, 1));
        }
    } else {
        result = enter();
    }
    return result == -EINTR ? interrupted(context) : handle_result(result);
}

Runner::Outcome Runner::interrupted(const TrapContext& context) {
    if (!program_signal_pending(context.blocked)) {
        return std::nullopt;  // the emulator's own, or another thread took it
    }
    if (faults_.due(&FaultPlan::message_with_signal)) {
        if (const Outcome message = run_on_despite_signal()) {
            return message;
        }
    }
    return -EINTR;
}

/// With all signals blocked: until the guest has a message, or for a time.
Runner::Outcome Runner::run_on_despite_signal() {
    set_signal_mask(~KernelSigset{0});
    const OwnSignalTimer timer(kRunOnTime);
    for (;;) {
        const long result = enter();
        if (result == -EINTR) {
            return std::nullopt;
        }
        if (const Outcome outcome = handle_result(result)) {
            return outcome;
        }
    }
}

/// Somebody wrote EXPLICIT_SUSPEND while the VP ran. The hypervisor stops it, without that the
/// waiting thread learns of it; the root kernel's scheduler clears it.
Runner::Outcome Runner::wait_while_suspended(const TrapContext& context) {
    if (options().scheduler == Scheduler::kRoot) {
        control_.explicit_suspend = false;
        return std::nullopt;
    }
    gate_.run([&context] {
        wait_for_signal(context.blocked);
        return -EINTR;
    });
    return program_signal_pending(context.blocked) ? Outcome(-EINTR) : std::nullopt;
}

/// DELIVERABILITY_NOTIFICATIONS: each once, when the guest would take the interruption.
Runner::Outcome Runner::deliver_window() {
    if ((control_.notifications & (kNmiWindow | kInterruptWindow)) == 0 || state_.load() < 0) {
        return std::nullopt;
    }
    const kvm_sync_regs& state = state_.get();
    if ((control_.notifications & kInterruptWindow) != 0 && window_is_open(state)) {
        control_.notifications &= ~kInterruptWindow;
        return send(deliverable_message(message_state(), kTypeExternal));
    }
    if ((control_.notifications & kNmiWindow) != 0 && state.events.nmi.masked == 0 &&
        state.events.nmi.pending == 0) {
        control_.notifications &= ~kNmiWindow;
        return send(deliverable_message(message_state(), kTypeNmi));
    }
    return std::nullopt;
}

bool Runner::is_halted() const {
    kvm_mp_state state{};
    return vcpu_.ioctl(KVM_GET_MP_STATE, &state) == 0 && state.mp_state == KVM_MP_STATE_HALTED;
}

// ---- the end -----------------------------------------------------------------------------------

void Runner::export_page(bool with_rest) {
    if (page_ == nullptr || state_.load() < 0) {
        return;
    }
    export_registers(*page_, state_.get(), vcpu_, with_rest);
    exported_vectors_ = page_vectors(*page_);
    page_->is_valid = faults_.due(&FaultPlan::page_invalid) ? 0 : 1;
}

long Runner::end_with_message() {
    control_.intercept_suspend = true;
    export_page(!is_port_access_ && uses_vectors_);
    if (message_page_ != nullptr) {
        *message_page_ = message_;
    }
    return 0;
}

long Runner::end_with_signal(long error) {
    // The root scheduler does not suspend the VP, so that the hypervisor leaves the page alone.
    if (options().scheduler == Scheduler::kHypervisor) {
        control_.explicit_suspend = true;
        export_page(true);
    }
    return error;
}

}  // namespace halcyon::emulator
