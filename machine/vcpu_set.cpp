#include "machine/vcpu_set.h"

#include <sys/syscall.h>

#include <algorithm>
#include <string>
#include <utility>

#include "accel/run_entry.h"
#include "base/log.h"
#include "machine/thread_probe.h"

namespace halcyon {

namespace {

/// Whether a kick that is not acknowledged after the interval could have been lost. Not so while
/// - the thread waits for a processor, for a lock inside a device, or writes the log: it meets the
///   stop word before it next enters the hypervisor;
/// - it waits uninterruptibly: it looks for signals afterwards, and another is no help;
/// - the signal is pending: the kernel delivers it before the thread is in the guest again. On a
///   host that is a guest itself, processor time may pass on paper meanwhile, hence the patience,
///   but a kernel that ignores the signal is not to stay unseen.
bool may_be_lost(const ThreadProbe& probe, std::chrono::nanoseconds cpu_time_since) {
    constexpr int kPatience = 10;
    switch (probe.state) {
        case 'R':
            return cpu_time_since >=
                   VcpuSet::kRekickInterval * (probe.is_pending(kick_signal()) ? kPatience : 1);
        case 'S':
            return probe.syscall != SYS_futex && probe.syscall != SYS_write;
        default:
            return false;
    }
}

}  // namespace

VcpuSet::VcpuSet(EventLoop& loop)
    : loop_(loop),
      alive_(std::make_shared<bool>(true)),
      rekick_timer_(loop.make_timer([this] { on_rekick_due(); })) {}

void VcpuSet::ask_all(VcpuGoal goal, std::function<void()> done) {
    const uint64_t number = ++round_number_;
    done_ = std::move(done);
    auto complete = [this, number, alive = std::weak_ptr(alive_), &loop = loop_] {
        loop.post([this, number, alive] {
            if (!alive.expired() && number == round_number_) {
                rekick_timer_->cancel();
                std::exchange(done_, nullptr)();
            }
        });
    };
    const auto round =
        std::make_shared<VcpuRound>(static_cast<uint32_t>(threads_.size()), std::move(complete));
    for (const auto& thread : threads_) {
        thread->ask(goal, round);
    }
    if (goal == VcpuGoal::kRun) {
        rekick_timer_->cancel();
        return;
    }
    for (const auto& thread : threads_) {
        thread->set_stop();
    }
    for (const auto& thread : threads_) {
        thread->kick();
    }
    watches_.assign(threads_.size(), {});
    rekick_timer_->arm(loop_.now() + kRekickInterval);
}

void VcpuSet::prove_alive(std::function<void()> done) {
    const uint64_t number = ++proof_number_;
    proof_done_ = std::move(done);
    auto complete = [this, number, alive = std::weak_ptr(alive_), &loop = loop_] {
        loop.post([this, number, alive] {
            if (!alive.expired() && number == proof_number_) {
                std::exchange(proof_done_, nullptr)();
            }
        });
    };
    const auto round =
        std::make_shared<VcpuRound>(static_cast<uint32_t>(threads_.size()), std::move(complete));
    std::vector<VcpuThread*> owing;
    for (const auto& thread : threads_) {
        thread->ask_proof(round);
        if (!thread->proven()) {
            owing.push_back(thread.get());
        }
    }
    for (VcpuThread* thread : owing) {
        thread->set_stop();
    }
    for (VcpuThread* thread : owing) {
        thread->kick();
    }
}

std::string VcpuSet::describe_unproven() const {
    const auto owing =
        std::ranges::find_if(threads_, [](const auto& thread) { return !thread->proven(); });
    if (owing == threads_.end()) {
        return {};
    }
    const pid_t thread_id = (*owing)->thread_id();
    return "vCPU " + std::to_string((*owing)->index().value()) + " (" +
           ThreadProbe::sample(thread_id).describe(thread_id) + ")";
}

void VcpuSet::on_rekick_due() {
    for (size_t i = 0; i < threads_.size(); ++i) {
        VcpuThread& thread = *threads_[i];
        if (thread.acknowledged()) {
            continue;
        }
        const ThreadProbe probe = ThreadProbe::sample(thread.thread_id());
        Watch& watch = watches_[i];
        watch.last = probe;
        const auto since = probe.cpu_time - watch.cpu_time.value_or(probe.cpu_time);
        watch.cpu_time = watch.cpu_time.value_or(probe.cpu_time);
        if (may_be_lost(probe, since) && !thread.acknowledged()) {
            const LogScope log_scope("VCPU", std::to_string(thread.index().value()));
            LOG_GUEST("vCPU {} has not acknowledged a kick: {}; kicking again",
                      thread.index().value(), probe.describe(thread.thread_id()));
            thread.rekick();
            watch.cpu_time = probe.cpu_time;
        }
    }
    rekick_timer_->arm(loop_.now() + kRekickInterval);
}

std::string VcpuSet::describe_unacknowledged() const {
    for (size_t i = 0; i < threads_.size(); ++i) {
        const VcpuThread& thread = *threads_[i];
        if (!thread.acknowledged()) {
            // As it was seen before the latest kick, which may have it run for a moment.
            const auto seen = i < watches_.size() ? watches_[i].last : std::nullopt;
            const ThreadProbe probe = seen ? *seen : ThreadProbe::sample(thread.thread_id());
            return "vCPU " + std::to_string(thread.index().value()) + " (" +
                   probe.describe(thread.thread_id()) + ")";
        }
    }
    return {};
}

size_t VcpuSet::count_unacknowledged() const {
    return static_cast<size_t>(std::ranges::count_if(
        threads_, [](const auto& thread) { return !thread->acknowledged(); }));
}

void VcpuSet::join_all() {
    rekick_timer_->cancel();
    for (const auto& thread : threads_) {
        thread->join();
        thread->close_vcpu();
    }
}

}  // namespace halcyon
