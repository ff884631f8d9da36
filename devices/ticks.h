/// Ticks of a device's oscillator, counted on the guest's clock.
#pragma once

#include <cstdint>

#include "devices/device.h"

namespace halcyon {

/// How many periods of `hz` (1 to 10^9) have ended by `time`. Counted from the clock's start, so
/// nothing drifts; exact, and no product exceeds 64 bits. A time before the start counts as 0.
[[nodiscard]] constexpr uint64_t ticks_at(GuestTime time, uint64_t hz) {
    constexpr uint64_t kNanoseconds = 1'000'000'000;
    const auto ns = time.count() < 0 ? uint64_t{0} : static_cast<uint64_t>(time.count());
    return ns / kNanoseconds * hz + ns % kNanoseconds * hz / kNanoseconds;
}

/// The first nanosecond at which `ticks_at` gives `tick`. A time that the clock cannot hold (292
/// years) becomes its last one.
[[nodiscard]] constexpr GuestTime time_of_tick(uint64_t tick, uint64_t hz) {
    constexpr uint64_t kNanoseconds = 1'000'000'000;
    const uint64_t seconds = tick / hz;
    if (seconds >= static_cast<uint64_t>(GuestTime::max().count()) / kNanoseconds) {
        return GuestTime::max();
    }
    const uint64_t rest = (tick % hz * kNanoseconds + hz - 1) / hz;
    return GuestTime(static_cast<int64_t>(seconds * kNanoseconds + rest));
}

}  // namespace halcyon
