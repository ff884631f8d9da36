#include "daemon/trace/trace_events.h"

#include <array>

#include "machine/trace_events.h"
#include "protocol/json.h"

namespace halcyon::trace {

namespace {

constexpr std::array<TraceEvent*, 5> kDaemonEvents = {
    &monitor_open, &monitor_close, &monitor_receive, &monitor_send, &monitor_protocol_event_emit};

/// How much of a message is shown.
constexpr size_t kMaxQuoted = 1024;

/// Without recursion: a '*' that does not fit takes one character more, the last one first.
bool matches(std::string_view pattern, std::string_view text) {
    size_t star = std::string_view::npos;  // the last '*' so far
    size_t after_star = 0;                 // what of the text comes behind what it stands for
    size_t p = 0;
    size_t t = 0;
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            after_star = t;
        } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
            ++p;
            ++t;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            t = ++after_star;
        } else {
            return false;
        }
    }
    return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

}  // namespace

bool is_pattern(std::string_view name) {
    return name.find('*') != std::string_view::npos;
}

std::vector<TraceEvent*> find_events(std::string_view name) {
    std::vector<TraceEvent*> found;
    const auto take = [&](TraceEvent* event) {
        if (is_pattern(name) ? matches(name, event->name()) : name == event->name()) {
            found.push_back(event);
        }
    };
    for (TraceEvent* const event : kMachineEvents) {
        take(event);
    }
    for (TraceEvent* const event : kDaemonEvents) {
        take(event);
    }
    return found;
}

std::string quote(std::string_view text) {
    const bool cut = text.size() > kMaxQuoted;
    const Json shown = std::string(text.substr(0, kMaxQuoted));
    return shown.dump(-1, ' ', true, Json::error_handler_t::replace) + (cut ? "..." : "");
}

}  // namespace halcyon::trace
