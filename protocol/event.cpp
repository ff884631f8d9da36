#include "protocol/event.h"

#include <cstdint>

namespace halcyon {

Json to_message(const Event& event) {
    using std::chrono::duration_cast;
    using std::chrono::floor;
    const auto since_epoch = event.timestamp.time_since_epoch();
    const auto seconds = floor<std::chrono::seconds>(since_epoch);
    const auto microseconds = duration_cast<std::chrono::microseconds>(since_epoch - seconds);
    Json message = {
        {"event", event.name},
        {"timestamp",
         {{"seconds", int64_t{seconds.count()}}, {"microseconds", int64_t{microseconds.count()}}}},
    };
    if (!event.data.is_null()) {
        message["data"] = event.data;
    }
    return message;
}

const std::string& Event::wire(bool pretty) const {
    std::string& text = wire_[pretty ? 1 : 0];
    if (text.empty()) {
        const Json message = to_message(*this);
        text = pretty ? to_wire_pretty(message) : to_wire(message);
    }
    return text;
}

}  // namespace halcyon
