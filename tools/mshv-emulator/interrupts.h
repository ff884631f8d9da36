/// Interrupts: a partition's MSI routes, irqfds and ioeventfds, and ASSERT_VIRTUAL_INTERRUPT.
///
/// KVM tells the end of an interrupt (KVM_EXIT_IOAPIC_EOI) for the vectors of level-triggered
/// routes on low GSIs only. A vector that a hypercall asserts level-triggered, or that is routed so
/// on a higher GSI, therefore gets a route of the emulator's own, on a low GSI that the program
/// does not use.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>
#include <span>
#include <vector>

#include "accel/mshv/mshv_abi.h"
#include "accel/mshv/mshv_hypercalls.h"
#include "tools/mshv-emulator/kvm.h"

namespace halcyon::emulator {

class Partition;

/// Checks a routing table: 0 or -EINVAL. Duplicates of GSI 0 pass, as in the driver.
long check_routes(std::span<const mshv::UserIrqEntry> routes);

/// The MSI that asserts what a hypercall asks for: types that a message can carry.
struct MsiMessage {
    uint32_t address_low;
    uint32_t address_high;  ///< KVM's: bits 8-31 of a destination above 255
    uint32_t data;
    friend bool operator==(const MsiMessage&, const MsiMessage&) = default;
};
MsiMessage msi_message(const mshv::AssertInterruptInput& input);
/// What the driver makes of a route: an 8-bit destination, vector, type and trigger mode, nothing
/// else of address and data.
MsiMessage msi_of_route(const mshv::UserIrqEntry& route);

/// Any thread.
class Interrupts {
public:
    Interrupts(KvmVm& vm, bool local_apics) : vm_(vm), local_apics_(local_apics) {}
    ~Interrupts();

    /// The ioctls, with the program's argument: 0 or -errno.
    long set_routing(unsigned long argument);
    long irqfd(unsigned long argument);
    long ioeventfd(unsigned long argument);
    /// The partition's descriptor is gone: irqfds and ioeventfds end.
    void drop_all();

    /// ASSERT_VIRTUAL_INTERRUPT and CLEAR_VIRTUAL_INTERRUPT.
    mshv::HvStatus assert_interrupt(Partition& partition, const mshv::AssertInterruptInput& input);
    void clear_ext_int();
    /// Delivers a vector to one VP: SynIC interrupts.
    mshv::HvStatus deliver(uint32_t vp_index, uint8_t vector);

    /// Before each KVM_RUN of a VP: hands a pending ExtINT over when the guest takes it now, and
    /// otherwise sets `request_interrupt_window`. Does not clear that field: the caller does,
    /// before it looks at what else wants a window.
    void offer_ext_int(uint32_t vp_index, const KvmVcpu& vcpu);
    [[nodiscard]] bool has_ext_int(uint32_t vp_index) const;

    /// KVM_EXIT_IOAPIC_EOI: true when a resampling irqfd consumed it, so that the program gets no
    /// APIC_EOI message. The driver compares the irqfd's *GSI* with the vector.
    bool end_of_interrupt(uint8_t vector);

private:
    struct Resampler {
        int fd;  ///< the irqfd's number, by which the program ends it
        uint32_t gsi;
        Descriptor resample_fd;
    };
    struct Ioeventfd {
        mshv::UserIoeventfd argument;
        Descriptor event_fd;  ///< the driver holds on to the eventfd, too
    };

    long assign_irqfd(const mshv::UserIrqfd& argument);
    long deassign_irqfd(const mshv::UserIrqfd& argument);
    long add_ioeventfd(const mshv::UserIoeventfd& argument);
    long remove_ioeventfd(const mshv::UserIoeventfd& argument);
    /// Gives KVM the program's routes and the emulator's.
    long update_routes_locked();
    void note_level_locked(const MsiMessage& message);
    mshv::HvStatus assert_by_vcpu(Partition& partition, const mshv::AssertInterruptInput& input);

    KvmVm& vm_;
    const bool local_apics_;
    std::mutex mutex_;
    std::vector<mshv::UserIrqEntry> routes_;
    std::vector<MsiMessage> level_messages_;
    std::set<uint32_t> irqfd_gsis_;  ///< that irqfds were ever made for
    std::vector<Resampler> resamplers_;
    std::vector<Ioeventfd> ioeventfds_;
    std::array<std::atomic<int16_t>, mshv::kMaxVps> ext_ints_;  ///< vector + 1; 0 is none
};

}  // namespace halcyon::emulator
