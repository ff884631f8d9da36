#include "accel/kvm/kvm_eventfds.h"

#include "accel/kvm/kvm_ioctl.h"

namespace halcyon {

Result<void> KvmEventfds::connect_irqfd(Gsi gsi, int eventfd) {
    if (!local_apic_) {
        return Error("an irqfd needs a local APIC", ErrorCode::kUnsupported);
    }
    kvm_irqfd irqfd{};
    irqfd.fd = static_cast<uint32_t>(eventfd);
    irqfd.gsi = gsi.value();
    TRY(kvm_ioctl(vm_fd_, KVM_IRQFD, "KVM_IRQFD", &irqfd));
    return {};
}

Result<void> KvmEventfds::disconnect_irqfd(Gsi gsi, int eventfd) {
    kvm_irqfd irqfd{};
    irqfd.fd = static_cast<uint32_t>(eventfd);
    irqfd.gsi = gsi.value();
    irqfd.flags = KVM_IRQFD_FLAG_DEASSIGN;
    TRY(kvm_ioctl(vm_fd_, KVM_IRQFD, "KVM_IRQFD", &irqfd));
    return {};
}

Result<void> KvmEventfds::connect_ioeventfd(const Doorbell& doorbell, int eventfd) {
    return change_ioeventfd(doorbell, eventfd, true);
}

Result<void> KvmEventfds::disconnect_ioeventfd(const Doorbell& doorbell, int eventfd) {
    return change_ioeventfd(doorbell, eventfd, false);
}

Result<void> KvmEventfds::change_ioeventfd(const Doorbell& doorbell, int eventfd, bool connect) {
    kvm_ioeventfd ioeventfd{};
    ioeventfd.addr = doorbell.address.value();
    ioeventfd.len = doorbell.length;
    ioeventfd.fd = eventfd;
    if (doorbell.value) {
        ioeventfd.datamatch = *doorbell.value;
        ioeventfd.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
    }
    if (!connect) {
        ioeventfd.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
    }
    TRY(kvm_ioctl(vm_fd_, KVM_IOEVENTFD, "KVM_IOEVENTFD", &ioeventfd));
    return {};
}

}  // namespace halcyon
