/// CommandContext: what the handlers of QMP commands work on.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "accel/accelerator.h"
#include "daemon/chardev/chardev_registry.h"
#include "daemon/hmp/memory_dump.h"
#include "daemon/monitor/descriptors.h"
#include "daemon/monitor/monitor.h"
#include "daemon/qom/user_objects.h"
#include "machine/machine.h"

namespace halcyon {

/// References to the parts of the daemon that commands ask or change; owned by Application. Main
/// thread.
class CommandContext {
public:
    using EndFunction = std::function<void(ShutdownCause, Machine::Done)>;
    using MonitorFunction = std::function<Monitor&(const Session&)>;

    CommandContext(Machine& machine, std::span<const Accelerator* const> accelerators,
                   ChardevRegistry& chardevs, DescriptorSets& descriptor_sets,
                   qom::UserObjects& objects, MonitorFunction monitor, EndFunction end)
        : machine_(machine),
          accelerators_(accelerators),
          chardevs_(chardevs),
          descriptor_sets_(descriptor_sets),
          objects_(objects),
          monitor_(std::move(monitor)),
          end_(std::move(end)) {}

    [[nodiscard]] Machine& machine() { return machine_; }
    /// Every backend of this build.
    [[nodiscard]] std::span<const Accelerator* const> accelerators() const { return accelerators_; }
    [[nodiscard]] ChardevRegistry& chardevs() { return chardevs_; }
    [[nodiscard]] DescriptorSets& descriptor_sets() { return descriptor_sets_; }
    /// What clients made with object-add.
    [[nodiscard]] qom::UserObjects& objects() { return objects_; }
    /// What x, xp and print of the human monitor go by where they are not told otherwise: what they
    /// were told before.
    [[nodiscard]] hmp::DumpFormat& dump_format() { return dump_format_; }
    /// The monitor that a command came from.
    [[nodiscard]] Monitor& monitor(const Session& session) { return monitor_(session); }
    /// Ends the machine and then the process; `done` as in `Machine::quit`.
    void end(ShutdownCause cause, Machine::Done done) { end_(cause, std::move(done)); }

private:
    Machine& machine_;
    std::span<const Accelerator* const> accelerators_;
    ChardevRegistry& chardevs_;
    DescriptorSets& descriptor_sets_;
    qom::UserObjects& objects_;
    MonitorFunction monitor_;
    EndFunction end_;
    hmp::DumpFormat dump_format_;
};

}  // namespace halcyon
