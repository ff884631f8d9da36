#include "protocol/event_throttle.h"

#include <algorithm>
#include <array>
#include <utility>

namespace halcyon {

bool EventThrottle::is_limited(std::string_view name) {
    static constexpr std::array<std::string_view, 4> kLimited = {
        "BALLOON_CHANGE", "MEMORY_DEVICE_SIZE_CHANGE", "RTC_CHANGE", "WATCHDOG"};
    return std::ranges::find(kLimited, name) != kLimited.end();
}

void EventThrottle::emit(Event event) {
    if (!is_limited(event.name)) {
        return sink_(event);
    }
    const auto [place, is_first] = periods_.try_emplace(event.name);
    Period& period = place->second;
    if (!is_first) {
        period.latest = std::move(event);
        return;
    }
    period.timer = loop_.make_timer([this, name = event.name] { on_period_end(name); });
    period.timer->arm(loop_.now() + kPeriod);
    sink_(event);
}

void EventThrottle::on_period_end(const std::string& name) {
    const auto place = periods_.find(name);
    if (!place->second.latest) {
        // The timer's callback is running: it goes with the next round of the loop.
        loop_.post([timer = std::shared_ptr<LoopTimer>(std::move(place->second.timer))] {});
        periods_.erase(place);
        return;
    }
    const Event event = *std::exchange(place->second.latest, std::nullopt);
    place->second.timer->arm(loop_.now() + kPeriod);
    sink_(event);
}

}  // namespace halcyon
