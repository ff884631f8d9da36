#include "accel/mshv/mshv_eventfds.h"

namespace halcyon::mshv {

Result<void> MshvEventfds::connect_irqfd(Gsi gsi, int eventfd) {
    if (!local_apic_) {
        return Error("an irqfd needs a local APIC", ErrorCode::kUnsupported);
    }
    // The driver takes any number, and one it has no room for never gets a route.
    if (gsi.value() >= kMaxGuestIrqs) {
        return Error("interrupt line " + std::to_string(gsi.value()) + ": mshv has " +
                         std::to_string(kMaxGuestIrqs),
                     ErrorCode::kInvalidArgument);
    }
    return change_irqfd(gsi, eventfd, 0);
}

Result<void> MshvEventfds::disconnect_irqfd(Gsi gsi, int eventfd) {
    return change_irqfd(gsi, eventfd, kIrqfdDeassign);
}

Result<void> MshvEventfds::change_irqfd(Gsi gsi, int eventfd, uint32_t flags) {
    UserIrqfd irqfd{.fd = eventfd, .resample_fd = -1, .gsi = gsi.value(), .flags = flags};
    TRY(call_driver(driver_, fd_, kIoctlIrqfd, "MSHV_IRQFD", &irqfd));
    return {};
}

Result<void> MshvEventfds::connect_ioeventfd(const Doorbell& doorbell, int eventfd) {
    return change_ioeventfd(doorbell, eventfd, 0);
}

Result<void> MshvEventfds::disconnect_ioeventfd(const Doorbell& doorbell, int eventfd) {
    return change_ioeventfd(doorbell, eventfd, kIoeventfdDeassign);
}

Result<void> MshvEventfds::change_ioeventfd(const Doorbell& doorbell, int eventfd, uint32_t flags) {
    UserIoeventfd ioeventfd{};
    ioeventfd.address = doorbell.address.value();
    ioeventfd.length = doorbell.length;
    ioeventfd.fd = eventfd;
    ioeventfd.flags = flags;
    if (doorbell.value) {
        ioeventfd.datamatch = *doorbell.value;
        ioeventfd.flags |= kIoeventfdDatamatch;
    }
    TRY(call_driver(driver_, fd_, kIoctlIoeventfd, "MSHV_IOEVENTFD", &ioeventfd));
    return {};
}

}  // namespace halcyon::mshv
