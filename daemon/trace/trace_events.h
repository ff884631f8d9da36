/// The trace events of the daemon, and all events by name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/trace.h"

namespace halcyon::trace {

// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): switches of the log
/// A monitor's client has come, has gone.
inline constinit TraceEvent monitor_open("monitor_open");
inline constinit TraceEvent monitor_close("monitor_close");
/// Bytes from a client; a message to one.
inline constinit TraceEvent monitor_receive("monitor_receive");
inline constinit TraceEvent monitor_send("monitor_send");
/// An event for all clients.
inline constinit TraceEvent monitor_protocol_event_emit("monitor_protocol_event_emit");
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

/// The events of the whole program that a name stands for: the one so called, or, if there is a '*'
/// in it, all that it matches as a pattern ('*' any text, '?' any character).
[[nodiscard]] std::vector<TraceEvent*> find_events(std::string_view name);
/// Whether `find_events` takes it as a pattern.
[[nodiscard]] bool is_pattern(std::string_view name);

/// What a client sent or is sent, for the log: quoted, in ASCII, cut where it gets long.
[[nodiscard]] std::string quote(std::string_view text);

}  // namespace halcyon::trace
