#include "daemon/options/option_parameters.h"

namespace halcyon {
namespace {

using enum OptionParameter::Kind;

constexpr OptionParameter kAccel[] = {{"accel"}};
constexpr OptionParameter kAction[] = {{"reboot", kString, "reset"},
                                       {"shutdown", kString, "poweroff"},
                                       {"panic", kString, "shutdown"},
                                       {"watchdog", kString, "reset"},
                                       {"internal-error", kString, "pause"}};
constexpr OptionParameter kBoot[] = {
    {"menu", kBoolean, "off"}, {"splash-time", kNumber}, {"strict", kBoolean, "off"}};
constexpr OptionParameter kChardev[] = {
    {"backend"},
    {"id"},
    {"path"},
    {"fd"},
    {"host"},
    {"port"},
    {"to", kNumber},
    {"ipv4", kBoolean},
    {"ipv6", kBoolean},
    {"nodelay", kBoolean, "on"},
    {"server", kBoolean, "off"},
    {"wait", kBoolean, "on"},
    {"abstract", kBoolean, "off"},
    {"tight", kBoolean, "on"},
    {"websocket", kBoolean, "off"},
    {"reconnect", kNumber, "0"},
    {"reconnect-ms", kNumber, "0"},
    {"append", kBoolean, "off"},
    {"signal", kBoolean, "on"},
    {"size", kSize, "65536"},
};
constexpr OptionParameter kMachine[] = {
    {"type", kString, "pc"},     {"accel"},
    {"graphics", kBoolean},      {"hpet", kBoolean, "off"},
    {"nvdimm", kBoolean, "off"}, {"smm", kBoolean, "off"},
    {"usb", kBoolean, "off"},    {"vmport", kBoolean, "off"},
};
constexpr OptionParameter kMemory[] = {{"size", kSize, "128M"}};
constexpr OptionParameter kMonitor[] = {{"chardev"}, {"mode"}, {"pretty", kBoolean, "off"}};
constexpr OptionParameter kName[] = {{"guest"}, {"process"}, {"debug-threads", kBoolean}};
constexpr OptionParameter kSandbox[] = {
    {"enable", kBoolean}, {"obsolete"}, {"elevateprivileges"}, {"spawn"}, {"resourcecontrol"}};
constexpr OptionParameter kSmp[] = {
    {"cpus", kNumber, "1"},     {"maxcpus", kNumber}, {"sockets", kNumber}, {"dies", kNumber, "1"},
    {"clusters", kNumber, "1"}, {"cores", kNumber},   {"threads", kNumber},
};

constexpr OptionGroup kGroups[] = {
    {"accel", "accel", kAccel},       {"action", "action", kAction},
    {"boot-opts", "boot", kBoot},     {"chardev", "chardev", kChardev},
    {"machine", "machine", kMachine}, {"memory", "m", kMemory},
    {"mon", "mon", kMonitor},         {"name", "name", kName},
    {"sandbox", "sandbox", kSandbox}, {"smp-opts", "smp", kSmp},
};

}  // namespace

std::span<const OptionGroup> option_groups() {
    return kGroups;
}

}  // namespace halcyon
