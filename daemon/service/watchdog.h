/// Watchdog: proofs of life for the service manager (WatchdogSec=).
#pragma once

#include <chrono>
#include <memory>

#include "base/event_loop.h"
#include "daemon/service/service_manager.h"
#include "machine/machine.h"

namespace halcyon {

/// Twice in each period the main thread kicks every vCPU that runs, and tells the service manager
/// that the VM is alive when each has left the guest, and the hypervisor, to see why. So a sign
/// proves that the main loop turns and that no running vCPU is wedged: in the kernel, in a device,
/// waiting for a lock, or under a debugger. It proves nothing of the guest, which may spin for
/// ever, nor of vCPUs that are parked. Main thread; `loop`, `machine` and `manager` outlive it.
class Watchdog {
public:
    /// Begins. `period` is the service manager's: without a sign for that long it ends the process.
    Watchdog(EventLoop& loop, std::chrono::microseconds period, Machine& machine,
             ServiceManager& manager);

private:
    void on_due();
    void report_overdue();
    void on_proven();

    EventLoop& loop_;
    std::chrono::microseconds interval_;
    Machine& machine_;
    ServiceManager& manager_;
    bool proving_ = false;
    bool overdue_ = false;  ///< and told
    std::unique_ptr<LoopTimer> timer_;
    std::shared_ptr<bool> exists_;  ///< expires with this: a proof that comes later does nothing
};

}  // namespace halcyon
