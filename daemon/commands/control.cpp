// Commands about the monitor and the process themselves.

#include <algorithm>

#include "daemon/command_context.h"
#include "daemon/commands/convert.h"
#include "daemon/version.h"
#include "qmp_commands.h"

namespace halcyon::qmp {

void qmp_qmp_capabilities(CommandContext&, Session& session,
                          const QmpCapabilitiesArguments& arguments, Reply<void> reply) {
    const bool enable_oob =
        arguments.enable && std::find(arguments.enable->begin(), arguments.enable->end(),
                                      QMPCapability::kOob) != arguments.enable->end();
    session.negotiate(enable_oob, std::move(reply));
}

Result<VersionInfo> qmp_query_version(CommandContext&) {
    return VersionInfo{.qemu = {.major = kQapiVersion.major,
                                .minor = kQapiVersion.minor,
                                .micro = kQapiVersion.micro},
                       .package = package_version()};
}

void qmp_quit(CommandContext& context, Reply<void> reply) {
    context.end(halcyon::ShutdownCause::kHostQmpQuit, answer(std::move(reply)));
}

}  // namespace halcyon::qmp
