/// Logging: one logger, to standard error or a file. `machine` and `daemon` log; the folders below
/// them return errors instead.
#pragma once

#include <atomic>
#include <chrono>
#include <string>

#include <spdlog/spdlog.h>

#include "base/result.h"

namespace halcyon {

/// Sends the log to standard error (the default), or appends it to `path` (-D). Main thread, at
/// start.
Result<void> log_to_file(const std::string& path);

/// At most `kBurst` messages in each `kInterval`, for what a guest can trigger at will; says
/// afterwards how many were left out. One object per place in the code, from any thread.
class LogRateLimit {
public:
    static constexpr int kBurst = 10;
    static constexpr std::chrono::seconds kInterval{5};

    /// True when the message may be logged; `suppressed` is how many were left out since the last
    /// one.
    bool permit(uint64_t* suppressed);

private:
    std::atomic<int64_t> window_start_{0};
    std::atomic<int> used_{0};
    std::atomic<uint64_t> suppressed_{0};
};

}  // namespace halcyon

/// A warning that the guest can cause: rate limited. The short name is the safe one.
#define LOG_GUEST(...)                                                                          \
    do {                                                                                        \
        static ::halcyon::LogRateLimit halcyon_limit;                                           \
        uint64_t halcyon_suppressed = 0;                                                        \
        if (halcyon_limit.permit(&halcyon_suppressed)) {                                        \
            if (halcyon_suppressed != 0) {                                                      \
                spdlog::warn("({} like messages from the guest left out)", halcyon_suppressed); \
            }                                                                                   \
            spdlog::warn(__VA_ARGS__);                                                          \
        }                                                                                       \
    } while (false)
