#include "daemon/service/service_manager.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <utility>

#include "base/types.h"
#include "daemon/service/systemd.h"

namespace halcyon {
namespace {

/// An assignment ends with its line.
std::string one_line(std::string text) {
    std::ranges::replace(text, '\n', ' ');
    return text;
}

/// The present time as systemctl prints times.
std::string local_time() {
    const std::time_t now = std::time(nullptr);
    std::tm fields{};
    localtime_r(&now, &fields);
    char text[64];
    return {text, std::strftime(text, sizeof(text), "%a %Y-%m-%d %H:%M:%S %Z", &fields)};
}

}  // namespace

ServiceManager::ServiceManager() : watchdog_period_(halcyon::watchdog_period()) {}

bool ServiceManager::present() {
    return has_service_manager();
}

void ServiceManager::describe_machine(const MachineConfig& config, std::string_view accelerator) {
    machine_ = halcyon::describe_machine(config, accelerator);
}

std::string ServiceManager::status() const {
    return "STATUS=" + state_ + machine_ + ", since " + since_ +
           (problem_.empty() ? "" : "; " + problem_);
}

void ServiceManager::set_run_state(RunState state) {
    state_ = to_string(state);
    since_ = local_time();
    // Before that, the status is that of the start; READY=1 brings this one.
    if (ready_) {
        notify_service_manager(status());
    }
}

void ServiceManager::set_status(std::string_view text) {
    notify_service_manager("STATUS=" + one_line(std::string(text)));
}

void ServiceManager::take_over() {
    notify_service_manager("MAINPID=" + std::to_string(getpid()));
}

void ServiceManager::ready() {
    ready_ = true;
    notify_service_manager("READY=1\n" + status());
}

void ServiceManager::stopping() {
    state_ = "stopping";
    since_ = local_time();
    notify_service_manager("STOPPING=1\n" + status());
}

void ServiceManager::alive() {
    notify_service_manager("WATCHDOG=1");
}

void ServiceManager::set_problem(std::string problem) {
    problem_ = one_line(std::move(problem));
    notify_service_manager(status());
}

void ServiceManager::extend_timeout() {
    constexpr uint64_t kMicrosecondsPerSecond = 1'000'000;
    notify_service_manager("EXTEND_TIMEOUT_USEC=" +
                           std::to_string(kExtensionSeconds * kMicrosecondsPerSecond));
}

void ServiceManager::failed_to_start(const Error& error) {
    notify_service_manager("STATUS=" + one_line(error.message()) +
                           "\nERRNO=" + std::to_string(errno_of(error)));
}

int errno_of(const Error& error) {
    if (error.errno_value() != 0) {
        return error.errno_value();
    }
    switch (error.code()) {
        case ErrorCode::kInvalidArgument:
            return EINVAL;
        case ErrorCode::kNotFound:
            return ENOENT;
        case ErrorCode::kNotActive:
            return EBUSY;
        case ErrorCode::kUnsupported:
            return EOPNOTSUPP;
        case ErrorCode::kGeneric:
        case ErrorCode::kSystem:
            return EIO;
    }
    return EIO;
}

std::string describe_machine(const MachineConfig& config, std::string_view accelerator) {
    if (config.board == BoardKind::kNone) {
        return ", no machine";
    }
    const bool mebibytes = config.ram_size % 1_MiB == 0;
    return ", " + std::to_string(config.vcpu_count) +
           (config.vcpu_count == 1 ? " vCPU, " : " vCPUs, ") + std::string(accelerator) + ", " +
           std::to_string(config.ram_size / (mebibytes ? 1_MiB : 1_KiB)) +
           (mebibytes ? " MiB" : " KiB");
}

}  // namespace halcyon
