#include "daemon/application.h"

#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/log.h"
#include "daemon/chardev/kinds.h"
#include "daemon/commands/convert.h"
#include "daemon/trace/trace_events.h"
#include "daemon/version.h"
#include "qmp_commands.h"
#include "qmp_events.h"

namespace halcyon {

Application::Application(Options options, std::span<const Accelerator* const> accelerators,
                         SignalSource& signals, ServiceManager& manager)
    : options_(std::move(options)),
      accelerators_(accelerators),
      signals_(signals),
      manager_(manager) {}

Application::~Application() {
    signals_.unwatch();
    for (const std::unique_ptr<Chardev>& chardev : chardevs_.all()) {
        chardev->set_drain_callback(nullptr);
    }
}

// -- start ----------------------------------------------------------------------------------------

namespace {

SandboxMode default_sandbox() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    // The sanitizers' own calls are not in the lists.
    return SandboxMode::kOff;
#else
    return sandbox_is_built_in() ? SandboxMode::kOn : SandboxMode::kOff;
#endif
}

}  // namespace

Result<Application::Started> Application::initialize() {
    sandbox_ = TRY(Sandbox::create(options_.sandbox.value_or(default_sandbox())));
    TRY(create_chardevs());
    if (TRY(wait_for_clients()) == Started::kCancelled) {
        return Started::kCancelled;
    }
    TRY(create_machine());
    TRY(register_machine());
    create_monitors();
    if (!options_.pidfile.empty()) {
        Result<std::unique_ptr<Pidfile>> pidfile = Pidfile::create(options_.pidfile);
        if (!pidfile) {
            return std::move(pidfile).error().with_context("-pidfile");
        }
        pidfile_ = *std::move(pidfile);
    }
    return Started::kReady;
}

Result<void> Application::create_chardevs() {
    for (const ChardevOptions& options : options_.chardevs) {
        TRY(chardevs_.add(options));
    }
    return {};
}

Result<Application::Started> Application::wait_for_clients() {
    for (const ChardevOptions& options : options_.chardevs) {
        const auto* socket = std::get_if<SocketChardevOptions>(&options.kind);
        if (socket == nullptr || !socket->wait) {
            continue;
        }
        auto& chardev = static_cast<SocketChardev&>(*chardevs_.find(options.id));
        std::fprintf(stderr, "halcyond: %s: waiting for connection on: %s\n",
                     options.origin.c_str(), chardev.filename().c_str());
        manager_.set_status("waiting for a client of " + options.origin);
        while (!TRY(chardev.wait_for_client(signals_.fd()))) {
            if (signals_.take_end_request()) {
                return Started::kCancelled;
            }
        }
    }
    return Started::kReady;
}

Result<void> Application::create_machine() {
    MachineConfig& config = options_.machine;
    for (const std::optional<std::string>& id : options_.serial) {
        config.serial_ports.push_back(id ? &chardevs_.slot(*id) : nullptr);
    }
    if (sandbox_) {
        config.on_vcpu_thread_start = [sandbox = sandbox_.get()] {
            sandbox->enter(SandboxRole::kVcpu);
        };
    }
    config.debug_console = options_.debugcon ? &chardevs_.slot(*options_.debugcon) : nullptr;
    machine_ = TRY(Machine::create(std::move(config), loop_, *this));
    const Accelerator* accelerator = machine_->accelerator();
    manager_.describe_machine(machine_->config(), accelerator ? accelerator->name() : "");
    manager_.set_run_state(machine_->run_state());
    return {};
}

Result<void> Application::register_machine() {
    const bool wanted = options_.machined == MachinedMode::kOn;
    const bool possible = ServiceManager::present() && !machine_->config().name.empty();
    if (!wanted && (options_.machined == MachinedMode::kOff || !possible)) {
        return {};
    }
    Result<std::unique_ptr<MachineRegistration>> registered =
        MachineRegistration::create(machine_->config());
    if (registered) {
        registration_ = *std::move(registered);
    } else if (wanted) {
        return std::move(registered).error().with_context("-machined on");
    } else {
        spdlog::info("not registered with systemd-machined: {}", registered.error().message());
    }
    return {};
}

