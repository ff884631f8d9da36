/// Logging: one logger, to standard error or a file. `machine` and `daemon` log; the folders below
/// them return errors instead.
#pragma once

#include <atomic>
#include <chrono>
#include <string>
#include <string_view>

#include <spdlog/spdlog.h>

#include "base/result.h"

namespace halcyon {

/// Sends the log to standard error (the default), or appends it to `path` (-D). Main thread, at
/// start.
Result<void> log_to_file(const std::string& path);

/// Logs what was asked for by itself, whatever the log's level, as information. From any thread.
void log_always(std::string_view message);

/// A field that the calling thread's messages carry while this lives, where the log has fields (the
/// journal): VCPU=0. Scopes end in the opposite order of their beginning, on their thread.
class LogScope {
public:
    /// `field` is a literal of capital letters.
    LogScope(const char* field, std::string value);
    ~LogScope();
    LogScope(const LogScope&) = delete;
    LogScope& operator=(const LogScope&) = delete;

    /// The calling thread's innermost scope; null without one. `outer` leads to the others.
    [[nodiscard]] static const LogScope* innermost();
    [[nodiscard]] const LogScope* outer() const { return outer_; }
    [[nodiscard]] const char* field() const { return field_; }
    [[nodiscard]] const std::string& value() const { return value_; }

private:
    const char* field_;
    std::string value_;
    const LogScope* outer_;
};

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

/// A message that others than we can cause, as often as they like: rate limited.
#define HALCYON_LOG_LIMITED(level, who, ...)                                          \
    do {                                                                              \
        static ::halcyon::LogRateLimit halcyon_limit;                                 \
        uint64_t halcyon_suppressed = 0;                                              \
        if (spdlog::should_log(level) && halcyon_limit.permit(&halcyon_suppressed)) { \
            if (halcyon_suppressed != 0) {                                            \
                spdlog::log(level, "({} like messages from " who " left out)",        \
                            halcyon_suppressed);                                      \
            }                                                                         \
            spdlog::log(level, __VA_ARGS__);                                          \
        }                                                                             \
    } while (false)

/// A warning that the guest can cause: rate limited. The short name is the safe one.
#define LOG_GUEST(...) HALCYON_LOG_LIMITED(spdlog::level::warn, "the guest", __VA_ARGS__)
/// What a client can cause, for who wants to know; rate limited.
#define LOG_CLIENT(...) HALCYON_LOG_LIMITED(spdlog::level::info, "clients", __VA_ARGS__)
