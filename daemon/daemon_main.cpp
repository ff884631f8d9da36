#include "daemon/daemon_main.h"

#include <malloc.h>
#include <sys/prctl.h>

#include <cstdio>
#include <ctime>
#include <optional>
#include <utility>

#include <spdlog/sinks/stdout_sinks.h>

#include "base/log.h"
#include "daemon/application.h"
#include "daemon/event_loop/signals.h"
#include "daemon/options/options.h"
#include "daemon/options/values.h"
#include "daemon/process/daemonize.h"
#include "daemon/process/exit_status.h"
#include "daemon/service/service_manager.h"
#include "daemon/service/systemd.h"

namespace halcyon {
namespace {

constexpr const char* kProgram = "halcyond";

spdlog::level::level_enum to_spdlog(LogLevel level) {
    switch (level) {
        case LogLevel::kDebug:
            return spdlog::level::debug;
        case LogLevel::kInfo:
            return spdlog::level::info;
        case LogLevel::kWarning:
            return spdlog::level::warn;
        case LogLevel::kError:
            return spdlog::level::err;
        case LogLevel::kOff:
            return spdlog::level::off;
    }
    return spdlog::level::warn;
}

/// The journal's fields that every message of this process has.
std::vector<std::string> log_fields(const MachineConfig& config) {
    std::vector<std::string> fields;
    if (!config.name.empty()) {
        fields.push_back("VM_NAME=" + config.name);
    }
    if (config.uuid) {
        fields.push_back("VM_UUID=" + format_uuid(*config.uuid));
    }
    return fields;
}

Result<void> set_up_log(const Options& options) {
    LogLevel usual = LogLevel::kWarning;
    if (!options.log_file.empty()) {
        Result<void> opened = log_to_file(options.log_file);
        if (!opened) {
            return std::move(opened).error().with_context("-D");
        }
    } else if (stderr_is_journal()) {
        usual = LogLevel::kInfo;
        spdlog::set_default_logger(std::make_shared<spdlog::logger>(
            kProgram, make_journal_sink(log_fields(options.machine))));
    } else {
        spdlog::set_default_logger(std::make_shared<spdlog::logger>(
            kProgram, std::make_shared<spdlog::sinks::stderr_sink_mt>()));
        // As errors of the command line look: "halcyond: warning: ...".
        spdlog::set_pattern("%n: %l: %v");
    }
    spdlog::set_level(to_spdlog(options.log_level.value_or(usual)));
    ::tzset();  // now: the sandbox keeps vCPU threads from reading the time zone
    return {};
}

void name_process(const Options& options) {
    if (!options.process_name.empty()) {
        prctl(PR_SET_NAME, options.process_name.c_str());
    }
}

Result<ExitStatus> run_daemon(Options options, std::span<const Accelerator* const> accelerators,
                              ServiceManager& manager) {
    std::optional<DaemonHandshake> handshake;
    if (options.daemonize) {
        handshake = TRY(DaemonHandshake::fork_to_background());
    }
    TRY(set_up_log(options));
    name_process(options);
    const std::unique_ptr<SignalSource> signals = TRY(SignalSource::create());
    Application application(std::move(options), accelerators, *signals, manager);
    if (TRY(application.initialize()) == Application::Started::kCancelled) {
        return ExitStatus::kEnded;
    }
    if (handshake) {
        // The manager must know this process before the parent ends.
        manager.take_over();
        TRY(handshake->report_ready());
    }
    return application.run();
}

Result<ExitStatus> start(std::span<const char* const> arguments,
                         std::span<const Accelerator* const> accelerators,
                         ServiceManager& manager) {
    TRY(ensure_standard_descriptors());
    Options options = TRY(parse_command_line(arguments, accelerators, take_passed_sockets()));
    if (!options.information) {
        return run_daemon(std::move(options), accelerators, manager);
    }
    // Either may be the one that fails.
    const bool written = std::fputs(options.information->c_str(), stdout) >= 0;
    return std::fflush(stdout) == 0 && written
               ? Result<ExitStatus>(ExitStatus::kEnded)
               : Error::from_errno("cannot write to standard output");
}

}  // namespace

int daemon_main(int argc, char** argv, std::span<const Accelerator* const> accelerators) {
    // One arena: few threads allocate, and each further arena costs memory for ever.
    mallopt(M_ARENA_MAX, 1);
    ServiceManager manager;
    const std::span<const char* const> arguments(argv + 1, static_cast<size_t>(argc - 1));
    const Result<ExitStatus> outcome = start(arguments, accelerators, manager);
    if (!outcome) {
        manager.failed_to_start(outcome.error());
        // The journal takes the weight of a line from its beginning (sd-daemon(3)).
        std::fprintf(stderr, "%s%s: %s\n", stderr_is_journal() ? "<3>" : "", kProgram,
                     outcome.error().message().c_str());
        return static_cast<int>(ExitStatus::kNotStarted);
    }
    return static_cast<int>(*outcome);
}

}  // namespace halcyon
