// Commands about block devices and jobs. The machine has neither.

#include "daemon/command_context.h"
#include "qmp_commands.h"

namespace halcyon::qmp {

Result<std::vector<BlockInfo>> qmp_query_block(CommandContext&) {
    return std::vector<BlockInfo>();
}

Result<std::vector<BlockStats>> qmp_query_blockstats(CommandContext&,
                                                     const QueryBlockstatsArguments&) {
    return std::vector<BlockStats>();
}

Result<std::vector<JobInfo>> qmp_query_jobs(CommandContext&) {
    return std::vector<JobInfo>();
}

}  // namespace halcyon::qmp
