/// Event: something that happened and that every listening client is told.
#pragma once

#include <array>
#include <chrono>
#include <string>
#include <utility>

#include "protocol/json.h"

namespace halcyon {

/// One asynchronous message of the server. Made by the generated `make_..._event` functions, sent
/// by `Session::emit`.
struct Event {
    /// The event of this name, stamped with the present time. `data` null means that the message
    /// has no `data` member.
    explicit Event(std::string event_name, Json event_data = nullptr)
        : name(std::move(event_name)),
          data(std::move(event_data)),
          timestamp(std::chrono::system_clock::now()) {}

    std::string name;
    Json data;
    /// When it happened, by the host's wall clock.
    std::chrono::system_clock::time_point timestamp;

    /// The message as text, spread over lines or not; made once, however many clients are told.
    [[nodiscard]] const std::string& wire(bool pretty) const;

private:
    mutable std::array<std::string, 2> wire_;
};

/// The message of `event`: {"event", "timestamp": {"seconds", "microseconds"}[, "data"]}.
[[nodiscard]] Json to_message(const Event& event);

}  // namespace halcyon
