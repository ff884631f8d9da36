// The subcommands of info.

#include <array>

#include <spdlog/fmt/fmt.h>

#include "daemon/commands/convert.h"
#include "daemon/hmp/call.h"
#include "daemon/hmp/expression.h"
#include "daemon/hmp/registers.h"
#include "daemon/hmp/tree_text.h"
#include "daemon/qom/tree.h"
#include "daemon/version.h"
#include "qmp_commands.h"

namespace halcyon::hmp {

namespace {

/// Answers with what a QMP command returns, put into words by `format`; with its error else.
template <typename T, typename Format>
void show(const Call& call, const Result<T>& result, Format format) {
    call.done(result ? format(*result) : "Error: " + result.error().message() + "\n");
}

void show_status(const Call& call) {
    show(call, qmp::qmp_query_status(*call.context), [](const qmp::StatusInfo& info) {
        std::string text = std::string("VM status: ") + (info.running ? "running" : "paused");
        if (!info.running && info.status != qmp::RunState::kPaused) {
            text += " (" + std::string(to_string(info.status)) + ")";
        }
        return text + "\n";
    });
}

void show_cpus(const Call& call) {
    show(call, qmp::qmp_query_cpus_fast(*call.context),
         [&](const std::vector<qmp::CpuInfoFast>& cpus) {
             std::string text;
             for (const qmp::CpuInfoFast& cpu : cpus) {
                 text += fmt::format("{} CPU #{}: thread_id={}\n",
                                     cpu.cpu_index == call.cpu.value() ? '*' : ' ', cpu.cpu_index,
                                     cpu.thread_id);
             }
             return text;
         });
}

/// One vCPU's, or all vCPUs', as the arguments say.
void show_registers(const Call& call) {
    std::string_view rest = call.arguments;
    bool all = false;
    int64_t index = call.cpu.value();
    if (rest.starts_with('-')) {
        if (!rest.starts_with("-a")) {
            answer_misuse(call, "registers: unsupported option " + std::string(rest.substr(0, 2)));
            return;
        }
        all = true;
        rest.remove_prefix(2);
    } else if (!rest.empty()) {
        const Result<int64_t> number =
            read_expression(rest, [](std::string_view) { return std::nullopt; });
        if (!number) {
            answer_misuse(call, number.error().message());
            return;
        }
        index = *number;
    }
    if (!expect_end(call, rest)) {
        return;
    }
    with_registers(call, [call, all, index](const std::vector<VcpuRegisters>& vcpus) {
        std::string text;
        for (size_t i = 0; i < vcpus.size(); ++i) {
            if (all || static_cast<int64_t>(i) == index) {
                text += fmt::format("\nCPU#{}\n", i) + format_registers(vcpus[i]);
            }
        }
        call.done(!text.empty() || all ? text : fmt::format("CPU#{} not available\n", index));
    });
}

void show_chardevs(const Call& call) {
    show(call, qmp::qmp_query_chardev(*call.context),
         [](const std::vector<qmp::ChardevInfo>& chardevs) {
             std::string text;
             for (const qmp::ChardevInfo& chardev : chardevs) {
                 text += chardev.label + ": filename=" + chardev.filename + "\n";
             }
             return text;
         });
}

std::string format_region(const qmp::PciMemoryRegion& region) {
    const auto start = static_cast<uint64_t>(region.address);
    const uint64_t last = start + static_cast<uint64_t>(region.size) - 1;
    if (region.type == "io") {
        return fmt::format("      BAR{}: I/O at {:#06x} [{:#06x}].\n", region.bar, start, last);
    }
    return fmt::format("      BAR{}: {} bit{} memory at {:#010x} [{:#010x}].\n", region.bar,
                       region.mem_type_64.value_or(false) ? 64 : 32,
                       region.prefetch.value_or(false) ? " prefetchable" : "", start, last);
}

std::string format_function(const qmp::PciDeviceInfo& function) {
    std::string text = fmt::format("  Bus {:2}, device {:3}, function {}:\n", function.bus,
                                   function.slot, function.function);
    text += fmt::format(
        "    {}: PCI device {:04x}:{:04x}\n",
        function.class_info.desc.value_or(fmt::format("Class {:04x}", function.class_info.class_)),
        function.id.vendor, function.id.device);
    text +=
        fmt::format("      PCI subsystem {:04x}:{:04x}\n", function.id.subsystem_vendor.value_or(0),
                    function.id.subsystem.value_or(0));
    if (function.irq) {
        text += fmt::format("      IRQ {}, pin {}\n", *function.irq,
                            static_cast<char>('A' + function.irq_pin - 1));
    }
    for (const qmp::PciMemoryRegion& region : function.regions) {
        text += format_region(region);
    }
    return text + "      id \"" + function.qdev_id + "\"\n";
}

void show_pci(const Call& call) {
    show(call, qmp::qmp_query_pci(*call.context), [](const std::vector<qmp::PciInfo>& buses) {
        std::string text;
        for (const qmp::PciInfo& bus : buses) {
            for (const qmp::PciDeviceInfo& function : bus.devices) {
                text += format_function(function);
            }
        }
        return text.empty() ? "No PCI buses\n" : text;
    });
}

void show_address_map(const Call& call) {
    Board* const board = call.machine().board();
    const std::vector<AddressBlock> none;
    // Port space has 64 KiB; memory space has all 64 bits.
    call.done(format_address_space("I/O", "io", 0x10000, board ? board->port_map() : none) +
              format_address_space("memory", "system", 0, board ? board->memory_map() : none));
}

std::unique_ptr<qom::Object> build_tree(const Call& call) {
    return qom::build_tree(call.machine(), call.context->chardevs(), call.context->objects());
}

void show_object_tree(const Call& call) {
    const auto tree = build_tree(call);
    const std::string path = call.arguments.empty() ? "/machine" : call.arguments;
    const qom::Object* const object = qom::resolve(*tree, path).object;
    call.done(object ? format_object_tree(*object)
                     : "Path '" + path + "' could not be resolved.\n");
}

void show_memory_size(const Call& call) {
    show(call, qmp::qmp_query_memory_size_summary(*call.context), [](const qmp::MemoryInfo& info) {
        return fmt::format("base memory: {}\n", info.base_memory) +
               fmt::format("plugged memory: {}\n", info.plugged_memory.value_or(0));
    });
}

constexpr auto kInfo = std::to_array<Command>({
    {"block", "", "show info of one block device or all block devices",
     [](const Call& call) { call.done(""); }},
    {"chardev", "", "show the character devices", show_chardevs},
    {"cpus", "", "show infos for each CPU", show_cpus},
    {"kvm", "", "show KVM information",
     [](const Call& call) {
         show(call, qmp::qmp_query_kvm(*call.context), [](const qmp::KvmInfo& info) {
             return std::string("kvm support: ") + (!info.present  ? "not compiled\n"
                                                    : info.enabled ? "enabled\n"
                                                                   : "disabled\n");
         });
     }},
    {"memory_size_summary", "",
     "show the amount of initially allocated and present hotpluggable (if enabled) memory in "
     "bytes.",
     show_memory_size},
    {"mtree", "", "show memory tree", show_address_map},
    {"name", "", "show the current VM name",
     [](const Call& call) {
         const std::string& name = call.machine().config().name;
         call.done(name.empty() ? "" : name + "\n");
     }},
    {"pci", "", "show PCI info", show_pci},
    {"qom-tree", "[path]", "show QOM composition tree", show_object_tree, true},
    {"qtree", "", "show device tree",
     [](const Call& call) { call.done(format_device_tree(*build_tree(call))); }},
    {"registers", "[-a|vcpu]",
     "show the cpu registers (-a: show register info for all cpus; vcpu: specific vCPU to query; "
     "show the current CPU's registers if no argument is specified)",
     show_registers, true},
    {"status", "", "show the current VM status (running|paused)", show_status},
    {"trace-events", "[name] [vcpu]",
     "show available trace-events & their state (name: event name pattern; vcpu: vCPU to query, "
     "default is any)",
     show_trace_events, true},
    {"uuid", "", "show the current VM UUID",
     [](const Call& call) {
         show(call, qmp::qmp_query_uuid(*call.context),
              [](const qmp::UuidInfo& info) { return info.uuid + "\n"; });
     }},
    {"version", "", "show the version of QEMU",
     [](const Call& call) {
         call.done(fmt::format("{}.{}.{} ({})\n", kQapiVersion.major, kQapiVersion.minor,
                               kQapiVersion.micro, package_version()));
     }},
});

}  // namespace

std::span<const Command> info_commands() {
    return kInfo;
}

}  // namespace halcyon::hmp
