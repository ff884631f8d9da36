/// EventThrottle: keeps events that a guest can cause at will from flooding the clients.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/event_loop.h"
#include "protocol/event.h"

namespace halcyon {

/// Passes events on: most at once, those of a limited rate at most one in a period, for all clients
/// alike. Within a period only the latest is kept, and passed on at its end, with the time at which
/// it happened; so a client always learns the last state. The limits are QEMU's (monitor/monitor.c,
/// monitor_qapi_event_conf): one a second. Main thread; `loop` outlives it.
class EventThrottle {
public:
    using Sink = std::function<void(const Event&)>;
    static constexpr std::chrono::seconds kPeriod{1};

    EventThrottle(EventLoop& loop, Sink sink) : loop_(loop), sink_(std::move(sink)) {}

    void emit(Event event);

    /// Whether events of that name are limited.
    [[nodiscard]] static bool is_limited(std::string_view name);

private:
    /// A name's running period. None when it ended without an event to pass on.
    struct Period {
        std::unique_ptr<LoopTimer> timer;
        std::optional<Event> latest;
    };
    void on_period_end(const std::string& name);

    EventLoop& loop_;
    Sink sink_;
    std::map<std::string, Period> periods_;
};

}  // namespace halcyon
