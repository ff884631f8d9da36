// Commands about CPU models.

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "daemon/command_context.h"
#include "daemon/commands/convert.h"
#include "daemon/commands/cpu_features.h"
#include "qmp_commands.h"

namespace halcyon::qmp {
namespace {

/// What -cpu takes. Both give what the accelerator has on this host.
constexpr std::array<std::string_view, 2> kModels = {"host", "max"};

std::string_view type_name(const Json& value) {
    return value.is_boolean() ? "boolean" : value.is_string() ? "string" : "integer";
}

/// That every property that is asked for is as it is anyway.
Result<void> check_properties(const CpuModelInfo& model, const Json& actual) {
    if (!model.props || !model.props->is_object()) {
        return {};  // QEMU ignores what is no object
    }
    for (const auto& [name, wanted] : model.props->items()) {
        const auto found = actual.find(name);
        const std::string property = cpu_type_name(model.name) + "." + name;
        if (found == actual.end()) {
            return Error("Property '" + property + "' not found", ErrorCode::kInvalidArgument);
        }
        const bool same_type = wanted.is_boolean() == found->is_boolean() &&
                               wanted.is_string() == found->is_string() &&
                               wanted.is_number_integer() == found->is_number_integer();
        if (!same_type) {
            return Error("Invalid parameter type for '" + name +
                             "', expected: " + std::string(type_name(*found)),
                         ErrorCode::kInvalidArgument);
        }
        if (wanted != *found) {
            return Error("Property '" + property + "' cannot be changed: -cpu takes no properties",
                         ErrorCode::kUnsupported);
        }
    }
    return {};
}

}  // namespace

Result<std::vector<CpuDefinitionInfo>> qmp_query_cpu_definitions(CommandContext&) {
    std::vector<CpuDefinitionInfo> definitions;
    for (const std::string_view name : kModels) {
        CpuDefinitionInfo info;
        info.name = name;
        info.migration_safe = false;
        info.unavailable_features.emplace();
        info.typename_ = cpu_type_name(name);
        definitions.push_back(std::move(info));
    }
    return definitions;
}

Result<CpuModelExpansionInfo> qmp_query_cpu_model_expansion(
    CommandContext& context, const QueryCpuModelExpansionArguments& arguments) {
    const CpuModelInfo& model = arguments.model;
    if (std::ranges::find(kModels, model.name) == kModels.end()) {
        return Error("CPU model '" + model.name + "' not found", ErrorCode::kInvalidArgument);
    }
    if (arguments.type != CpuModelExpansionType::kFull) {
        return Error("The requested expansion type is not supported", ErrorCode::kUnsupported);
    }
    Machine& machine = context.machine();
    const std::optional<Json> properties =
        describe_cpu([&](uint32_t leaf, uint32_t subleaf) { return machine.cpuid(leaf, subleaf); });
    if (!properties) {
        return Error("the CPU model cannot be expanded: no vCPU tells its features",
                     ErrorCode::kUnsupported);
    }
    TRY(check_properties(model, *properties));
    CpuModelExpansionInfo info;
    info.model.name = model.name;
    info.model.props = *properties;
    return info;
}

}  // namespace halcyon::qmp
