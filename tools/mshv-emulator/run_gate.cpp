#include "tools/mshv-emulator/run_gate.h"

#include <sys/syscall.h>

#include "tools/mshv-emulator/trap.h"

namespace halcyon::emulator {

void RunGate::enter() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    if (in_guest_ && !is_called_) {
        // Only under the lock and while it is in there: its thread takes the signal back before
        // it goes on, so that the program cannot see it.
        send_own_signal(thread_);
        is_called_ = true;
    }
    changed_.wait(lock, [this] { return !is_taken_; });
    is_taken_ = true;
}

void RunGate::leave() {
    const std::lock_guard lock(mutex_);
    --waiting_;
    is_taken_ = false;
    changed_.notify_all();
}

void RunGate::begin_run() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_ == 0 && !is_taken_; });
    is_taken_ = true;
    thread_ = static_cast<int>(raw_syscall(SYS_gettid));
}

void RunGate::end_run() {
    const std::lock_guard lock(mutex_);
    is_taken_ = false;
    changed_.notify_all();
}

bool RunGate::let_others() {
    std::unique_lock lock(mutex_);
    if (waiting_ == 0) {
        return false;
    }
    is_taken_ = false;
    changed_.notify_all();
    changed_.wait(lock, [this] { return waiting_ == 0 && !is_taken_; });
    is_taken_ = true;
    return true;
}

bool RunGate::enter_guest() {
    const std::lock_guard lock(mutex_);
    in_guest_ = waiting_ == 0;
    return in_guest_;
}

void RunGate::leave_guest() {
    const std::lock_guard lock(mutex_);
    in_guest_ = false;
    if (is_called_) {
        drain_own_signal();
        is_called_ = false;
    }
}

}  // namespace halcyon::emulator
