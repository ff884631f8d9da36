// Commands that tell what the machine is made of.

#include <array>
#include <string>

#include "daemon/command_context.h"
#include "daemon/commands/convert.h"
#include "qmp_commands.h"

namespace halcyon::qmp {
namespace {

/// The schema's value for a backend; a name it lacks (a test's backend) counts as none.
Accelerator to_qmp_accelerator(const halcyon::Accelerator* accelerator) {
    if (accelerator == nullptr) {
        return Accelerator::kNone;
    }
    return from_string<Accelerator>(accelerator->name()).value_or(Accelerator::kNone);
}

std::string format_uuid(const std::array<uint8_t, 16>& bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    for (size_t index = 0; index < bytes.size(); ++index) {
        if (index == 4 || index == 6 || index == 8 || index == 10) {
            text += '-';
        }
        text += kDigits[bytes[index] >> 4];
        text += kDigits[bytes[index] & 0xf];
    }
    return text;
}

}  // namespace

Result<NameInfo> qmp_query_name(CommandContext& context) {
    const std::string& name = context.machine().config().name;
    return NameInfo{.name = name.empty() ? std::nullopt : std::optional(name)};
}

Result<UuidInfo> qmp_query_uuid(CommandContext& context) {
    // Without -uuid all zeroes, as in QEMU.
    return UuidInfo{
        format_uuid(context.machine().config().uuid.value_or(std::array<uint8_t, 16>{}))};
}

Result<AcceleratorInfo> qmp_query_accelerators(CommandContext& context) {
    AcceleratorInfo info;
    info.enabled = to_qmp_accelerator(context.machine().accelerator());
    for (const halcyon::Accelerator* accelerator : context.accelerators()) {
        info.present.push_back(to_qmp_accelerator(accelerator));
    }
    return info;
}

Result<KvmInfo> qmp_query_kvm(CommandContext& context) {
    KvmInfo info;
    const halcyon::Accelerator* enabled = context.machine().accelerator();
    info.enabled = enabled != nullptr && enabled->name() == "kvm";
    for (const halcyon::Accelerator* accelerator : context.accelerators()) {
        info.present = info.present || accelerator->name() == "kvm";
    }
    return info;
}

Result<std::vector<CpuInfoFast>> qmp_query_cpus_fast(CommandContext& context) {
    std::vector<CpuInfoFast> infos;
    for (const VcpuInfo& vcpu : context.machine().vcpus()) {
        CpuInfoFast info;
        info.cpu_index = vcpu.index.value();
        info.qom_path = vcpu_path(vcpu.index);
        info.thread_id = vcpu.thread_id;
        info.props = vcpu_properties(vcpu.index);
        info.target = SysEmuTarget::kX8664;
        infos.push_back(std::move(info));
    }
    return infos;
}

Result<std::vector<HotpluggableCPU>> qmp_query_hotpluggable_cpus(CommandContext& context) {
    if (!is_pc(context.machine())) {
        return Error("The feature 'query-hotpluggable-cpus' is not enabled",
                     ErrorCode::kUnsupported);
    }
    std::vector<HotpluggableCPU> slots;
    for (const VcpuInfo& vcpu : context.machine().vcpus()) {
        HotpluggableCPU slot;
        slot.type = cpu_type_name(context.machine().config().cpu_model);
        slot.vcpus_count = 1;
        slot.props = vcpu_properties(vcpu.index);
        slot.qom_path = vcpu_path(vcpu.index);
        slots.push_back(std::move(slot));
    }
    return slots;
}

Result<TargetInfo> qmp_query_target(CommandContext&) {
    return TargetInfo{SysEmuTarget::kX8664};
}

Result<std::vector<MachineInfo>> qmp_query_machines(CommandContext&) {
    MachineInfo pc;
    pc.name = "pc";
    pc.is_default = true;
    pc.cpu_max = kMaxVcpus;
    pc.default_cpu_type = cpu_type_name(MachineConfig().cpu_model);
    pc.default_ram_id = kMainMemoryId;
    MachineInfo none;
    none.name = "none";
    none.cpu_max = 0;
    return std::vector{pc, none};
}

Result<CurrentMachineParams> qmp_query_current_machine(CommandContext&) {
    return CurrentMachineParams{.wakeup_suspend_support = false};
}

Result<void> qmp_rtc_reset_reinjection(CommandContext&) {
    return {};
}

Result<std::vector<IOThreadInfo>> qmp_query_iothreads(CommandContext&) {
    return std::vector<IOThreadInfo>();
}

Result<std::vector<VcpuStats>> qmp_org_halcyon_query_vcpu_stats(CommandContext& context) {
    std::vector<VcpuStats> all;
    const halcyon::Accelerator* const accelerator = context.machine().accelerator();
    const std::string kick_mechanism(accelerator != nullptr ? accelerator->kick_mechanism() : "");
    for (const VcpuInfo& vcpu : context.machine().vcpus()) {
        const std::optional<VcpuState> state = from_string<VcpuState>(vcpu.state);
        if (!state) {
            return Error("vCPU " + std::to_string(vcpu.index.value()) +
                         " is in a state that the schema lacks");
        }
        all.push_back({.cpu_index = vcpu.index.value(),
                       .thread_id = vcpu.thread_id,
                       .state = *state,
                       .kick_mechanism = kick_mechanism,
                       .kicks = vcpu.kicks,
                       .rekicks = vcpu.rekicks});
    }
    return all;
}

}  // namespace halcyon::qmp
