#include "daemon/options/option_table.h"

#include <array>
#include <limits>

#include "daemon/options/values.h"
#include "daemon/version.h"

namespace halcyon {
namespace {

Error invalid(std::string message) {
    return Error(std::move(message), ErrorCode::kInvalidArgument);
}

// -- the options that only set something --------------------------------------------------------

Result<void> apply_bios(OptionParser& parser, const std::string& argument) {
    if (argument.empty()) {
        return invalid("the file's path is empty");
    }
    parser.options.machine.firmware_path = argument;
    return {};
}

Result<void> apply_start_paused(OptionParser& parser, const std::string&) {
    parser.options.machine.start_paused = true;
    return {};
}

Result<void> apply_preconfig(OptionParser& parser, const std::string&) {
    parser.options.machine.preconfig = true;
    return {};
}

Result<void> apply_no_reboot(OptionParser& parser, const std::string&) {
    parser.options.machine.no_reboot = true;
    return {};
}

Result<void> apply_no_shutdown(OptionParser& parser, const std::string&) {
    parser.options.machine.no_shutdown = true;
    return {};
}

Result<void> apply_nodefaults(OptionParser& parser, const std::string&) {
    parser.nodefaults = true;
    return {};
}

Result<void> apply_no_user_config(OptionParser&, const std::string&) {
    return {};
}

Result<void> apply_nographic(OptionParser& parser, const std::string&) {
    parser.nographic = true;
    parser.options.machine.no_graphics = true;
    return {};
}

Result<void> apply_display(OptionParser&, const std::string& argument) {
    if (argument == "none") {
        return {};
    }
    return invalid("there are no displays; say none");
}

Result<void> apply_pidfile(OptionParser& parser, const std::string& argument) {
    if (argument.empty()) {
        return invalid("the file's path is empty");
    }
    parser.options.pidfile = argument;
    return {};
}

Result<void> apply_daemonize(OptionParser& parser, const std::string&) {
    parser.options.daemonize = true;
    return {};
}

Result<void> apply_log_file(OptionParser& parser, const std::string& argument) {
    if (argument.empty()) {
        return invalid("the file's path is empty");
    }
    parser.options.log_file = argument;
    return {};
}

Result<void> apply_log_level(OptionParser& parser, const std::string& argument) {
    constexpr std::pair<std::string_view, LogLevel> kLevels[] = {{"debug", LogLevel::kDebug},
                                                                 {"info", LogLevel::kInfo},
                                                                 {"warning", LogLevel::kWarning},
                                                                 {"error", LogLevel::kError},
                                                                 {"off", LogLevel::kOff}};
    std::string names;
    for (const auto& [name, level] : kLevels) {
        if (argument == name) {
            parser.options.log_level = level;
            return {};
        }
        names += std::string(name) + "\n";
    }
    if (asks_for_help(argument)) {
        parser.options.information = "Log levels:\n" + names;
        return {};
    }
    return invalid("there is no such level");
}

Result<void> apply_quit_timeout(OptionParser& parser, const std::string& argument) {
    constexpr std::chrono::milliseconds kLongest = std::chrono::hours(1);
    const std::optional<std::chrono::milliseconds> timeout = parse_seconds(argument);
    if (!timeout || timeout->count() == 0 || *timeout > kLongest) {
        return invalid("must be a number of seconds from 0.001 to 3600");
    }
    parser.options.machine.quit_timeout = *timeout;
    return {};
}

Result<void> apply_version(OptionParser& parser, const std::string&) {
    parser.options.information = version_text();
    return {};
}

Result<void> apply_help(OptionParser& parser, const std::string&) {
    parser.options.information = help_text();
    return {};
}

constexpr OptionSpec kOptions[] = {
    {"machine", "M", OptionArea::kMachine, "[type=]pc|none|help[,accel=NAME[:NAME...]]",
     "pc: a PC around the i440FX host bridge (default)\n"
     "none: no CPUs, no memory, no devices, QMP only",
     apply_machine},
    {"accel", "", OptionArea::kMachine, "NAME[:NAME...]|help",
     "what runs the guest: mshv, kvm or soft; the first that works\n"
     "here is taken (default mshv:kvm:soft); may be repeated",
     apply_accel},
    {"enable-kvm", "", OptionArea::kMachine, "", "the same as -machine accel=kvm",
     apply_enable_kvm},
    {"cpu", "", OptionArea::kMachine, "host|max|help",
     "the CPU model; both give what the accelerator has (default host)", apply_cpu},
    {"smp", "", OptionArea::kMachine, "[cpus=]N[,maxcpus=N][,sockets=N][,cores=N][,threads=N]",
     "the number of vCPUs, 1 to 255 (default 1)", apply_smp},
    {"m", "", OptionArea::kMachine, "[size=]SIZE[b|K|M|G|T]",
     "the guest's memory, in MiB without suffix (default 128)", apply_memory},
    {"name", "", OptionArea::kMachine, "[guest=]NAME[,process=NAME][,debug-threads=on|off]",
     "the guest's name, and that of the process", apply_name},
    {"uuid", "", OptionArea::kMachine, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", "the guest's UUID",
     apply_uuid},
    {"bios", "", OptionArea::kFirmware, "FILE",
     "the firmware (default /usr/share/seabios/bios.bin)", apply_bios},
    {"boot", "", OptionArea::kFirmware, "[menu=on|off][,splash-time=MS][,strict=on|off]",
     "menu=on offers the firmware's boot menu, for splash-time", apply_boot},
    {"S", "", OptionArea::kFirmware, "", "do not start the guest; the QMP command cont does",
     apply_start_paused},
    {"preconfig", "", OptionArea::kFirmware, "",
     "wait before the machine is started for x-exit-preconfig", apply_preconfig},
    {"no-reboot", "", OptionArea::kFirmware, "", "end when the guest resets itself",
     apply_no_reboot},
    {"no-shutdown", "", OptionArea::kFirmware, "",
     "stop, but do not end, when the guest powers itself off", apply_no_shutdown},
    {"action", "", OptionArea::kFirmware,
     "[reboot=reset|shutdown][,shutdown=poweroff|pause][,internal-error=pause|exit-failure]",
     "what becomes of the machine when the guest resets it (default reset), switches it\n"
     "off (poweroff), or when its accelerator cannot go on (pause; exit-failure ends it\n"
     "with exit status 2); panic= and watchdog= as in QEMU are taken, and change nothing",
     apply_action},
    {"serial", "", OptionArea::kCharacter,
     "stdio|pty|null|none|file:PATH|unix:PATH[,server=on|off][,wait=on|off]|"
     "tcp:HOST:PORT[,server=on|off][,wait=on|off]|chardev:ID",
     "the next serial port, COM1 to COM4 (default none)", apply_serial},
    {"debugcon", "", OptionArea::kCharacter,
     "stdio|pty|null|none|file:PATH|unix:PATH[,server=on|off][,wait=on|off]|"
     "tcp:HOST:PORT[,server=on|off][,wait=on|off]|chardev:ID",
     "the firmware's debug console, port 0x402 (default none)", apply_debugcon},
    {"chardev", "", OptionArea::kCharacter,
     "socket|stdio|file|pty|ringbuf|null,id=ID[,KEY=VALUE...]|help",
     "a back end for serial ports, the debug console or monitors:\n"
     "socket,id=ID,path=PATH[,abstract=on|off][,tight=on|off][,server=on|off][,wait=on|off]\n"
     "socket,id=ID,host=HOST,port=PORT[,to=PORT][,ipv4=on|off][,ipv6=on|off][,nodelay=on|off]\n"
     "  [,server=on|off][,wait=on|off]\n"
     "socket,id=ID,fd=N[,server=on|off][,wait=on|off]  an inherited socket\n"
     "stdio,id=ID[,signal=on|off]\n"
     "file,id=ID,path=PATH[,append=on|off]\n"
     "pty,id=ID\n"
     "ringbuf,id=ID[,size=SIZE]  the last SIZE bytes (default 64k), for QMP's ringbuf-read\n"
     "null,id=ID\n"
     "server=on listens, wait=on (default) waits for the first client, websocket=on speaks\n"
     "WebSocket with its clients; server=off (default) connects, and with reconnect=SECONDS or\n"
     "reconnect-ms=MS again and again",
     apply_chardev},
    {"nographic", "", OptionArea::kCharacter, "",
     "the first serial port on stdio, unless -serial says otherwise", apply_nographic},
    {"display", "", OptionArea::kCharacter, "none", "there are no displays", apply_display},
    {"qmp", "", OptionArea::kMonitor,
     "unix:PATH[,server=on|off][,wait=on|off]|tcp:HOST:PORT[,server=on|off][,wait=on|off]|"
     "fd=N[,server=on|off][,wait=on|off]|stdio|pty|chardev:ID",
     "a QMP monitor; may be repeated", apply_qmp},
    {"qmp-pretty", "", OptionArea::kMonitor,
     "unix:PATH[,server=on|off][,wait=on|off]|tcp:HOST:PORT[,server=on|off][,wait=on|off]|"
     "fd=N[,server=on|off][,wait=on|off]|stdio|pty|chardev:ID",
     "the same, with its messages spread over lines", apply_qmp_pretty},
    {"mon", "", OptionArea::kMonitor, "[chardev=]ID,mode=control[,pretty=on|off]",
     "a QMP monitor on a back end made by -chardev", apply_mon},
    {"monitor", "", OptionArea::kMonitor, "none", "there is no human monitor", apply_monitor},
    {"pidfile", "", OptionArea::kProcess, "FILE",
     "write the process id there, locked; removed at exit", apply_pidfile},
    {"daemonize", "", OptionArea::kProcess, "",
     "go to the background once the sockets listen and the pidfile is written", apply_daemonize},
    {"D", "", OptionArea::kProcess, "FILE", "append the log to FILE instead of standard error",
     apply_log_file},
    {"d", "", OptionArea::kProcess, "debug|info|warning|error|off|help",
     "log what is at least so grave (default warning; info in the journal)", apply_log_level},
    {"quit-timeout", "", OptionArea::kProcess, "SECONDS",
     "how long a vCPU may take to leave the hypervisor before quit\n"
     "reports that it did not (default 5)",
     apply_quit_timeout},
    {"sandbox", "", OptionArea::kProcess, "on|log|off",
     "what becomes of system calls that a thread has no business with: they fail (on, the\n"
     "default), are logged by the kernel, or are made; QEMU's further keys may say deny",
     apply_sandbox},
    {"machined", "", OptionArea::kProcess, "on|off|auto",
     "register the VM with systemd-machined; auto, the default, does so as a service with a\n"
     "-name where machined allows it",
     apply_machined},
    {"nodefaults", "", OptionArea::kProcess, "", "no default devices; -nographic adds none",
     apply_nodefaults},
    {"options-file", "", OptionArea::kProcess, "FILE",
     "read options from FILE, one a line, as if they stood here; lines that\n"
     "begin with # are comments, and nothing is quoted; may be repeated",
     apply_options_file},
    {"no-user-config", "", OptionArea::kProcess, "", "no file is read without -options-file",
     apply_no_user_config},
    {"version", "", OptionArea::kInformation, "", "print the version", apply_version},
    {"help", "h", OptionArea::kInformation, "", "print this", apply_help},
};

std::string_view area_title(OptionArea area) {
    switch (area) {
        case OptionArea::kMachine:
            return "Machine";
        case OptionArea::kFirmware:
            return "Start and end";
        case OptionArea::kCharacter:
            return "Consoles and their back ends";
        case OptionArea::kMonitor:
            return "Monitors";
        case OptionArea::kProcess:
            return "Process";
        case OptionArea::kInformation:
            return "Information";
    }
    return "";
}

void append_help(std::string& text, const OptionSpec& spec) {
    constexpr std::string_view kIndent = "        ";
    text += "  -" + std::string(spec.name);
    if (!spec.alias.empty()) {
        text += ", -" + std::string(spec.alias);
    }
    if (!spec.argument.empty()) {
        text += " " + std::string(spec.argument);
    }
    text += "\n";
    std::string_view help = spec.help;
    while (!help.empty()) {
        const size_t end = std::min(help.find('\n'), help.size());
        text += std::string(kIndent) + std::string(help.substr(0, end)) + "\n";
        help.remove_prefix(std::min(end + 1, help.size()));
    }
}

}  // namespace

std::span<const OptionSpec> option_table() {
    return kOptions;
}

std::string version_text() {
    return "Halcyon version " + std::string(kVersion) + " (QMP of QEMU " +
           std::to_string(kQapiVersion.major) + "." + std::to_string(kQapiVersion.minor) + "." +
           std::to_string(kQapiVersion.micro) + ")\n";
}

std::string help_text() {
    std::string text = version_text() +
                       "usage: halcyond [options]\n"
                       "One process is one virtual machine. --option is the same as -option;\n"
                       "in values, write ',,' for a comma.\n";
    OptionArea area = OptionArea::kMachine;
    bool first = true;
    for (const OptionSpec& spec : kOptions) {
        if (first || spec.area != area) {
            text += "\n" + std::string(area_title(spec.area)) + ":\n";
        }
        first = false;
        area = spec.area;
        append_help(text, spec);
    }
    text +=
        "\nExample:\n"
        "  halcyond -accel kvm:soft -smp 4 -m 64 -debugcon stdio \\\n"
        "           -qmp unix:/run/user/0/vm.sock,server=on,wait=off\n";
    return text;
}

}  // namespace halcyon
