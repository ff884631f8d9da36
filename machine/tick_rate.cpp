#include "machine/tick_rate.h"

#include <algorithm>

#include <x86intrin.h>

namespace halcyon {

TickRate::TickRate() : start_(std::chrono::steady_clock::now()), start_ticks_(::__rdtsc()) {}

std::chrono::nanoseconds TickRate::to_time(uint64_t ticks) {
    using Nanoseconds = std::chrono::duration<double, std::nano>;
    if (nanoseconds_per_tick_ == 0) {
        const Nanoseconds passed = std::chrono::steady_clock::now() - start_;
        const uint64_t counted = std::max<uint64_t>(::__rdtsc() - start_ticks_, 1);
        nanoseconds_per_tick_ = passed.count() / static_cast<double>(counted);
    }
    return std::chrono::nanoseconds(
        static_cast<int64_t>(static_cast<double>(ticks) * nanoseconds_per_tick_));
}

}  // namespace halcyon
