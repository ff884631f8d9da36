/// The one way into a hypervisor: the entry stub, and the signal handler that closes its window.
///
/// A kick is "set the stop word, then signal the thread". Three things can be true of the vCPU's
/// thread when the signal is handled there:
///
/// 1. It has not yet loaded the stop word. The load will see it: the entry is refused.
/// 2. It is in the window: from the load up to and including the `syscall` instruction. The load
///    may have seen a zero; without help this kick is lost, and the guest runs until something else
///    ends the run. The handler sees from the interrupted program counter that the thread is in the
///    window, and moves it to the stub's abort label (the scheme of musl's cancellation points):
///    the entry is refused after all. Nothing is undone by that, because the stub has changed
///    nothing.
/// 3. The `syscall` has begun. Then a signal is pending in the kernel, which KVM_RUN and
///    MSHV_RUN_VP look for after their entry and before the guest runs: they return -EINTR, or an
///    exit that came with the signal. The caller handles the exit first and looks at the word
///    second.
///
/// It holds under these conditions, all established here or checked by tests:
/// - the handler is the only one that can run in a vCPU thread, but for synchronous faults
///   (`prepare_vcpu_thread_signals`), and blocks all signals while it runs;
/// - the stub is one piece of assembly, in no inlined or split copy;
/// - the word is cleared only by the vCPU's thread, before it looks for what is wanted.
///
/// docs/proof.md argues every case and names its test.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <csignal>
#include <cstdint>

#include "base/result.h"

namespace halcyon {

/// What the stub returns when it did not enter: distinct from every -errno (those are -1 to -4095).
inline constexpr long kRunEntryAborted = -4096;

#pragma GCC visibility push(hidden)
extern "C" {
/// Enters ioctl(fd, request, argument) unless *stop_word is set. Returns the ioctl's raw result
/// (-errno on failure), or kRunEntryAborted without having entered. Every kick signal that is
/// handled inside aborts the entry, whatever the word: a caller that must enter repeats it.
long halcyon_run_entry(int fd, unsigned long request, unsigned long argument,
                       const uint32_t* stop_word);
/// The window: from the load of the stop word up to and including `syscall` (the end is the address
/// after it); where to go instead; and the end of the stub's code.
extern const char halcyon_run_entry_window_begin[];
extern const char halcyon_run_entry_window_end[];
extern const char halcyon_run_entry_abort[];
extern const char halcyon_run_entry_end[];
}
#pragma GCC visibility pop

/// The signal that kicks: SIGURG, blocked in every thread but the vCPUs'. A standard signal,
/// because it is either pending or sent: a real-time signal is queued, and sending fails with
/// EAGAIN when the user's RLIMIT_SIGPENDING is used up. SIGURG, because by default it does nothing,
/// so that one from outside is harmless before the handler is there and after.
[[nodiscard]] int kick_signal();

/// Installs the handler; call once before the first vCPU thread, again is harmless. Never
/// SA_RESTART.
Result<void> install_kick_handler();

/// Unblocks the kick signal in the calling thread and blocks every other but those that a fault of
/// the thread itself raises (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, and SIGSYS, which a seccomp
/// filter raises): blocked, they would kill the process without a word, and their handlers cannot
/// run in the window unless the stub itself faults. For a vCPU thread before
/// `Vcpu::attach_thread`, or for the thread that starts it, whose mask it inherits.
Result<void> prepare_vcpu_thread_signals();

/// The stop word of one vCPU and the thread to signal; the common half of the backends' kicks.
///
/// A thread that has ended must not be signalled, since its id may have become another's. `detach`
/// before it ends sees to that, but for a kick that loaded the id just before. That one is
/// harmless: tgkill() names this process, so at worst it reaches another thread of it, where the
/// signal is blocked, or which is a vCPU's, for which a kick without a request is legal.
class KickTarget {
public:
    /// The calling thread is the one to signal from now on.
    void attach_current_thread();
    /// Nobody is to be signalled from now on; kicks still set the word.
    void detach();
    /// Whether the caller is the attached thread: then it is not in the hypervisor.
    [[nodiscard]] bool is_current_thread() const;
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
