/// The C library's functions by which a program would block SIGSYS or take its handler, either of
/// which ends it at the next trap. The program finds what it set; the kernel is not told. They are
/// defined under other names: the C library's headers may have macros of these.
#include "tools/mshv-emulator/interpose_signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

#include <atomic>

#include "tools/mshv-emulator/next.h"
#include "tools/mshv-emulator/trap.h"

namespace halcyon::emulator {
namespace {

using SetMask = int(int, const sigset_t*, sigset_t*);

// The state is that of the process and its threads, as the kernel's would be.
// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables)

/// Whether the program takes SIGSYS to be blocked in this thread.
thread_local bool t_sigsys_blocked = false;
/// Signals whose handlers the program wants to run with SIGSYS blocked.
std::atomic<KernelSigset> g_sigsys_in_mask{0};

/// The program's own action for SIGSYS.
std::atomic_flag g_action_lock = ATOMIC_FLAG_INIT;
struct sigaction g_action {};

// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

/// Holds g_action for a moment.
class ActionLock {
public:
    ActionLock() {
        while (g_action_lock.test_and_set(std::memory_order_acquire)) {
        }
    }
    ActionLock(const ActionLock&) = delete;
    ActionLock& operator=(const ActionLock&) = delete;
    ~ActionLock() { g_action_lock.clear(std::memory_order_release); }
};

/// A SIGSYS from elsewhere: what the program wanted done with it.
void program_sigsys(int signal, siginfo_t* info, void* context) {
    struct sigaction action {};
    {
        const ActionLock lock;
        action = g_action;
        if ((action.sa_flags & SA_RESETHAND) != 0) {
            g_action = {};
        }
    }
    if (action.sa_handler == SIG_IGN) {
        return;
    }
    if (action.sa_handler == SIG_DFL) {
        default_sigsys();
    } else if ((action.sa_flags & SA_SIGINFO) != 0) {
        action.sa_sigaction(signal, info, context);
    } else {
        action.sa_handler(signal);
    }
}

int set_sigsys_action(const struct sigaction* action, struct sigaction* old) {
    const ActionLock lock;
    const struct sigaction before = g_action;
    if (action != nullptr) {
        g_action = *action;
    }
    if (old != nullptr) {
        *old = before;
    }
    return 0;
}

/// Changes the mask without SIGSYS, and keeps what the program believes.
int set_mask(Next<SetMask>& next, int how, const sigset_t* set, sigset_t* old) {
    const bool was_blocked = t_sigsys_blocked;
    sigset_t without;
    bool has_sigsys = false;
    if (set != nullptr) {
        without = *set;
        has_sigsys = sigismember(set, SIGSYS) == 1;
        if (how != SIG_UNBLOCK) {
            sigdelset(&without, SIGSYS);
        }
    }
    const int result = next(how, set == nullptr ? nullptr : &without, old);
    if (result != 0) {
        return result;
    }
    if (old != nullptr && was_blocked) {
        sigaddset(old, SIGSYS);
    }
    if (set != nullptr && (has_sigsys || how == SIG_SETMASK)) {
        t_sigsys_blocked = has_sigsys && how != SIG_UNBLOCK;
    }
    return 0;
}

}  // namespace

void keep_sigsys() {
    set_foreign_sigsys_handler(program_sigsys);
}

#define EXPORT extern "C" [[gnu::visibility("default")]]

EXPORT int interposed_sigprocmask(int how, const sigset_t* set, sigset_t* old) asm("sigprocmask");
int interposed_sigprocmask(int how, const sigset_t* set, sigset_t* old) {
    static constinit Next<SetMask> next{"sigprocmask"};
    return set_mask(next, how, set, old);
}

EXPORT int interposed_pthread_sigmask(int how, const sigset_t* set,
                                      sigset_t* old) asm("pthread_sigmask");
int interposed_pthread_sigmask(int how, const sigset_t* set, sigset_t* old) {
    static constinit Next<SetMask> next{"pthread_sigmask"};
    return set_mask(next, how, set, old);
}

EXPORT int interposed_pthread_attr_setsigmask_np(
    pthread_attr_t* attributes, const sigset_t* set) asm("pthread_attr_setsigmask_np");
int interposed_pthread_attr_setsigmask_np(pthread_attr_t* attributes, const sigset_t* set) {
    static constinit Next<int(pthread_attr_t*, const sigset_t*)> next{"pthread_attr_setsigmask_np"};
    if (set == nullptr) {
        return next(attributes, set);
    }
    sigset_t without = *set;
    sigdelset(&without, SIGSYS);
    return next(attributes, &without);
}

EXPORT int interposed_sigaction(int signal, const struct sigaction* action,
                                struct sigaction* old) asm("sigaction");
int interposed_sigaction(int signal, const struct sigaction* action, struct sigaction* old) {
    static constinit Next<int(int, const struct sigaction*, struct sigaction*)> next{"sigaction"};
    if (signal == SIGSYS) {
        return set_sigsys_action(action, old);
    }
    if (signal < 1 || signal >= NSIG) {
        return next(signal, action, old);
    }
    const KernelSigset bit = KernelSigset{1} << (signal - 1);
    struct sigaction without {};
    bool has_sigsys = false;
    if (action != nullptr) {
        without = *action;
        has_sigsys = sigismember(&action->sa_mask, SIGSYS) == 1;
        sigdelset(&without.sa_mask, SIGSYS);
    }
    const int result = next(signal, action == nullptr ? nullptr : &without, old);
    if (result == 0) {
        const KernelSigset before = action == nullptr ? g_sigsys_in_mask.load()
                                    : has_sigsys      ? g_sigsys_in_mask.fetch_or(bit)
                                                      : g_sigsys_in_mask.fetch_and(~bit);
        if (old != nullptr && (before & bit) != 0) {
            sigaddset(&old->sa_mask, SIGSYS);
        }
    }
    return result;
}

EXPORT sighandler_t interposed_signal(int signal, sighandler_t handler) asm("signal");
sighandler_t interposed_signal(int signal, sighandler_t handler) {
    static constinit Next<sighandler_t(int, sighandler_t)> next{"signal"};
    if (signal != SIGSYS) {
        return next(signal, handler);
    }
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    struct sigaction old {};
    set_sigsys_action(&action, &old);
    return old.sa_handler;
}

}  // namespace halcyon::emulator
