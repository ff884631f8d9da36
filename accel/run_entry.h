/// The one way into a hypervisor: the entry stub, and the signal handler that closes its window.
///
/// A kick is "set the stop word, then signal the thread". A signal between the check of the stop
/// word and the `syscall` instruction would be lost; here the handler sees from the interrupted
/// program counter that the thread is in that window and moves it to the stub's abort label (the
/// scheme of musl's cancellation points). docs/proof.md argues every case and names its test.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <csignal>
#include <cstdint>

#include "base/result.h"

namespace halcyon {

/// What the stub returns when it did not enter: distinct from every -errno (those are -1 to -4095).
inline constexpr long kRunEntryAborted = -4096;

extern "C" {
/// Enters ioctl(fd, request, argument) unless *stop_word is set. Returns the ioctl's raw result
/// (-errno on failure), or kRunEntryAborted without having entered.
long halcyon_run_entry(int fd, unsigned long request, unsigned long argument,
                       const uint32_t* stop_word);
/// The window: from the load of the stop word up to and including `syscall`; and where to go
/// instead.
extern const char halcyon_run_entry_window_begin[];
extern const char halcyon_run_entry_window_end[];
extern const char halcyon_run_entry_abort[];
}

/// The signal that kicks (SIGRTMIN). Blocked in every thread but the vCPUs'.
[[nodiscard]] int kick_signal();

/// Installs the handler; call once before the first vCPU thread, again is harmless. Never
/// SA_RESTART.
Result<void> install_kick_handler();

/// Blocks every signal in the calling thread but the kick signal, which it unblocks. For the start
/// of a vCPU thread, before `Vcpu::attach_thread`.
Result<void> prepare_vcpu_thread_signals();

/// The stop word of one vCPU and the thread to signal; the common half of the backends' kicks.
class KickTarget {
public:
    /// The calling thread is the one to signal from now on.
    void attach_current_thread();
    /// Stores the stop word.
    void set();
    /// Stores the stop word, then signals the thread if one is attached and it is not the caller.
    void kick();
    void clear();
    [[nodiscard]] bool is_set() const { return word_.load(std::memory_order_acquire) != 0; }
    /// For the entry stub.
    [[nodiscard]] const uint32_t* word() const { return reinterpret_cast<const uint32_t*>(&word_); }

private:
    static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));
    std::atomic<uint32_t> word_{0};
    std::atomic<pid_t> thread_{0};
};

}  // namespace halcyon
