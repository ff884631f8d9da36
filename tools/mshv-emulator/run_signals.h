/// The signals of a thread in the trap: which of the program's would interrupt the call, and the
/// emulator's own, which gets a vCPU out of KVM_RUN.
#pragma once

#include "tools/mshv-emulator/trap.h"

namespace halcyon::emulator {

/// The emulator's own signal, next to the last real-time one. It is sent only to threads that
/// are in the trap, where it is blocked everywhere but in KVM_RUN, and taken back before they leave
/// it: the program never sees one.
inline constexpr int kOwnSignal = 63;

constexpr KernelSigset signal_bit(int signal) {
    return KernelSigset{1} << (signal - 1);
}

/// Gives it a handler, which never runs: without one the kernel may take it for the process's end.
/// Once for the process; any thread.
void install_own_signal();

/// Sends it to a thread of this process.
void send_own_signal(int thread);
/// Takes back those that this thread has pending.
void drain_own_signal();

/// Whether a signal that the program has not blocked is pending for this thread. Those that it
/// ignores are dropped, as they would have been had the trap not blocked them.
bool program_signal_pending(KernelSigset blocked);

/// Waits for a signal that is not in `blocked`, or the emulator's own; it stays pending.
void wait_for_signal(KernelSigset blocked);

/// Sends the emulator's own signal to this thread once, after a time. For faults that must end.
class OwnSignalTimer {
public:
    explicit OwnSignalTimer(long nanoseconds);
    ~OwnSignalTimer();
    OwnSignalTimer(const OwnSignalTimer&) = delete;
    OwnSignalTimer& operator=(const OwnSignalTimer&) = delete;

private:
    int id_ = -1;
};

}  // namespace halcyon::emulator
