// Trace events.

#include <optional>
#include <string>
#include <vector>

#include "daemon/command_context.h"
#include "daemon/trace/trace_events.h"
#include "qmp_commands.h"

namespace halcyon::qmp {
namespace {

/// The events that a request is about. No event is about a single vCPU, so with `vcpu` a pattern
/// matches none.
Result<std::vector<TraceEvent*>> find(CommandContext& context, const std::string& name,
                                      const std::optional<int64_t>& vcpu) {
    const auto vcpus = static_cast<int64_t>(context.machine().vcpus().size());
    if (vcpu && (*vcpu < 0 || *vcpu >= vcpus)) {
        return Error("invalid vCPU index " + std::to_string(static_cast<uint32_t>(*vcpu)));
    }
    std::vector<TraceEvent*> events = trace::find_events(name);
    if (!trace::is_pattern(name)) {
        if (events.empty()) {
            return Error("unknown event \"" + name + "\"");
        }
        if (vcpu) {
            return Error("event \"" + name + "\" is not vCPU-specific");
        }
    } else if (vcpu) {
        events.clear();
    }
    return events;
}

}  // namespace

Result<std::vector<TraceEventInfo>> qmp_trace_event_get_state(
    CommandContext& context, const TraceEventGetStateArguments& arguments) {
    std::vector<TraceEventInfo> infos;
    for (const TraceEvent* event : TRY(find(context, arguments.name, arguments.vcpu))) {
        TraceEventInfo info;
        info.name = event->name();
        info.state = event->enabled() ? TraceEventState::kEnabled : TraceEventState::kDisabled;
        infos.push_back(std::move(info));
    }
    return infos;
}

Result<void> qmp_trace_event_set_state(CommandContext& context,
                                       const TraceEventSetStateArguments& arguments) {
    for (TraceEvent* event : TRY(find(context, arguments.name, arguments.vcpu))) {
        event->set_enabled(arguments.enable);
    }
    return {};
}

}  // namespace halcyon::qmp
