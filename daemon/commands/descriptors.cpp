// Commands about the descriptors that clients pass.

#include <fcntl.h>

#include "daemon/command_context.h"
#include "qmp_commands.h"

namespace halcyon::qmp {
namespace {

/// The descriptor that came with the command.
Result<UniqueFd> passed_descriptor(CommandContext& context, Session& session) {
    UniqueFd fd = context.monitor(session).take_descriptor();
    if (!fd) {
        return Error("No file descriptor supplied via SCM_RIGHTS");
    }
    return fd;
}

std::string name_of(int64_t set, std::optional<int64_t> fd) {
    return "fdset-id:" + std::to_string(set) + (fd ? ", fd:" + std::to_string(*fd) : "");
}

}  // namespace

Result<void> qmp_getfd(CommandContext& context, Session& session, const GetfdArguments& arguments) {
    UniqueFd fd = TRY(passed_descriptor(context, session));
    if (!arguments.fdname.empty() && arguments.fdname[0] >= '0' && arguments.fdname[0] <= '9') {
        return Error("Parameter 'fdname' expects a name not starting with a digit");
    }
    context.monitor(session).descriptors().add(arguments.fdname, std::move(fd));
    return {};
}

Result<void> qmp_closefd(CommandContext& context, Session& session,
                         const ClosefdArguments& arguments) {
    if (!context.monitor(session).descriptors().take(arguments.fdname)) {
        return Error("File descriptor named '" + arguments.fdname + "' not found");
    }
    return {};
}

Result<void> qmp_add_client(CommandContext& context, Session& session,
                            const AddClientArguments& arguments) {
    UniqueFd fd = context.monitor(session).descriptors().take(arguments.fdname);
    if (!fd) {
        return Error("File descriptor named '" + arguments.fdname + "' has not been found");
    }
    Chardev* chardev = context.chardevs().find(arguments.protocol);
    if (chardev == nullptr) {
        return Error("protocol '" + arguments.protocol + "' is invalid");
    }
    return chardev->adopt_client(std::move(fd));
}

Result<AddfdInfo> qmp_add_fd(CommandContext& context, Session& session,
                             const AddFdArguments& arguments) {
    UniqueFd fd = TRY(passed_descriptor(context, session));
    if (arguments.fdset_id && *arguments.fdset_id < 0) {
        return Error("Parameter 'fdset-id' expects a non-negative value");
    }
    const int number = fd.get();
    const int64_t set =
        context.descriptor_sets().add(arguments.fdset_id, std::move(fd), arguments.opaque);
    return AddfdInfo{.fdset_id = set, .fd = number};
}

Result<void> qmp_remove_fd(CommandContext& context, const RemoveFdArguments& arguments) {
    if (!context.descriptor_sets().remove(arguments.fdset_id, arguments.fd)) {
        return Error("File descriptor named '" + name_of(arguments.fdset_id, arguments.fd) +
                     "' not found");
    }
    return {};
}

Result<std::vector<FdsetInfo>> qmp_query_fdsets(CommandContext& context) {
    std::vector<FdsetInfo> infos;
    for (const auto& [number, members] : context.descriptor_sets().all()) {
        FdsetInfo info{.fdset_id = number, .fds = {}};
        for (const DescriptorSets::Member& member : members) {
            info.fds.push_back({.fd = member.fd.get(), .opaque = member.opaque});
        }
        infos.push_back(std::move(info));
    }
    return infos;
}

}  // namespace halcyon::qmp