void Application::create_monitors() {
    context_ = std::make_unique<CommandContext>(
        *machine_, accelerators_, chardevs_, descriptor_sets_, objects_,
        [this](const Session& session) -> Monitor& { return monitor_of(session); },
        [this](ShutdownCause cause, Machine::Done done) { end(cause, std::move(done)); });
    dispatcher_ = std::make_unique<Dispatcher>(qmp::command_table(), *context_);
    dispatcher_->set_phase_source([this] {
        const RunState state = machine_->run_state();
        return MachinePhase{.preconfig = state == RunState::kPreconfig,
                            .run_state = static_cast<unsigned>(to_qmp(state))};
    });
    dispatcher_->set_command_watch([](const Request& request, const std::function<void()>& run) {
        const LogScope log_scope("QMP_COMMAND", request.command);
        // Who only asks does so again and again.
        if (request.command.starts_with("query-")) {
            spdlog::debug("QMP command {}", request.command);
        } else {
            LOG_CLIENT("QMP command {}", request.command);
        }
        run();
    });
    for (const MonitorOptions& monitor : options_.monitors) {
        const SessionConfig config{.version = {.major = kQapiVersion.major,
                                               .minor = kQapiVersion.minor,
                                               .micro = kQapiVersion.micro},
                                   .package = package_version(),
                                   .oob_allowed = true,
                                   .pretty = monitor.pretty};
        // The command line was checked: the back end is there.
        monitors_.push_back(std::make_unique<Monitor>(*chardevs_.find(monitor.chardev_id),
                                                      *dispatcher_, config, loop_));
        monitors_.back()->set_close_callback([this] { on_client_gone(); });
    }
}

Monitor& Application::monitor_of(const Session& session) const {
    return **std::find_if(monitors_.begin(), monitors_.end(),
                          [&](const auto& monitor) { return monitor->serves(session); });
}

void Application::on_client_gone() {
    const auto open = [](const auto& monitor) { return monitor->chardev().is_open(); };
    if (machine_->run_state() == RunState::kRunning && std::ranges::none_of(monitors_, open)) {
        descriptor_sets_.clear();
    }
}

Result<ExitStatus> Application::run() {
    TRY(signals_.watch(
        loop_, {.end = [this] { end(ShutdownCause::kHostSignal, [](const Result<void>&) {}); },
                .resumed =
                    [this] {
                        for (const std::unique_ptr<Chardev>& chardev : chardevs_.all()) {
                            chardev->on_continued();
                        }
                    },
                .poweroff =
                    [this] {
                        if (!machine_->quitting()) {
                            machine_->power_button();
                        }
                    }}));
    // What the start needed beyond it is done; nothing of a client's has been read yet.
    if (sandbox_) {
        sandbox_->enter(SandboxRole::kMain);
    }
    for (const std::unique_ptr<Monitor>& monitor : monitors_) {
        monitor->start();
    }
    // Who waits already is greeted, and gets the guest's first output, before the guest competes
    // with this thread for the processor: the first entry into a hypervisor can hold one for
    // milliseconds. What clients send is read in the loop, and finds the guest running.
    for (const std::unique_ptr<Chardev>& chardev : chardevs_.all()) {
        chardev->accept_waiting();
    }
    machine_->start([this](const Result<void>& started) { on_started(started); });
    malloc_trim(0);
    loop_.run();
    if (start_failure_) {
        return *std::move(start_failure_);
    }
    return status_;
}

void Application::on_started(const Result<void>& started) {
    if (started && !manager_.is_ready()) {
        manager_.ready();
        if (manager_.watchdog_period()) {
            watchdog_ =
                std::make_unique<Watchdog>(loop_, *manager_.watchdog_period(), *machine_, manager_);
        }
    } else if (!machine_->quitting()) {
        // Otherwise a quit has overtaken the start; the guest then never runs, as it should.
        start_failure_ = Error(started.error()).with_context("the guest could not be started");
        end(ShutdownCause::kHostError, [](const Result<void>&) {});
    }
}

// -- end ------------------------------------------------------------------------------------------

void Application::end(ShutdownCause cause, Machine::Done done) {
    dispatcher_->refuse_new_commands();
    machine_->quit(cause, [this, done = std::move(done)](const Result<void>& result) {
        if (!result) {
            dispatcher_->refuse_new_commands(false);
            done(result);
        } else if (consoles_drained_) {
            done(result);
        } else {
            held_replies_.push_back(done);
        }
    });
}

void Application::when_drained(std::function<bool()> drained, std::function<void()> next) {
    awaited_ = std::move(drained);
    after_drain_ = std::move(next);
    drain_timer_ = loop_.make_timer([this] { end_wait(); });
    drain_timer_->arm(loop_.now() + kDrainTimeout);
    for (const std::unique_ptr<Chardev>& chardev : chardevs_.all()) {
        chardev->set_drain_callback([this] { check_drained(); });
    }
    check_drained();
}

