/// TickRate: how long a tick of the processor's time-stamp counter is.
#pragma once

#include <chrono>
#include <cstdint>

namespace halcyon {

/// Measures the counter against the steady clock, from its making to its first use; then the rate
/// is fixed, so that times that are converted never go back. Main thread.
class TickRate {
public:
    TickRate();
    [[nodiscard]] std::chrono::nanoseconds to_time(uint64_t ticks);

private:
    std::chrono::steady_clock::time_point start_;
    uint64_t start_ticks_;
    double nanoseconds_per_tick_ = 0;  ///< 0: not measured yet
};

}  // namespace halcyon
