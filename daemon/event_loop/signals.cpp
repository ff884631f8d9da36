#include "daemon/event_loop/signals.h"

#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <utility>

#include "accel/run_entry.h"

namespace halcyon {

int poweroff_signal() {
    return SIGRTMIN + 4;
}

Result<std::unique_ptr<SignalSource>> SignalSource::create() {
    sigset_t routed;
    sigemptyset(&routed);
    for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGCONT, poweroff_signal()}) {
        // A parent may have them ignored (a shell does for background jobs); ignored signals do
        // not reach a signalfd.
        struct sigaction action {};
        action.sa_handler = SIG_DFL;
        sigaction(number, &action, nullptr);
        sigaddset(&routed, number);
    }
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &ignore, nullptr);

    sigset_t blocked = routed;
    sigaddset(&blocked, kick_signal());
    const int failure = pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
    if (failure != 0) {
        return Error::from_errno("cannot block signals", failure);
    }
    UniqueFd fd(signalfd(-1, &routed, SFD_NONBLOCK | SFD_CLOEXEC));
    if (!fd) {
        return Error::from_errno("cannot create the signal descriptor");
    }
    return std::unique_ptr<SignalSource>(new SignalSource(std::move(fd)));
}

SignalSource::Waiting SignalSource::take() {
    Waiting waiting;
    signalfd_siginfo info{};
    while (read(fd_.get(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
        if (info.ssi_signo == SIGCONT) {
            waiting.resumed = true;
        } else if (static_cast<int>(info.ssi_signo) == poweroff_signal()) {
            waiting.poweroff = true;
        } else {
            waiting.end = true;
        }
    }
    return waiting;
}

bool SignalSource::take_end_request() {
    return take().end;
}

Result<void> SignalSource::watch(MainLoop& loop, Actions actions) {
    watch_ = TRY(loop.watch(
        fd_.get(),
        [this, actions = std::move(actions)] {
            const Waiting waiting = take();
            watch_->wait_readable();
            if (waiting.resumed) {
                actions.resumed();
            }
            if (waiting.poweroff) {
                actions.poweroff();
            }
            if (waiting.end) {
                actions.end();
            }
        },
        [] {}));
    watch_->wait_readable();
    return {};
}

}  // namespace halcyon
