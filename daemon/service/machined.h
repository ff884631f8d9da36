/// The VM in the list of machines that systemd-machined keeps (machinectl(1)).
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "base/result.h"
#include "machine/machine_config.h"

struct sd_bus;

namespace halcyon {

/// A registration with systemd-machined (org.freedesktop.machine1(5)): class "vm", this process as
/// the leader, in the unit that it runs in. It ends with the object. Main thread.
class MachineRegistration {
public:
    /// Registers the VM under its -name, with its -uuid if it has one. Blocks for at most
    /// kAnswerTime each while the bus and machined answer. Fails without a name, without the bus
    /// or machined, and with machined's reason when that refuses: before version 258 it listens to
    /// root only.
    [[nodiscard]] static Result<std::unique_ptr<MachineRegistration>> create(
        const MachineConfig& config);

    MachineRegistration(const MachineRegistration&) = delete;
    MachineRegistration& operator=(const MachineRegistration&) = delete;
    /// Unregisters, without waiting for an answer.
    ~MachineRegistration();

private:
    static constexpr std::chrono::seconds kAnswerTime{5};

    MachineRegistration(sd_bus* bus, std::string name) : bus_(bus), name_(std::move(name)) {}

    sd_bus* bus_;  ///< owned
    std::string name_;
};

}  // namespace halcyon
