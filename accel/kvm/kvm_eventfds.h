/// KvmEventfds: irqfds and ioeventfds of a KVM virtual machine.
#pragma once

#include "accel/partition.h"

namespace halcyon {

/// See EventfdWiring; KVM_IRQFD and KVM_IOEVENTFD.
class KvmEventfds final : public EventfdWiring {
public:
    /// `vm_fd` is open whenever a function is called. `local_apic`: KVM has the local APICs.
    KvmEventfds(int vm_fd, bool local_apic) : vm_fd_(vm_fd), local_apic_(local_apic) {}

    Result<void> connect_irqfd(Gsi gsi, int eventfd) override;
    Result<void> disconnect_irqfd(Gsi gsi, int eventfd) override;
    Result<void> connect_ioeventfd(const Doorbell& doorbell, int eventfd) override;
    Result<void> disconnect_ioeventfd(const Doorbell& doorbell, int eventfd) override;

private:
    Result<void> change_ioeventfd(const Doorbell& doorbell, int eventfd, bool connect);

    const int vm_fd_;
    const bool local_apic_;
};

}  // namespace halcyon
