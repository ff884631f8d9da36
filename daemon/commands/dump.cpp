// Commands about dumps of the guest.

#include <fcntl.h>

#include <string>
#include <string_view>
#include <utility>

#include "daemon/command_context.h"
#include "daemon/commands/convert.h"
#include "qmp_commands.h"

namespace halcyon::qmp {
namespace {

Error invalid(std::string message) {
    return Error(std::move(message), ErrorCode::kInvalidArgument);
}

Result<void> check_format(const DumpGuestMemoryArguments& arguments) {
    const DumpGuestMemoryFormat format = arguments.format.value_or(DumpGuestMemoryFormat::kElf);
    switch (format) {
        case DumpGuestMemoryFormat::kElf:
            return {};
        case DumpGuestMemoryFormat::kKdumpZlib:
        case DumpGuestMemoryFormat::kKdumpLzo:
        case DumpGuestMemoryFormat::kKdumpSnappy:
            if (arguments.paging || arguments.begin || arguments.length) {
                return invalid("kdump-compressed format doesn't support paging or filter");
            }
            break;
        case DumpGuestMemoryFormat::kWinDmp:
            break;
    }
    return invalid(std::string(to_string(format)) + " is not available now");
}

Result<std::optional<DumpOptions::Range>> find_range(const DumpGuestMemoryArguments& arguments) {
    if (!arguments.begin && !arguments.length) {
        return std::optional<DumpOptions::Range>();
    }
    if (!arguments.length) {
        return invalid("Parameter 'length' is missing");
    }
    if (!arguments.begin) {
        return invalid("Parameter 'begin' is missing");
    }
    if (*arguments.begin < 0) {
        return invalid("Invalid parameter 'begin'");
    }
    if (*arguments.length <= 0) {
        return invalid("Invalid parameter 'length'");
    }
    return std::optional(DumpOptions::Range{.begin = static_cast<uint64_t>(*arguments.begin),
                                            .length = static_cast<uint64_t>(*arguments.length)});
}

/// What the text behind "file:" or "fd:" names.
Result<void> find_target(CommandContext& context, const Session& session,
                         const std::string& protocol, DumpOptions& options) {
    constexpr std::string_view kFile = "file:";
    constexpr std::string_view kDescriptor = "fd:";
    if (protocol.starts_with(kFile)) {
        options.path = protocol.substr(kFile.size());
        if (const auto set = DescriptorSets::set_of(options.path)) {
            options.fd = TRY(context.descriptor_sets().open(*set, O_WRONLY));
        }
        return {};
    }
    if (protocol.starts_with(kDescriptor)) {
        const std::string name = protocol.substr(kDescriptor.size());
        options.fd = context.monitor(session).descriptors().take(name);
        if (!options.fd) {
            return Error("File descriptor named '" + name + "' has not been found");
        }
        return {};
    }
    return invalid("Invalid parameter 'protocol'");
}

Result<DumpOptions> make_options(CommandContext& context, const Session& session,
                                 const DumpGuestMemoryArguments& arguments) {
    if (context.machine().dumping()) {
        return Error("There is a dump in process, please wait.");
    }
    TRY(check_format(arguments));
    if (arguments.paging) {
        return invalid("Parameter 'paging' expects false: dumps have no linear addresses");
    }
    DumpOptions options;
    options.range = TRY(find_range(arguments));
    options.detach = arguments.detach.value_or(false);
    TRY(find_target(context, session, arguments.protocol, options));
    return options;
}

}  // namespace

void qmp_dump_guest_memory(CommandContext& context, Session& session,
                           const DumpGuestMemoryArguments& arguments, Reply<void> reply) {
    Result<DumpOptions> options = make_options(context, session, arguments);
    if (!options) {
        reply(options.error());
        return;
    }
    context.machine().dump(*std::move(options), answer(std::move(reply)));
}

Result<DumpQueryResult> qmp_query_dump(CommandContext& context) {
    return to_qmp(context.machine().dump_status());
}

Result<DumpGuestMemoryCapability> qmp_query_dump_guest_memory_capability(CommandContext&) {
    return DumpGuestMemoryCapability{.formats = {DumpGuestMemoryFormat::kElf}};
}

}  // namespace halcyon::qmp
