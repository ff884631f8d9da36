// Commands about migration. There is none.

#include "daemon/command_context.h"
#include "qmp_commands.h"

namespace halcyon::qmp {

Result<MigrationInfo> qmp_query_migrate(CommandContext&) {
    return MigrationInfo();
}

}  // namespace halcyon::qmp
