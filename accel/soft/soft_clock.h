/// SoftClock: the time of a soft partition, which can stand still.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace halcyon {

/// Nanoseconds of guest time since the partition was made: the host's monotonic clock less the time
/// it was frozen. Any thread may read; one thread at a time may freeze.
class SoftClock {
public:
    using Host = std::chrono::steady_clock;

    SoftClock() : offset_(host_nanoseconds()) {}

    [[nodiscard]] int64_t now() const {
        const int64_t frozen = frozen_at_.load(std::memory_order_acquire);
        return frozen >= 0 ? frozen : host_nanoseconds() - offset_.load(std::memory_order_acquire);
    }

    void set_frozen(bool frozen) {
        const int64_t stood = frozen_at_.load(std::memory_order_relaxed);
        if (frozen && stood < 0) {
            frozen_at_.store(now(), std::memory_order_release);
        } else if (!frozen && stood >= 0) {
            offset_.store(host_nanoseconds() - stood, std::memory_order_release);
            frozen_at_.store(-1, std::memory_order_release);
        }
    }

    /// The host time at which guest time `when` is reached, unless it is frozen before.
    [[nodiscard]] Host::time_point host_time(int64_t when) const {
        return Host::now() + std::chrono::nanoseconds(when - now());
    }

private:
    static int64_t host_nanoseconds() {
        return std::chrono::duration_cast<std::chrono::nanoseconds>(Host::now().time_since_epoch())
            .count();
    }

    std::atomic<int64_t> offset_;
    /// The guest time at which it stands, or -1 while it runs.
    std::atomic<int64_t> frozen_at_{-1};
};

}  // namespace halcyon
