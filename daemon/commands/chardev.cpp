// Commands about the character back ends.

#include "daemon/command_context.h"
#include "qmp_commands.h"

namespace halcyon::qmp {

Result<std::vector<ChardevInfo>> qmp_query_chardev(CommandContext& context) {
    std::vector<ChardevInfo> infos;
    for (const std::unique_ptr<Chardev>& chardev : context.chardevs()) {
        infos.push_back({.label = chardev->id(),
                         .filename = chardev->filename(),
                         .frontend_open = chardev->has_frontend()});
    }
    return infos;
}

Result<std::vector<ChardevBackendInfo>> qmp_query_chardev_backends(CommandContext&) {
    // The kinds of create_chardev.
    return std::vector<ChardevBackendInfo>{{"socket"}, {"stdio"}, {"file"}, {"pty"}, {"null"}};
}

}  // namespace halcyon::qmp
