#include "protocol/dispatcher.h"

#include <algorithm>

namespace halcyon {

namespace {

QmpError generic_error(std::string description) {
    return {.error_class = ErrorClass::kGenericError, .description = std::move(description)};
}

QmpError command_not_found(std::string description) {
    return {.error_class = ErrorClass::kCommandNotFound, .description = std::move(description)};
}

std::string quoted_member(std::string_view name) {
    return "QMP input member '" + std::string(name) + "'";
}

/// Checks one member of a request and moves its value to where it belongs.
std::optional<QmpError> take_member(const std::string& name, Json& value, bool oob_enabled,
                                    Request& request, std::string_view& execute_member) {
    if (name == "execute" || (name == "exec-oob" && oob_enabled)) {
        if (!value.is_string()) {
            return generic_error(quoted_member(name) + " must be a string");
        }
        if (!execute_member.empty()) {
            return generic_error(quoted_member(name) + " clashes with '" +
                                 std::string(execute_member) + "'");
        }
        execute_member = name;
        request.command = std::move(value.get_ref<std::string&>());
        request.out_of_band = name == "exec-oob";
        return std::nullopt;
    }
    if (name == "arguments") {
        if (!value.is_object()) {
            return generic_error(quoted_member(name) + " must be an object");
        }
        request.arguments = std::move(value);
        return std::nullopt;
    }
    if (name == "id") {
        return std::nullopt;
    }
    return generic_error(quoted_member(name) + " is unexpected");
}

}  // namespace

std::variant<Request, BadRequest> Dispatcher::parse(Json value, bool oob_enabled) {
    if (!value.is_object()) {
        return BadRequest{.error = generic_error("QMP input must be a JSON object"), .id = {}};
    }
    Request request;
    if (const auto id = value.find("id"); id != value.end()) {
        request.id = std::move(*id);
    }
    const bool out_of_band =
        oob_enabled && value.contains("exec-oob") && !value.contains("execute");

    std::string_view execute_member;
    std::optional<QmpError> fault;
    for (auto member = value.begin(); member != value.end() && !fault; ++member) {
        fault = take_member(member.key(), member.value(), oob_enabled, request, execute_member);
    }
    if (!fault && execute_member.empty()) {
        fault = generic_error("QMP input lacks member 'execute'");
    }
    if (fault) {
        return BadRequest{
            .error = *std::move(fault), .id = std::move(request.id), .out_of_band = out_of_band};
    }
    return request;
}

const CommandEntry* Dispatcher::find(std::string_view name) const {
    const auto entry = std::ranges::lower_bound(table_, name, {}, &CommandEntry::name);
    return entry != table_.end() && entry->name == name ? &*entry : nullptr;
}

std::optional<QmpError> Dispatcher::refusal(const CommandEntry* entry, const Request& request,
                                            bool negotiated) const {
    if (!negotiated && (entry == nullptr || !entry->negotiates)) {
        return command_not_found("Expecting capabilities negotiation with 'qmp_capabilities'");
    }
    if (entry == nullptr) {
        return command_not_found("The command " + request.command + " has not been found");
    }
    if (request.out_of_band && !entry->allow_oob) {
        return generic_error("The command " + request.command + " does not support OOB");
    }
    if (!phase_source_) {
        return std::nullopt;
    }
    const MachinePhase phase = phase_source_();
    if (phase.preconfig && !entry->allow_preconfig) {
        return generic_error("The command '" + request.command +
                             "' is permitted only after machine initialization has completed");
    }
    if ((entry->run_states & (RunStateSet{1} << phase.run_state)) == 0) {
        return generic_error(std::string(entry->run_state_error));
    }
    return std::nullopt;
}

void Dispatcher::run(Session& session, const Request& request, bool negotiated,
                     ReplySink reply) const {
    const CommandEntry* entry = find(request.command);
    if (std::optional<QmpError> error = refusal(entry, request, negotiated)) {
        reply(*std::move(error));
        return;
    }
    reply.list_error_classes(entry->error_classes);
    if (!watch_) {
        entry->function(context_, session, request.arguments, std::move(reply));
        return;
    }
    watch_(request,
           [&] { entry->function(context_, session, request.arguments, std::move(reply)); });
}

}  // namespace halcyon
