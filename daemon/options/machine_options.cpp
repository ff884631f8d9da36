#include <algorithm>
#include <array>
#include <limits>

#include "daemon/options/key_values.h"
#include "daemon/options/option_table.h"
#include "daemon/options/values.h"

namespace halcyon {
namespace {

Error invalid(std::string message) {
    return Error(std::move(message), ErrorCode::kInvalidArgument);
}

/// The accelerators that some build has. One that this build lacks is passed over in a list, so
/// that a list fits every build; any other name is a mistake.
constexpr std::array<std::string_view, 3> kKnownAccelerators = {"mshv", "kvm", "soft"};

std::string accelerator_names(const OptionParser& parser) {
    std::string names;
    for (const Accelerator* accelerator : parser.built_in) {
        names += (names.empty() ? "" : ", ") + std::string(accelerator->name());
    }
    return names;
}

/// Adds the accelerators of "a:b:c".
Result<void> add_accelerators(OptionParser& parser, std::string_view list) {
    std::vector<const Accelerator*>& chosen = parser.options.machine.accelerators;
    std::string lacking;
    size_t start = 0;
    while (start <= list.size()) {
        const size_t end = std::min(list.find(':', start), list.size());
        const std::string_view name = list.substr(start, end - start);
        start = end + 1;
        const auto found =
            std::find_if(parser.built_in.begin(), parser.built_in.end(),
                         [&](const Accelerator* candidate) { return candidate->name() == name; });
        if (found != parser.built_in.end()) {
            chosen.push_back(*found);
        } else if (std::find(kKnownAccelerators.begin(), kKnownAccelerators.end(), name) !=
                   kKnownAccelerators.end()) {
            lacking = name;
        } else {
            return invalid("there is no accelerator '" + std::string(name) + "', only " +
                           accelerator_names(parser));
        }
    }
    if (chosen.empty()) {
        return invalid("this build has no accelerator '" + lacking + "', only " +
                       accelerator_names(parser));
    }
    return {};
}

/// Properties of QEMU's machines that say what this one does anyway, so that a command line written
/// for QEMU may keep them.
struct FixedProperty {
    std::string_view name;
    bool value;
};
constexpr std::array<FixedProperty, 6> kFixedMachineProperties = {{
    {"usb", false},
    {"vmport", false},
    {"smm", false},
    {"hpet", false},
    {"graphics", false},
    {"nvdimm", false},
}};

Result<void> take_fixed_properties(KeyValues& values) {
    for (const FixedProperty& property : kFixedMachineProperties) {
        const std::optional<bool> value = TRY(values.take_bool(property.name));
        if (value && *value != property.value) {
            return invalid("the machine has no " + std::string(property.name) + "; say " +
                           std::string(property.name) + "=off");
        }
    }
    return {};
}

struct Topology {
    std::optional<uint64_t> cpus, maxcpus, sockets, dies, clusters, cores, threads;
};

Result<Topology> take_topology(KeyValues& values) {
    Topology topology;
    const auto take = [&](const char* key, std::optional<uint64_t>& number) -> Result<void> {
        number = TRY(values.take_number(key, std::numeric_limits<uint32_t>::max()));
        if (number && *number == 0) {
            return invalid(std::string(key) + " must be at least 1");
        }
        return {};
    };
    TRY(take("cpus", topology.cpus));
    TRY(take("maxcpus", topology.maxcpus));
    TRY(take("sockets", topology.sockets));
    TRY(take("dies", topology.dies));
    TRY(take("clusters", topology.clusters));
    TRY(take("cores", topology.cores));
    TRY(take("threads", topology.threads));
    return topology;
}

/// The number of vCPUs, with what is left out filled in as QEMU does since 6.2: cores before
/// sockets before threads.
Result<uint64_t> count_vcpus(Topology topology) {
    if (topology.dies.value_or(1) != 1 || topology.clusters.value_or(1) != 1) {
        return invalid("dies and clusters can only be 1");
    }
    const auto fits = [](uint64_t total, uint64_t part) {
        return std::max<uint64_t>(total / part, 1);
    };
    const std::optional<uint64_t> wanted = topology.maxcpus ? topology.maxcpus : topology.cpus;
    if (wanted) {
        if (!topology.cores) {
            topology.cores =
                fits(*wanted, topology.sockets.value_or(1) * topology.threads.value_or(1));
        } else if (!topology.sockets) {
            topology.sockets = fits(*wanted, *topology.cores * topology.threads.value_or(1));
        } else if (!topology.threads) {
            topology.threads = fits(*wanted, *topology.sockets * *topology.cores);
        }
    }
    // Clamped, so that the product of any three numbers fits.
    const auto factor = [](const std::optional<uint64_t>& number) {
        return std::min<uint64_t>(number.value_or(1), kMaxVcpus + 1);
    };
    const uint64_t total =
        factor(topology.sockets) * factor(topology.cores) * factor(topology.threads);
    if (total > kMaxVcpus || wanted.value_or(0) > kMaxVcpus) {
        return invalid("that is more than " + std::to_string(kMaxVcpus) + " vCPUs");
    }
    if (total != wanted.value_or(total)) {
        return invalid("sockets x cores x threads is " + std::to_string(total) + ", but " +
                       (topology.maxcpus ? "maxcpus" : "cpus") + " is " + std::to_string(*wanted));
    }
    const uint64_t cpus = topology.cpus.value_or(total);
    if (cpus != total) {
        return invalid("cpus is " + std::to_string(cpus) + " and maxcpus " + std::to_string(total) +
                       ": they must be equal, vCPUs cannot be added later");
    }
    return cpus;
}

/// Takes `key`, which is one of `words`, and for which nobody here has a use.
Result<void> take_unused(KeyValues& values, const std::string& key,
                         const std::vector<std::string_view>& words) {
    const std::optional<std::string> value = values.take(key);
    if (value && std::find(words.begin(), words.end(), *value) == words.end()) {
        std::string list;
        for (const std::string_view word : words) {
            list += (list.empty() ? "" : ", ") + std::string(word);
        }
        return invalid(key + "= must be one of " + list + ", not '" + *value + "'");
    }
    return {};
}

/// Takes `key`, which is one of two words: true for the second, nothing when it is not there.
Result<std::optional<bool>> take_choice(KeyValues& values, const std::string& key,
                                        const std::string& first, const std::string& second) {
    const std::optional<std::string> value = values.take(key);
    if (!value) {
        return std::optional<bool>();
    }
    if (*value != first && *value != second) {
        return Error(key + "= must be " + first + " or " + second + ", not '" + *value + "'",
                     ErrorCode::kInvalidArgument);
    }
    return std::optional<bool>(*value == second);
}

}  // namespace

Result<void> apply_machine(OptionParser& parser, const std::string& argument) {
    KeyValues values = TRY(KeyValues::parse(argument, "type"));
    if (const std::optional<std::string> type = values.take("type")) {
        if (asks_for_help(*type)) {
            parser.options.information =
                "Machines:\n"
                "pc      a PC around the i440FX host bridge (default)\n"
                "none    no CPUs, no memory, no devices: QMP only\n";
            return {};
        }
        if (*type != "pc" && *type != "none") {
            return invalid("there is no machine '" + *type + "', only pc and none");
        }
        parser.options.machine.board = *type == "pc" ? BoardKind::kPc : BoardKind::kNone;
    }
    if (const std::optional<std::string> list = values.take("accel")) {
        parser.machine_accel_origin = parser.origin;
        parser.options.machine.accelerators.clear();
        TRY(add_accelerators(parser, *list));
    }
    TRY(take_fixed_properties(values));
    return values.expect_empty();
}

Result<void> apply_accel(OptionParser& parser, const std::string& argument) {
    KeyValues values = TRY(KeyValues::parse(argument, "accel"));
    const std::string list = TRY(values.take_required("accel"));
    if (asks_for_help(list)) {
        std::string text = "Accelerators in this build, in the order they are tried:\n";
        for (const Accelerator* accelerator : parser.built_in) {
            const Result<void> probed = accelerator->probe();
            text += std::string(accelerator->name()) + ": " +
                    (probed ? "works here" : probed.error().message()) + "\n";
        }
        parser.options.information = text;
        return {};
    }
    TRY(values.expect_empty());
    parser.accel_origin = parser.origin;
    return add_accelerators(parser, list);
}

Result<void> apply_enable_kvm(OptionParser& parser, const std::string& argument) {
    static_cast<void>(argument);
    return apply_machine(parser, "accel=kvm");
}

Result<void> apply_cpu(OptionParser& parser, const std::string& argument) {
    KeyValues values = TRY(KeyValues::parse(argument, "model"));
    const std::string model = TRY(values.take_required("model"));
    if (asks_for_help(model)) {
        parser.options.information =
            "CPU models:\n"
            "host    what the accelerator has on this host (default)\n"
            "max     the same\n";
        return {};
    }
    if (model != "host" && model != "max") {
        return invalid("there is no CPU model '" + model + "', only host and max");
    }
    parser.options.machine.cpu_model = model;
    return values.expect_empty();
}

Result<void> apply_smp(OptionParser& parser, const std::string& argument) {
    KeyValues values = TRY(KeyValues::parse(argument, "cpus"));
    const Topology topology = TRY(take_topology(values));
    TRY(values.expect_empty());
    parser.options.machine.vcpu_count = static_cast<uint32_t>(TRY(count_vcpus(topology)));
    return {};
}

Result<void> apply_memory(OptionParser& parser, const std::string& argument) {
    KeyValues values = TRY(KeyValues::parse(argument, "size"));
    const std::string text = TRY(values.take_required("size"));
    TRY(values.expect_empty());
    const std::optional<uint64_t> size = parse_size(text, 1_MiB);
    // Room for rounding up; no host has that much.
    if (!size || *size > std::numeric_limits<uint64_t>::max() - 1_MiB) {
        return invalid(
            "size must be a number below 2^64, in MiB or with a suffix b K M G T, not '" + text +
            "'");
    }
    if (*size == 0) {
        return invalid("a machine needs memory; size must be above 0");
    }
    // QEMU rounds up to 8 KiB (softmmu/vl.c), so that sizes agree.
    parser.options.machine.ram_size = (*size + 8_KiB - 1) / 8_KiB * 8_KiB;
    return {};
}

Result<void> apply_name(OptionParser& parser, const std::string& argument) {
    KeyValues values = TRY(KeyValues::parse(argument, "guest"));
    if (std::optional<std::string> guest = values.take("guest")) {
        parser.options.machine.name = *std::move(guest);
    }
    if (std::optional<std::string> process = values.take("process")) {
        parser.options.process_name = *std::move(process);
    }
    // Threads always carry names.
    TRY(values.take_bool("debug-threads"));
    return values.expect_empty();
}

Result<void> apply_boot(OptionParser& parser, const std::string& argument) {
    KeyValues values = TRY(KeyValues::parse(argument));
    MachineConfig& machine = parser.options.machine;
    machine.boot_menu = TRY(values.take_bool("menu")).value_or(machine.boot_menu);
    // The firmware reads the time as 16 bits of milliseconds (fw_cfg etc/boot-menu-wait).
    const std::optional<uint64_t> wait =
        TRY(values.take_number("splash-time", std::numeric_limits<uint16_t>::max()));
    if (wait) {
        machine.boot_menu_wait = std::chrono::milliseconds(*wait);
    }
    // There are no devices to fall back to, so strict changes nothing.
    TRY(values.take_bool("strict"));
    return values.expect_empty();
}

Result<void> apply_uuid(OptionParser& parser, const std::string& argument) {
    const std::optional<std::array<uint8_t, 16>> uuid = parse_uuid(argument);
    if (!uuid) {
        return invalid("that is not a UUID; one looks like 12345678-9abc-def0-1234-56789abcdef0");
    }
    parser.options.machine.uuid = uuid;
    return {};
}

Result<void> apply_action(OptionParser& parser, const std::string& argument) {
    KeyValues values = TRY(KeyValues::parse(argument));
    Options& options = parser.options;
    const auto no_reboot = TRY(take_choice(values, "reboot", "reset", "shutdown"));
    const auto no_shutdown = TRY(take_choice(values, "shutdown", "poweroff", "pause"));
    const auto end = TRY(take_choice(values, "internal-error", "pause", "exit-failure"));
    // There is no device that tells of a panic, and no watchdog, as with QMP's set-action.
    TRY(take_unused(values, "panic", {"pause", "shutdown", "exit-failure", "none"}));
    TRY(take_unused(values, "watchdog",
                    {"reset", "shutdown", "poweroff", "inject-nmi", "pause", "debug", "none"}));
    options.machine.no_reboot = no_reboot.value_or(options.machine.no_reboot);
    options.machine.no_shutdown = no_shutdown.value_or(options.machine.no_shutdown);
    options.end_on_internal_error = end.value_or(options.end_on_internal_error);
    return values.expect_empty();
}

Result<void> apply_sandbox(OptionParser& parser, const std::string& argument) {
    KeyValues values = TRY(KeyValues::parse(argument, "enable"));
    const std::string mode = TRY(values.take_required("enable"));
    if (mode != "on" && mode != "log" && mode != "off") {
        return invalid("'" + mode + "' is neither on, log nor off");
    }
    // What QEMU denies on demand no thread is allowed here.
    for (const char* key : {"obsolete", "elevateprivileges", "spawn", "resourcecontrol"}) {
        const std::optional<std::string> value = values.take(key);
        if (value && *value != "deny") {
            return invalid(std::string(key) + "= can only be deny");
        }
    }
    parser.options.sandbox = mode == "on"    ? SandboxMode::kOn
                             : mode == "log" ? SandboxMode::kLog
                                             : SandboxMode::kOff;
    return values.expect_empty();
}

Result<void> apply_machined(OptionParser& parser, const std::string& argument) {
    if (argument != "on" && argument != "off" && argument != "auto") {
        return invalid("'" + argument + "' is neither on, off nor auto");
    }
    parser.options.machined = argument == "on"    ? MachinedMode::kOn
                              : argument == "off" ? MachinedMode::kOff
                                                  : MachinedMode::kAuto;
    return {};
}

}  // namespace halcyon
