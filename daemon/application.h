/// Application: the daemon's parts, put together.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "daemon/chardev/chardev_registry.h"
#include "daemon/command_context.h"
#include "daemon/event_loop/main_loop.h"
#include "daemon/event_loop/signals.h"
#include "daemon/monitor/descriptors.h"
#include "daemon/monitor/monitor.h"
#include "daemon/options/options.h"
#include "daemon/process/exit_status.h"
#include "daemon/process/pidfile.h"
#include "daemon/sandbox/sandbox.h"
#include "daemon/service/machined.h"
#include "daemon/service/service_manager.h"
#include "daemon/service/watchdog.h"
#include "machine/machine.h"
#include "protocol/dispatcher.h"
#include "protocol/event_throttle.h"

namespace halcyon {

/// One VM's process from start to end. Main thread only. Everything is owned here, in the order of
/// its making; the reverse is the order of destruction, so that the machine's threads go before
/// what they call into.
class Application final : private MachineObserver {
public:
    Application(Options options, std::span<const Accelerator* const> accelerators,
                SignalSource& signals, ServiceManager& manager);
    ~Application() override;
    Application(const Application&) = delete;
    Application& operator=(const Application&) = delete;

    /// What became of the start.
    enum class Started {
        kReady,      ///< the sockets listen, the machine is built, the pidfile is written
        kCancelled,  ///< a signal ended the wait for a client
    };

    /// Builds everything; nothing runs yet. Fails with a one-line reason, and what was made is gone
    /// with the object.
    Result<Started> initialize();
    /// Starts the machine and serves until it has ended and everything is flushed.
    /// What it tells is the process's exit status.
    Result<ExitStatus> run();

private:
    /// How long readers that do not read can hold up the replies to quit, and then the process's
    /// end.
    static constexpr std::chrono::milliseconds kDrainTimeout{250};
    /// How often an end that takes its time is looked at for progress.
    static constexpr std::chrono::milliseconds kProgressInterval{500};

    Result<void> create_chardevs();
    Result<Started> wait_for_clients();
    Result<void> create_machine();
    /// -machined.
    Result<void> register_machine();
    void create_monitors();
    /// -action internal-error=exit-failure, unless something else has become of the machine since.
    void end_after_internal_error();
    void on_started(const Result<void>& started);
    [[nodiscard]] Monitor& monitor_of(const Session& session) const;
    /// Descriptor sets go when nobody is left who could use them, while the guest runs.
    void on_client_gone();

    /// The one way to the end of a machine, for commands and signals: no new command is run, until
    /// the attempt has failed.
    void end(ShutdownCause cause, Machine::Done done);
    void emit(Event event) { throttle_.emit(std::move(event)); }
    void tell_clients(const Event& event);
    // The last steps: the guest's consoles are drained, the replies to quit are sent, the monitors
    // are drained, the loop stops. Each wait is bounded, since a reader may have stopped reading.
    void when_drained(std::function<bool()> drained, std::function<void()> next);
    void check_drained();
    void end_wait();
    void answer_quits();
    [[nodiscard]] bool all_drained() const;
    [[nodiscard]] bool consoles_are_drained() const;
    /// Tells the service manager when less is waited for than the last time.
    void watch_end();

    void on_run_state_changed(RunState state) override;
    void on_ending(ShutdownCause cause) override;
    void on_stopped() override;
    void on_resumed() override;
    void on_reset(ShutdownCause cause) override;
    void on_powerdown() override;
    void on_shutdown(ShutdownCause cause) override;
    void on_ended() override;
    void on_rtc_changed(std::chrono::seconds offset) override;
    void on_dump_completed(const DumpStatus& status) override;

    Options options_;
    std::span<const Accelerator* const> accelerators_;
    SignalSource& signals_;
    ServiceManager& manager_;
    MainLoop loop_;
    std::unique_ptr<Pidfile> pidfile_;
    std::unique_ptr<Sandbox> sandbox_;  ///< null with -sandbox off
    ChardevRegistry chardevs_{loop_};
    DescriptorSets descriptor_sets_;
    qom::UserObjects objects_;
    EventThrottle throttle_{loop_, [this](const Event& event) { tell_clients(event); }};
    std::unique_ptr<MachineRegistration> registration_;
    std::unique_ptr<Machine> machine_;
    std::unique_ptr<CommandContext> context_;
    std::unique_ptr<Dispatcher> dispatcher_;
    std::vector<std::unique_ptr<Monitor>> monitors_;
    std::vector<Machine::Done>
        held_replies_;  ///< to quits that succeeded, until the consoles are drained
    bool consoles_drained_ = false;
    ExitStatus status_ = ExitStatus::kEnded;
    std::optional<Error> start_failure_;  ///< why the guest could not be started
    std::function<bool()> awaited_;       ///< what `when_drained` waits for; null when it does not
    std::function<void()> after_drain_;
    std::unique_ptr<LoopTimer> drain_timer_;
    size_t awaited_by_end_ = 0;  ///< when the end was last looked at
    std::unique_ptr<LoopTimer> progress_timer_;
    std::unique_ptr<Watchdog> watchdog_;  ///< from the start to the beginning of the end
};

}  // namespace halcyon