void Application::check_drained() {
    if (awaited_ && awaited_()) {
        end_wait();
    }
}

void Application::end_wait() {
    awaited_ = nullptr;
    drain_timer_->cancel();
    // Later: this may be inside the back end that has just drained.
    if (after_drain_) {
        loop_.post(std::exchange(after_drain_, nullptr));
    }
}

void Application::answer_quits() {
    consoles_drained_ = true;
    for (const Machine::Done& reply : std::exchange(held_replies_, {})) {
        reply({});
    }
    when_drained([this] { return all_drained(); },
                 [this] {
                     if (status_ == ExitStatus::kEnded) {
                         // Who waits would, in the queue of a socket of systemd's, start the
                         // machine again.
                         for (const std::unique_ptr<Chardev>& chardev : chardevs_.all()) {
                             chardev->turn_away_waiting();
                         }
                     }
                     loop_.stop();
                 });
}

bool Application::all_drained() const {
    return std::ranges::all_of(chardevs_.all(),
                               [](const auto& chardev) { return chardev->drained(); }) &&
           std::all_of(monitors_.begin(), monitors_.end(),
                       [](const auto& monitor) { return monitor->drained(); });
}

bool Application::consoles_are_drained() const {
    return std::ranges::all_of(chardevs_.all(), [this](const auto& chardev) {
        return chardev->drained() ||
               std::any_of(monitors_.begin(), monitors_.end(), [&](const auto& monitor) {
                   return &monitor->chardev() == chardev.get();
               });
    });
}

// -- what happens to the machine ------------------------------------------------------------------

void Application::tell_clients(const Event& event) {
    TRACE(trace::monitor_protocol_event_emit, "{}", event.name);
    for (const std::unique_ptr<Monitor>& monitor : monitors_) {
        monitor->emit(event);
    }
}

void Application::on_run_state_changed(RunState state) {
    manager_.set_run_state(state);
    if (state == RunState::kInternalError && options_.end_on_internal_error) {
        loop_.post([this] { end_after_internal_error(); });
    }
}

void Application::end_after_internal_error() {
    if (machine_->run_state() == RunState::kInternalError && !machine_->quitting()) {
        status_ = ExitStatus::kInternalError;
        end(ShutdownCause::kHostError, [](const Result<void>&) {});
    }
}

void Application::on_ending(ShutdownCause cause) {
    watchdog_.reset();
    // An end that was asked for may overtake the start: without READY=1 systemd would take it for
    // a failed one.
    if (cause != ShutdownCause::kHostError && !manager_.is_ready()) {
        manager_.ready();
    }
    manager_.stopping();
    if (ServiceManager::present()) {
        progress_timer_ = loop_.make_timer([this] { watch_end(); });
        progress_timer_->arm(loop_.now() + kProgressInterval);
        awaited_by_end_ = machine_->config().vcpu_count;
    }
}

void Application::watch_end() {
    const size_t awaited = machine_->awaited_by_end();
    if (awaited < awaited_by_end_) {
        manager_.extend_timeout();
    }
    awaited_by_end_ = awaited;
    progress_timer_->arm(loop_.now() + kProgressInterval);
}

void Application::on_stopped() {
    emit(qmp::make_stop_event());
}

void Application::on_resumed() {
    emit(qmp::make_resume_event());
}

void Application::on_reset(ShutdownCause cause) {
    emit(qmp::make_reset_event(is_guest_cause(cause), to_qmp(cause)));
}

void Application::on_powerdown() {
    emit(qmp::make_powerdown_event());
}

void Application::on_shutdown(ShutdownCause cause) {
    emit(qmp::make_shutdown_event(is_guest_cause(cause), to_qmp(cause)));
}

void Application::on_rtc_changed(std::chrono::seconds offset) {
    emit(qmp::make_rtc_change_event(offset.count(), kRtcPath));
}

void Application::on_dump_completed(const DumpStatus& status) {
    const bool failed = status.state == DumpStatus::State::kFailed;
    emit(qmp::make_dump_completed_event(to_qmp(status),
                                        failed ? std::optional(status.error) : std::nullopt));
}

void Application::on_ended() {
    dispatcher_->refuse_new_commands();
    // What the guest wrote goes out before the replies to quit, which are yet to come.
    when_drained([this] { return consoles_are_drained(); }, [this] { answer_quits(); });
}

}  // namespace halcyon
