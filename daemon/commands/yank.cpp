// Commands that cut connections. They may be sent out of band, and only post the cutting.

#include "daemon/command_context.h"
#include "qmp_commands.h"

namespace halcyon::qmp {
namespace {

/// The back end that an instance names, or null if there is none that can be cut.
Chardev* find_instance(CommandContext& context, const YankInstance& instance) {
    const auto* named = std::get_if<YankInstanceChardev>(&instance.branch);
    Chardev* chardev = named == nullptr ? nullptr : context.chardevs().find(named->id);
    return chardev != nullptr && chardev->has_connection() ? chardev : nullptr;
}

}  // namespace

Result<void> qmp_yank(CommandContext& context, const YankArguments& arguments) {
    std::vector<Chardev*> found;
    for (const YankInstance& instance : arguments.instances) {
        Chardev* chardev = find_instance(context, instance);
        if (chardev == nullptr) {
            return Error("Instance not found", ErrorCode::kNotFound);
        }
        found.push_back(chardev);
    }
    for (Chardev* chardev : found) {
        chardev->cut_connection();
    }
    return {};
}

Result<std::vector<YankInstance>> qmp_query_yank(CommandContext& context) {
    std::vector<YankInstance> instances;
    for (const std::unique_ptr<Chardev>& chardev : context.chardevs().all()) {
        if (chardev->has_connection()) {
            instances.push_back({.type = YankInstanceType::kChardev,
                                 .branch = YankInstanceChardev{.id = chardev->id()}});
        }
    }
    return instances;
}

}  // namespace halcyon::qmp
