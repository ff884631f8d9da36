/// Trace events: what the program tells of its doings, in the log, when asked to.
#pragma once

#include <atomic>
#include <string_view>

#include "base/log.h"

namespace halcyon {

/// The switch of one kind of event, off at first. They exist for ever and are as global as the log
/// that they lead to. From any thread.
class TraceEvent {
public:
    /// `name` lives for ever.
    constexpr explicit TraceEvent(std::string_view name) : name_(name) {}
    TraceEvent(const TraceEvent&) = delete;
    TraceEvent& operator=(const TraceEvent&) = delete;

    [[nodiscard]] std::string_view name() const { return name_; }
    /// Relaxed: somebody who runs meanwhile sees a change a little later.
    [[nodiscard]] bool enabled() const { return enabled_.load(std::memory_order_relaxed); }
    void set_enabled(bool enabled) { enabled_.store(enabled, std::memory_order_relaxed); }

private:
    std::string_view name_;
    std::atomic<bool> enabled_{false};
};

}  // namespace halcyon

/// Logs "NAME TEXT", whatever the log's level, if the event is switched on; `text` is a literal
/// with the format of what follows it, which is evaluated only then. Otherwise it costs one relaxed
/// load.
#define TRACE(event, text, ...)                                                      \
    do {                                                                             \
        if ((event).enabled()) [[unlikely]] {                                        \
            ::halcyon::log_always(                                                   \
                fmt::format("{} " text, (event).name() __VA_OPT__(, ) __VA_ARGS__)); \
        }                                                                            \
    } while (false)
