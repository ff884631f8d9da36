// Commands about the guest's memory.

#include <atomic>
#include <utility>

#include "daemon/command_context.h"
#include "daemon/commands/convert.h"
#include "machine/memory_save.h"
#include "qmp_commands.h"

namespace halcyon::qmp {
namespace {

Error negative_size() {
    return Error("Parameter 'size' expects a non-negative value", ErrorCode::kInvalidArgument);
}

}  // namespace

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

void qmp_memsave(CommandContext& context, const MemsaveArguments& arguments, Reply<void> reply) {
    Machine& machine = context.machine();
    const int64_t index = arguments.cpu_index.value_or(0);
    if (index < 0 || static_cast<uint64_t>(index) >= machine.vcpus().size()) {
        reply(Error("Parameter 'cpu-index' expects a CPU number", ErrorCode::kInvalidArgument));
        return;
    }
    if (arguments.size < 0) {
        reply(negative_size());
        return;
    }
    machine.read_registers(
        VcpuIndex(static_cast<uint32_t>(index)),
        [&machine, arguments,
         done = answer(std::move(reply))](const Result<VcpuRegisters>& registers) {
            if (!registers) {
                done(registers.error());
                return;
            }
            machine.run_in_background(
                "memsave",
                [arguments, memory = machine.memory(),
                 registers = *registers](const std::atomic<bool>& cancelled) {
                    return save_virtual(memory, registers, static_cast<uint64_t>(arguments.val),
                                        static_cast<uint64_t>(arguments.size), arguments.filename,
                                        cancelled);
                },
                done);
        });
}

void qmp_pmemsave(CommandContext& context, const PmemsaveArguments& arguments, Reply<void> reply) {
    if (arguments.size < 0) {
        reply(negative_size());
        return;
    }
    context.machine().run_in_background(
        "pmemsave",
        [arguments, memory = context.machine().memory()](const std::atomic<bool>& cancelled) {
            return save_physical(memory, static_cast<uint64_t>(arguments.val),
                                 static_cast<uint64_t>(arguments.size), arguments.filename,
                                 cancelled);
        },
        answer(std::move(reply)));
}

Result<BalloonInfo> qmp_query_balloon(CommandContext&) {
    return Error("No balloon device has been activated", ErrorCode::kNotActive);
}

}  // namespace halcyon::qmp
