/// ThreadProbe: what the kernel says one of our threads is doing.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>

namespace halcyon {

/// One look at /proc/self/task/TID. Any thread; costs a few file reads, so only for what is already
/// slow.
struct ThreadProbe {
    /// The state letter of proc(5): R runs or could, S sleeps, D waits uninterruptibly; '?' when
    /// the thread is gone.
    char state = '?';
    /// Processor time the thread has had in all.
    std::chrono::nanoseconds cpu_time{0};
    /// The system call it sleeps in; -1 when it is in none, or the kernel does not tell.
    long syscall = -1;
    /// The kernel function it sleeps in; empty when unknown or hidden.
    std::string wchan;
    /// Signals sent to this very thread that it has not taken yet: bit 0 is signal 1.
    uint64_t pending_signals = 0;

    [[nodiscard]] static ThreadProbe sample(pid_t thread_id);

    [[nodiscard]] bool is_pending(int signal) const {
        return (pending_signals >> (signal - 1) & 1) != 0;
    }
    /// For people: "thread 17 sleeps in kvm_vcpu_block (system call 16)".
    [[nodiscard]] std::string describe(pid_t thread_id) const;
};

}  // namespace halcyon
