/// RunGate: who uses a VP's KVM vCPU. One at a time: RUN_VP, which gives it up for anyone else who
/// wants it, getting out of KVM_RUN if need be.
#pragma once

#include <condition_variable>
#include <mutex>

#include "tools/mshv-emulator/run_signals.h"

namespace halcyon::emulator {

class RunGate {
public:
    /// For a short use of the vCPU: waits until RUN_VP has let go of it. Any thread but the one in
    /// RUN_VP. Uses do not nest.
    void enter();
    void leave();

    /// RUN_VP's begin and end: the vCPU is the calling thread's, but for where it says otherwise.
    void begin_run();
    void end_run();
    /// Lets those who wait use the vCPU. Whether there were any.
    bool let_others();
    /// Calls `run`, which must return when the emulator's own signal comes, unless somebody waits
    /// for the vCPU already. -EINTR then, and when the signal came.
    template <typename Run>
    long run(Run&& run) {
        if (!enter_guest()) {
            return kInterrupted;
        }
        const long result = run();
        leave_guest();
        return result;
    }

private:
    static constexpr long kInterrupted = -4;  // EINTR

    bool enter_guest();
    void leave_guest();

    std::mutex mutex_;
    std::condition_variable changed_;
    int waiting_ = 0;         ///< uses that wait or are under way
    bool is_taken_ = false;   ///< by RUN_VP, or by a use
    bool in_guest_ = false;   ///< RUN_VP's thread is where the signal gets it out
    bool is_called_ = false;  ///< the signal was sent, and not taken back
    int thread_ = 0;          ///< RUN_VP's
};

}  // namespace halcyon::emulator
