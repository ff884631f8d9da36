// Commands that change or tell the machine's run state.

#include "daemon/command_context.h"
#include "daemon/commands/convert.h"
#include "qmp_commands.h"

namespace halcyon::qmp {

Result<StatusInfo> qmp_query_status(CommandContext& context) {
    const halcyon::RunState state = context.machine().run_state();
    return StatusInfo{.running = state == halcyon::RunState::kRunning,
                      .singlestep = false,
                      .status = to_qmp(state)};
}

void qmp_stop(CommandContext& context, Reply<void> reply) {
    context.machine().pause(answer(std::move(reply)));
}

void qmp_cont(CommandContext& context, Reply<void> reply) {
    context.machine().resume(answer(std::move(reply)));
}

void qmp_system_reset(CommandContext& context, Reply<void> reply) {
    context.machine().reset(answer(std::move(reply)));
}

Result<void> qmp_system_powerdown(CommandContext& context) {
    context.machine().power_button();
    return {};
}

Result<void> qmp_system_wakeup(CommandContext&) {
    return Error("wake-up from suspend is not supported by this guest", ErrorCode::kUnsupported);
}

void qmp_x_exit_preconfig(CommandContext& context, Reply<void> reply) {
    context.machine().exit_preconfig(answer(std::move(reply)));
}

Result<void> qmp_set_action(CommandContext& context, const SetActionArguments& arguments) {
    // `panic` and `watchdog` have been checked with the schema. They come to nothing, as there is
    // no device that would act on them; QEMU takes them without one, too.
    if (arguments.reboot) {
        context.machine().set_no_reboot(*arguments.reboot == RebootAction::kShutdown);
    }
    if (arguments.shutdown) {
        context.machine().set_no_shutdown(*arguments.shutdown == ShutdownAction::kPause);
    }
    return {};
}

Result<void> qmp_inject_nmi(CommandContext& context) {
    if (context.machine().config().board == BoardKind::kNone) {
        return Error("this feature or command is not currently supported", ErrorCode::kUnsupported);
    }
    return context.machine().inject_nmi();
}

}  // namespace halcyon::qmp
