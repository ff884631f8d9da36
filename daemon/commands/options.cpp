// Commands about the command line.

#include "daemon/command_context.h"
#include "daemon/options/option_parameters.h"
#include "qmp_commands.h"

namespace halcyon::qmp {
namespace {

CommandLineParameterType to_qmp(OptionParameter::Kind kind) {
    switch (kind) {
        case OptionParameter::Kind::kString:
            return CommandLineParameterType::kString;
        case OptionParameter::Kind::kBoolean:
            return CommandLineParameterType::kBoolean;
        case OptionParameter::Kind::kNumber:
            return CommandLineParameterType::kNumber;
        case OptionParameter::Kind::kSize:
            return CommandLineParameterType::kSize;
    }
    return CommandLineParameterType::kString;
}

CommandLineOptionInfo describe(const OptionGroup& group) {
    CommandLineOptionInfo info;
    info.option = group.name;
    for (const OptionParameter& parameter : group.parameters) {
        CommandLineParameterInfo described;
        described.name = parameter.name;
        described.type = to_qmp(parameter.kind);
        if (!parameter.default_value.empty()) {
            described.default_ = parameter.default_value;
        }
        info.parameters.push_back(std::move(described));
    }
    return info;
}

}  // namespace

Result<std::vector<CommandLineOptionInfo>> qmp_query_command_line_options(
    CommandContext&, const QueryCommandLineOptionsArguments& arguments) {
    std::vector<CommandLineOptionInfo> infos;
    for (const OptionGroup& group : option_groups()) {
        if (!arguments.option || *arguments.option == group.name) {
            infos.push_back(describe(group));
        }
    }
    if (infos.empty()) {
        return Error("invalid option name: " + *arguments.option, ErrorCode::kInvalidArgument);
    }
    return infos;
}

}  // namespace halcyon::qmp
