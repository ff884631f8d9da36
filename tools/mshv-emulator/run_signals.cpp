#include "tools/mshv-emulator/run_signals.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>

#include <cerrno>
#include <mutex>

namespace halcyon::emulator {

namespace {

constexpr long kSetSize = sizeof(KernelSigset);

/// What rt_sigaction takes; the kernel's struct sigaction.
struct KernelSigaction {
    void (*handler)(int);
    uint64_t flags;
    void (*restorer)();
    KernelSigset mask;
};

/// Those whose default is to do nothing (signal(7)).
constexpr KernelSigset kIgnoredByDefault =
    signal_bit(SIGCHLD) | signal_bit(SIGCONT) | signal_bit(SIGURG) | signal_bit(SIGWINCH);

bool take(KernelSigset set) {
    const timespec now{};
    return raw_syscall(SYS_rt_sigtimedwait, reinterpret_cast<long>(&set), 0,
                       reinterpret_cast<long>(&now), kSetSize) > 0;
}

bool is_ignored(int signal) {
    KernelSigaction action{};
    if (raw_syscall(SYS_rt_sigaction, signal, 0, reinterpret_cast<long>(&action), kSetSize) < 0) {
        return false;
    }
    return action.handler == SIG_IGN ||
           (action.handler == SIG_DFL && (kIgnoredByDefault & signal_bit(signal)) != 0);
}

}  // namespace

void install_own_signal() {
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action {};
        action.sa_handler = [](int) {};
        sigaction(kOwnSignal, &action, nullptr);
    });
}

void send_own_signal(int thread) {
    const long process = raw_syscall(SYS_getpid);
    // EAGAIN: the user has as many signals queued as the system allows.
    while (raw_syscall(SYS_tgkill, process, thread, kOwnSignal) == -EAGAIN) {
        raw_syscall(SYS_sched_yield);
    }
}

void drain_own_signal() {
    while (take(signal_bit(kOwnSignal))) {
    }
}

bool program_signal_pending(KernelSigset blocked) {
    KernelSigset pending = 0;
    raw_syscall(SYS_rt_sigpending, reinterpret_cast<long>(&pending), kSetSize);
    pending &= ~blocked & ~signal_bit(kOwnSignal);
    bool found = false;
    for (int signal = 1; pending != 0; ++signal, pending >>= 1) {
        if ((pending & 1) == 0) {
            continue;
        }
        if (is_ignored(signal)) {
            take(signal_bit(signal));
        } else {
            found = true;
        }
    }
    return found;
}

void wait_for_signal(KernelSigset blocked) {
    const KernelSigset wanted = ~blocked | signal_bit(kOwnSignal);
    const long fd = raw_syscall(SYS_signalfd4, -1, reinterpret_cast<long>(&wanted), kSetSize,
                                SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        raw_syscall(SYS_sched_yield);
        return;
    }
    pollfd ready{static_cast<int>(fd), POLLIN, 0};
    raw_syscall(SYS_ppoll, reinterpret_cast<long>(&ready), 1, 0, 0, kSetSize);
    raw_syscall(SYS_close, fd);
}

OwnSignalTimer::OwnSignalTimer(long nanoseconds) {
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = kOwnSignal;
    event._sigev_un._tid = static_cast<int>(raw_syscall(SYS_gettid));
    if (raw_syscall(SYS_timer_create, CLOCK_MONOTONIC, reinterpret_cast<long>(&event),
                    reinterpret_cast<long>(&id_)) < 0) {
        id_ = -1;
        return;
    }
    const itimerspec once{{}, {0, nanoseconds}};
    raw_syscall(SYS_timer_settime, id_, 0, reinterpret_cast<long>(&once));
}

OwnSignalTimer::~OwnSignalTimer() {
    if (id_ >= 0) {
        raw_syscall(SYS_timer_delete, id_);
        drain_own_signal();
    }
}

}  // namespace halcyon::emulator
