// The human monitor by way of QMP.

#include <memory>
#include <utility>

#include "daemon/command_context.h"
#include "daemon/hmp/monitor.h"
#include "qmp_commands.h"

namespace halcyon::qmp {

void qmp_human_monitor_command(CommandContext& context,
                               const HumanMonitorCommandArguments& arguments,
                               Reply<std::string> reply) {
    const auto vcpus = static_cast<int64_t>(context.machine().vcpus().size());
    if (arguments.cpu_index && (*arguments.cpu_index < 0 || *arguments.cpu_index >= vcpus)) {
        reply(Error("Parameter 'cpu-index' expects a CPU number"));
        return;
    }
    // A std::function must be copyable, a reply must not.
    auto shared = std::make_shared<Reply<std::string>>(std::move(reply));
    hmp::run_line(context, VcpuIndex(static_cast<uint32_t>(arguments.cpu_index.value_or(0))),
                  arguments.command_line,
                  [shared = std::move(shared)](const std::string& text) { (*shared)(text); });
}

}  // namespace halcyon::qmp
