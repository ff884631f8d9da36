/// The human monitor's commands, one line at a time.
#pragma once

#include <functional>
#include <string>

#include "base/types.h"
#include "daemon/command_context.h"

namespace halcyon::hmp {

/// Runs a command line, about vCPU `cpu` where it is about one. `done` is called exactly once, on
/// the main thread, with what the command shows: lines that end with CR LF, as QEMU's. What goes
/// wrong is part of that. Main thread; `context` outlives the command.
void run_line(CommandContext& context, VcpuIndex cpu, const std::string& line,
              std::function<void(std::string text)> done);

}  // namespace halcyon::hmp
