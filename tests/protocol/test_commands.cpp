#include "test_commands.h"

namespace halcyon::qmp {

void qmp_qmp_capabilities(CommandContext& /*context*/, Session& session,
                          const QmpCapabilitiesArguments& arguments, Reply<void> reply) {
    const bool oob = arguments.enable && !arguments.enable->empty();
    session.negotiate(oob, std::move(reply));
}

Result<NameInfo> qmp_query_name(CommandContext& context) {
    context.calls.emplace_back("query-name");
    return NameInfo{};
}

Result<Everything> qmp_test_everything(CommandContext& context, const Everything& arguments) {
    context.calls.emplace_back("test-everything");
    return arguments;
}

Result<Shape> qmp_test_shape(CommandContext& /*context*/, const Shape& arguments) {
    return arguments;
}

Result<TextOrShape> qmp_test_alternate(CommandContext& /*context*/,
                                       const TestAlternateArguments& arguments) {
    return arguments.default_;
}

Result<Tree> qmp_test_tree(CommandContext& /*context*/, const Tree& arguments) {
    return arguments;
}

Result<Empty> qmp_test_empty(CommandContext& /*context*/, const Empty& arguments) {
    return arguments;
}

void qmp_test_slow(CommandContext& context, const TestSlowArguments& arguments, Reply<void> reply) {
    context.calls.push_back("test-slow " + std::to_string(arguments.tag.value_or(0)));
    context.held.push_back(std::move(reply));
}

Result<void> qmp_test_oob(CommandContext& context) {
    context.calls.emplace_back("test-oob");
    return {};
}

void qmp_test_oob_slow(CommandContext& context, Reply<void> reply) {
    context.calls.emplace_back("test-oob-slow");
    context.held.push_back(std::move(reply));
}

void qmp_test_drop(CommandContext& /*context*/, Reply<void> reply) {
    const Reply<void> dropped = std::move(reply);
}

Result<void> qmp_test_hook(CommandContext& context, Session& session) {
    context.hook(session);
    return {};
}

Result<void> qmp_test_fail(CommandContext& /*context*/, const TestFailArguments& arguments) {
    if (arguments.code == "not-found") {
        return Error("Device 'x' not found", ErrorCode::kNotFound);
    }
    if (arguments.code == "not-active") {
        return Error("No balloon device has been activated", ErrorCode::kNotActive);
    }
    return Error("Something else");
}

Result<void> qmp_test_fail_unlisted(CommandContext& /*context*/) {
    return Error("object 'x' not found", ErrorCode::kNotFound);
}

Result<void> qmp_test_state(CommandContext& /*context*/) {
    return {};
}

Result<void> qmp_org_test_vendor_extension(CommandContext& /*context*/) {
    return {};
}

void qmp_quit(CommandContext& context, Reply<void> reply) {
    context.dispatcher->refuse_new_commands();
    context.held.push_back(std::move(reply));
}

}  // namespace halcyon::qmp
