/// MshvEventfds: irqfds and ioeventfds of a partition of the mshv driver.
#pragma once

#include "accel/mshv/mshv_driver.h"
#include "accel/partition.h"

namespace halcyon::mshv {

/// See EventfdWiring; MSHV_IRQFD and MSHV_IOEVENTFD, the latter a doorbell of the hypervisor's. The
/// driver's resampling is not used, as it has never worked before Linux 7.2: the end of a
/// level-triggered interrupt is reported by GuestIo::end_of_interrupt.
class MshvEventfds final : public EventfdWiring {
public:
    /// `partition_fd` is open whenever a function is called.
    MshvEventfds(Driver& driver, int partition_fd, bool local_apic)
        : driver_(driver), fd_(partition_fd), local_apic_(local_apic) {}

    Result<void> connect_irqfd(Gsi gsi, int eventfd) override;
    Result<void> disconnect_irqfd(Gsi gsi, int eventfd) override;
    Result<void> connect_ioeventfd(const Doorbell& doorbell, int eventfd) override;
    Result<void> disconnect_ioeventfd(const Doorbell& doorbell, int eventfd) override;

private:
    Result<void> change_irqfd(Gsi gsi, int eventfd, uint32_t flags);
    Result<void> change_ioeventfd(const Doorbell& doorbell, int eventfd, uint32_t flags);

    Driver& driver_;
    const int fd_;
    const bool local_apic_;
};

}  // namespace halcyon::mshv
