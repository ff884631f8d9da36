// trace-event, info trace-events.

#include <optional>

#include "daemon/hmp/call.h"
#include "daemon/hmp/expression.h"
#include "qmp_commands.h"

namespace halcyon::hmp {

namespace {

/// Reads the number of a vCPU, if there is one, and that nothing follows; answers itself and gives
/// false when that fails.
bool read_vcpu(const Call& call, std::string_view rest, std::optional<int64_t>& vcpu) {
    if (!rest.empty()) {
        const Result<int64_t> number =
            read_expression(rest, [](std::string_view) { return std::nullopt; });
        if (!number) {
            answer_misuse(call, number.error().message());
            return false;
        }
        vcpu = *number;
    }
    return expect_end(call, rest);
}

}  // namespace

void set_trace_event(const Call& call) {
    std::string_view rest = call.arguments;
    qmp::TraceEventSetStateArguments arguments;
    arguments.name = take_word(rest);
    if (arguments.name.empty()) {
        answer_misuse(call, "trace-event: string expected");
        return;
    }
    const std::string state = take_word(rest);
    if (state != "on" && state != "off") {
        answer_misuse(call, "Expected 'on' or 'off'");
        return;
    }
    arguments.enable = state == "on";
    if (read_vcpu(call, rest, arguments.vcpu)) {
        const Result<void> set = qmp::qmp_trace_event_set_state(*call.context, arguments);
        call.done(set ? "" : set.error().message() + "\n");
    }
}

void show_trace_events(const Call& call) {
    std::string_view rest = call.arguments;
    qmp::TraceEventGetStateArguments arguments;
    const std::string name = take_word(rest);
    arguments.name = name.empty() ? std::string("*") : name;
    if (!read_vcpu(call, rest, arguments.vcpu)) {
        return;
    }
    const auto events = qmp::qmp_trace_event_get_state(*call.context, arguments);
    if (!events) {
        call.done(events.error().message() + "\n");
        return;
    }
    std::string text;
    for (const qmp::TraceEventInfo& event : *events) {
        text += event.name;
        text += event.state == qmp::TraceEventState::kEnabled ? " : state 1\n" : " : state 0\n";
    }
    call.done(text);
}

}  // namespace halcyon::hmp
