/// CommandContext: what the handlers of QMP commands work on.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "accel/accelerator.h"
#include "daemon/chardev/chardev.h"
#include "machine/machine.h"

namespace halcyon {

/// References to the parts of the daemon that commands ask or change; owned by Application. Main
/// thread.
class CommandContext {
public:
    using EndFunction = std::function<void(ShutdownCause, Machine::Done)>;

    CommandContext(Machine& machine, std::span<const Accelerator* const> accelerators,
                   const std::vector<std::unique_ptr<Chardev>>& chardevs, EndFunction end)
        : machine_(machine),
          accelerators_(accelerators),
          chardevs_(chardevs),
          end_(std::move(end)) {}

    [[nodiscard]] Machine& machine() { return machine_; }
    /// Every backend of this build.
    [[nodiscard]] std::span<const Accelerator* const> accelerators() const { return accelerators_; }
    [[nodiscard]] const std::vector<std::unique_ptr<Chardev>>& chardevs() const {
        return chardevs_;
    }
    /// Ends the machine and then the process; `done` as in `Machine::quit`.
    void end(ShutdownCause cause, Machine::Done done) { end_(cause, std::move(done)); }

private:
    Machine& machine_;
    std::span<const Accelerator* const> accelerators_;
    const std::vector<std::unique_ptr<Chardev>>& chardevs_;
    EndFunction end_;
};

}  // namespace halcyon
