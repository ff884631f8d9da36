// Commands about the guest's memory.

#include "daemon/command_context.h"
#include "daemon/commands/convert.h"
#include "qmp_commands.h"

namespace halcyon::qmp {

Result<MemoryInfo> qmp_query_memory_size_summary(CommandContext& context) {
    MemoryInfo info;
    info.base_memory = is_pc(context.machine()) ? context.machine().config().ram_size : 0;
    return info;
}

Result<std::vector<MemoryDeviceInfo>> qmp_query_memory_devices(CommandContext&) {
    return std::vector<MemoryDeviceInfo>();
}

Result<std::vector<Memdev>> qmp_query_memdev(CommandContext& context) {
    if (!is_pc(context.machine())) {
        return std::vector<Memdev>();
    }
    // As base/mapping.cpp maps it: private, anonymous, MAP_NORESERVE, touched when it is used.
    Memdev ram;
    ram.id = kMainMemoryId;
    ram.size = context.machine().config().ram_size;
    ram.dump = true;
    ram.reserve = false;
    ram.policy = HostMemPolicy::kDefault;
    return std::vector{ram};
}

Result<BalloonInfo> qmp_query_balloon(CommandContext&) {
    return Error("No balloon device has been activated", ErrorCode::kNotActive);
}

}  // namespace halcyon::qmp
