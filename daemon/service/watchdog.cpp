#include "daemon/service/watchdog.h"

#include <utility>

#include "base/log.h"

namespace halcyon {

Watchdog::Watchdog(EventLoop& loop, std::chrono::microseconds period, Machine& machine,
                   ServiceManager& manager)
    : loop_(loop),
      interval_(period / 2),
      machine_(machine),
      manager_(manager),
      timer_(loop.make_timer([this] { on_due(); })),
      exists_(std::make_shared<bool>(true)) {
    on_due();
}

void Watchdog::on_due() {
    timer_->arm(loop_.now() + interval_);
    if (proving_) {
        report_overdue();
        return;
    }
    proving_ = true;
    machine_.prove_vcpus_alive([this, exists = std::weak_ptr(exists_)] {
        if (!exists.expired()) {
            on_proven();
        }
    });
}

void Watchdog::report_overdue() {
    const std::string vcpu = machine_.describe_unproven_vcpu();
    // Without one, the last answer is on its way through the loop.
    if (vcpu.empty() || std::exchange(overdue_, true)) {
        return;
    }
    const std::string problem = vcpu + " has not answered a kick for half of the watchdog's period";
    spdlog::error("{}: no sign of life is given until it does", problem);
    manager_.set_problem(problem);
}

void Watchdog::on_proven() {
    proving_ = false;
    manager_.alive();
    if (std::exchange(overdue_, false)) {
        spdlog::warn("every vCPU answers again");
        manager_.set_problem({});
    }
}

}  // namespace halcyon
