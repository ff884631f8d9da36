#include "tools/mshv-emulator/options.h"

#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>

namespace halcyon::emulator {
namespace {

constexpr std::string_view kFaultPrefix = "fault.";

constexpr std::array<FaultName, 14> kFaultNames = {{
    {"spurious-eintr", &FaultPlan::spurious_eintr, "RUN_VP: EINTR without a signal"},
    {"message-with-signal", &FaultPlan::message_with_signal,
     "RUN_VP: a message instead of EINTR for a pending signal"},
    {"hypercall-eagain", &FaultPlan::hypercall_eagain, "ROOT_HVCALL: EAGAIN, nothing done"},
    {"partial-reps", &FaultPlan::partial_reps, "list hypercalls: EAGAIN after half of the list"},
    {"hypercall-error", &FaultPlan::hypercall_error, "ROOT_HVCALL: OPERATION_FAILED, EIO"},
    {"no-instruction-bytes", &FaultPlan::no_instruction_bytes,
     "messages without instruction bytes"},
    {"few-instruction-bytes", &FaultPlan::few_instruction_bytes,
     "messages with the first instruction byte only"},
    {"no-gva", &FaultPlan::no_gva, "memory intercepts without a virtual address"},
    {"page-invalid", &FaultPlan::page_invalid, "register page not valid after RUN_VP"},
    {"halt-message", &FaultPlan::halt_message, "RUN_VP: a HALT message"},
    {"unknown-message", &FaultPlan::unknown_message, "RUN_VP: a message of an unknown type"},
    {"run-eagain", &FaultPlan::run_eagain, "RUN_VP: EAGAIN"},
    {"create-eintr", &FaultPlan::create_eintr, "CREATE_PARTITION: EINTR"},
    {"bitmap-failure", &FaultPlan::bitmap_failure, "GET_GPAP_ACCESS_BITMAP: EIO half way"},
}};

/// Sets `to` to the value that `text` names.
template <typename T, size_t Count>
bool choose(std::string_view text, const std::array<std::pair<std::string_view, T>, Count>& from,
            T& to) {
    for (const auto& [name, value] : from) {
        if (name == text) {
            to = value;
            return true;
        }
    }
    return false;
}

constexpr std::array<std::pair<std::string_view, bool>, 2> kOnOff = {
    {{"on", true}, {"off", false}}};
constexpr std::array<std::pair<std::string_view, Kernel>, 2> kKernels = {
    {{"old", Kernel::kOld}, {"new", Kernel::kNew}}};
constexpr std::array<std::pair<std::string_view, Scheduler>, 2> kSchedulers = {
    {{"hypervisor", Scheduler::kHypervisor}, {"root", Scheduler::kRoot}}};

std::string escaped(std::string_view text) {
    std::string result;
    for (const char c : text) {
        if (c == '%') {
            result += "%25";
        } else if (c == ',') {
            result += "%2C";
        } else {
            result += c;
        }
    }
    return result;
}

std::string unescaped(std::string_view text) {
    std::string result;
    while (!text.empty()) {
        if (text.starts_with("%25") || text.starts_with("%2C")) {
            result += text[2] == '5' ? '%' : ',';
            text.remove_prefix(3);
        } else {
            result += text[0];
            text.remove_prefix(1);
        }
    }
    return result;
}

bool parse_fault(std::string_view name, std::string_view value, FaultPlan& faults,
                 std::string& error) {
    for (const FaultName& fault : kFaultNames) {
        if (fault.name != name) {
            continue;
        }
        uint32_t number = 0;
        const char* end = value.data() + value.size();
        const auto [stop, failure] = std::from_chars(value.data(), end, number);
        if (failure != std::errc{} || stop != end) {
            error =
                "fault " + std::string(name) + " takes a number, not '" + std::string(value) + "'";
            return false;
        }
        faults.*fault.member = number;
        return true;
    }
    error = "there is no fault '" + std::string(name) + "'";
    return false;
}

/// A value the setting of that name does not take leaves `known` true.
bool parse_plain(std::string_view name, std::string_view value, Options& result, bool& known) {
    known = true;
    if (name == "kernel") {
        return choose(value, kKernels, result.kernel);
    }
    if (name == "scheduler") {
        return choose(value, kSchedulers, result.scheduler);
    }
    if (name == "resample") {
        return choose(value, kOnOff, result.resample);
    }
    if (name == "trap-open") {
        return choose(value, kOnOff, result.trap_open);
    }
    if (name == "register-page") {
        return choose(value, kOnOff, result.register_page);
    }
    if (name == "log") {
        result.log_path = unescaped(value);
        return true;
    }
    known = false;
    return false;
}

Options from_environment() {
    Options result;
    std::string error;
    const char* text = getenv(kOptionsVariable);
    if (text != nullptr && !parse_options(text, result, error)) {
        dprintf(STDERR_FILENO, "mshv-emulator: the variable %s: %s\n", kOptionsVariable,
                error.c_str());
        _exit(125);
    }
    return result;
}

}  // namespace

std::span<const FaultName> fault_names() {
    return kFaultNames;
}

const Options& options() {
    // Never destroyed: other threads go on while the process exits.
    static const Options& instance = *new Options(from_environment());
    return instance;
}

bool parse_setting(std::string_view setting, Options& result, std::string& error) {
    const size_t equals = setting.find('=');
    const std::string_view name = setting.substr(0, equals);
    if (equals == std::string_view::npos) {
        error = "'" + std::string(name) + "' has no value";
        return false;
    }
    const std::string_view value = setting.substr(equals + 1);
    if (name.starts_with(kFaultPrefix)) {
        return parse_fault(name.substr(kFaultPrefix.size()), value, result.faults, error);
    }
    bool known = false;
    if (parse_plain(name, value, result, known)) {
        return true;
    }
    error = known ? "'" + std::string(name) + "' cannot be '" + std::string(value) + "'"
                  : "there is no setting '" + std::string(name) + "'";
    return false;
}

bool parse_options(const std::string& text, Options& result, std::string& error) {
    std::string_view rest = text;
    while (!rest.empty()) {
        const size_t comma = rest.find(',');
        if (!parse_setting(rest.substr(0, comma), result, error)) {
            return false;
        }
        rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
    }
    return true;
}

std::string format_options(const Options& options) {
    const Options standard;
    std::string result;
    const auto add = [&result](bool differs, std::string_view name, std::string_view value) {
        if (differs) {
            result += (result.empty() ? "" : ",") + std::string(name) + "=" + std::string(value);
        }
    };
    add(options.kernel != standard.kernel, "kernel", "old");
    add(options.scheduler != standard.scheduler, "scheduler", "root");
    add(options.resample, "resample", "on");
    add(options.trap_open, "trap-open", "on");
    add(!options.register_page, "register-page", "off");
    for (const FaultName& fault : kFaultNames) {
        const uint32_t every = options.faults.*fault.member;
        add(every != 0, std::string(kFaultPrefix) + std::string(fault.name), std::to_string(every));
    }
    add(!options.log_path.empty(), "log", escaped(options.log_path));
    return result;
}

}  // namespace halcyon::emulator
