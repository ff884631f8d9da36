#include "accel/run_entry.h"

#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <cerrno>

#if defined(__SANITIZE_THREAD__)
#define HALCYON_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HALCYON_THREAD_SANITIZER 1
#endif
#endif
#ifndef HALCYON_THREAD_SANITIZER
#define HALCYON_THREAD_SANITIZER 0
#endif

namespace halcyon {

namespace {

/// Runs in vCPU threads, between any two of their instructions: touches nothing but the interrupted
/// context. It does not ask whether a stop word is set: leaving the window for nothing costs one
/// turn of the caller's loop, looking for the word would cost a thread-local pointer to it.
///
/// Not instrumented: a sanitizer's runtime may be what was interrupted.
__attribute__((no_sanitize("thread", "address", "undefined"))) void on_kick(int /*signal*/,
                                                                            siginfo_t* /*info*/,
                                                                            void* context) {
    auto* interrupted = static_cast<ucontext_t*>(context);
    greg_t& rip = interrupted->uc_mcontext.gregs[REG_RIP];
    if (rip >= reinterpret_cast<greg_t>(halcyon_run_entry_window_begin) &&
        rip < reinterpret_cast<greg_t>(halcyon_run_entry_window_end)) {
        rip = reinterpret_cast<greg_t>(halcyon_run_entry_abort);
    }
}

#if HALCYON_THREAD_SANITIZER

extern "C" __attribute__((visibility("hidden"))) void halcyon_signal_return();

/// The kernel's struct sigaction (arch/x86/include/uapi/asm/signal.h), which glibc's is not.
struct KernelSigaction {
    void (*handler)(int, siginfo_t*, void*);
    unsigned long flags;
    void (*restorer)();
    uint64_t mask;
};

constexpr unsigned long kSaRestorer = 0x04000000;  // SA_RESTORER, same header

/// ThreadSanitizer replaces sigaction(): its own handler only notes the signal, and calls the
/// program's later, at a call it knows, with a stale context. The window cannot be closed from
/// there, so the handler is given to the kernel directly.
int install_handler(int signal) {
    KernelSigaction action{.handler = on_kick,
                           .flags = SA_SIGINFO | kSaRestorer,
                           .restorer = halcyon_signal_return,
                           .mask = ~uint64_t{0}};
    return static_cast<int>(
        ::syscall(SYS_rt_sigaction, signal, &action, nullptr, sizeof(action.mask)));
}

#else

int install_handler(int signal) {
    struct sigaction action {};
    action.sa_sigaction = on_kick;
    // No SA_RESTART: a kick is to interrupt. All signals masked: no other handler can run between
    // this one's look at the program counter and the return to it.
    action.sa_flags = SA_SIGINFO;
    ::sigfillset(&action.sa_mask);
    return ::sigaction(signal, &action, nullptr);
}

#endif

}  // namespace

int kick_signal() {
    return SIGURG;
}

Result<void> install_kick_handler() {
    if (install_handler(kick_signal()) != 0) {
        return Error::from_errno("cannot install the kick signal's handler");
    }
    return {};
}

Result<void> prepare_vcpu_thread_signals() {
    sigset_t blocked;
    ::sigfillset(&blocked);
    for (const int signal : {kick_signal(), SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) {
        ::sigdelset(&blocked, signal);
    }
    const int error = ::pthread_sigmask(SIG_SETMASK, &blocked, nullptr);
    if (error != 0) {
        return Error::from_errno("cannot set a vCPU thread's signal mask", error);
    }
    return {};
}

void KickTarget::attach_current_thread() {
    thread_.store(::gettid(), std::memory_order_seq_cst);
}

void KickTarget::detach() {
    thread_.store(0, std::memory_order_seq_cst);
}

bool KickTarget::is_current_thread() const {
    return thread_.load(std::memory_order_relaxed) == ::gettid();
}

void KickTarget::set() {
    word_.store(1, std::memory_order_seq_cst);
}

void KickTarget::kick() {
    // The word first: whoever handles the signal below has it. And if no thread is attached yet,
    // the one that attaches after this load finds the word at its first entry: word and thread are
    // stored and loaded in the one order of sequentially consistent operations.
    set();
    const pid_t thread = thread_.load(std::memory_order_seq_cst);
    if (thread == 0 || thread == ::gettid()) {
        return;
    }
    // Fails only with ESRCH, when the thread has ended: then there is nothing to stop. (A real-time
    // signal could also fail with EAGAIN, see kick_signal.)
    (void)::syscall(SYS_tgkill, ::getpid(), thread, kick_signal());
}

void KickTarget::clear() {
    word_.store(0, std::memory_order_seq_cst);
}

}  // namespace halcyon
