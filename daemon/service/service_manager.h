/// ServiceManager: what the VM tells the service manager that started it (sd_notify(3)).
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "machine/machine_config.h"
#include "machine/run_state.h"

namespace halcyon {

/// Tells systemd, or whoever else listens at NOTIFY_SOCKET, of the VM's life. docs/service.md lists
/// the messages and when each is sent. Without a service manager nothing happens. Main thread.
class ServiceManager {
public:
    /// What each further proof of progress adds to the time that the end may take.
    static constexpr unsigned kExtensionSeconds = 10;

    /// Before -daemonize forks.
    ServiceManager();

    /// Whether anybody listens; who sends only what costs nothing need not ask.
    [[nodiscard]] static bool present();

    /// What STATUS= says of the machine behind its state: ", 4 vCPUs, kvm, 512 MiB".
    void describe_machine(const MachineConfig& config, std::string_view accelerator);
    /// STATUS= begins with the run state from now on.
    void set_run_state(RunState state);
    /// STATUS= for the time before there is a machine, and at the end.
    void set_status(std::string_view text);

    /// This process is the service, not the parent that started it (-daemonize).
    void take_over();
    /// Start-up is over: every monitor listens, every vCPU runs or is parked as it should be.
    void ready();
    [[nodiscard]] bool is_ready() const { return ready_; }
    /// The end has begun.
    void stopping();
    /// How often `alive` is wanted at least; nothing when it is not.
    [[nodiscard]] std::optional<std::chrono::microseconds> watchdog_period() const {
        return watchdog_period_;
    }
    /// A sign of life.
    void alive();
    /// What STATUS= says behind the machine; empty when nothing is wrong.
    void set_problem(std::string problem);
    /// The end takes long, but makes progress.
    void extend_timeout();
    /// There will be no VM.
    void failed_to_start(const Error& error);

private:
    [[nodiscard]] std::string status() const;

    std::string machine_;
    std::string state_;
    std::string since_;  ///< when that state began
    std::string problem_;
    std::optional<std::chrono::microseconds> watchdog_period_;
    bool ready_ = false;
};

/// The errno for ERRNO=: the Error's own, or one of its kind.
[[nodiscard]] int errno_of(const Error& error);

/// ", 4 vCPUs, kvm, 512 MiB", as STATUS= has it.
[[nodiscard]] std::string describe_machine(const MachineConfig& config,
                                           std::string_view accelerator);

}  // namespace halcyon
