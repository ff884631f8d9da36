#include "tools/mshv-emulator/interrupts.h"

#include <algorithm>
#include <bitset>
#include <cerrno>

#include "tools/mshv-emulator/lapic.h"
#include "tools/mshv-emulator/partition.h"
#include "tools/mshv-emulator/vp.h"

namespace halcyon::emulator {

namespace {

using mshv::HvStatus;
using mshv::InterruptType;

// Messages (Intel SDM 3A 11.11).
constexpr uint32_t kMsiBase = 0xfee00000;
constexpr uint32_t kMsiLogical = 1U << 2;
constexpr uint32_t kMsiAssert = 1U << 14;
constexpr uint32_t kMsiLevel = 1U << 15;
constexpr unsigned kMsiDestinationShift = 12;
constexpr unsigned kMsiTypeShift = 8;
constexpr uint32_t kBroadcast = 0xff;
/// Vectors below are exceptions; an APIC takes none as an interrupt (Intel SDM 3A 11.5.2).
constexpr uint32_t kFirstVector = 16;

bool has_valid_vector(const MsiMessage& message) {
    const auto type = static_cast<InterruptType>(message.data >> kMsiTypeShift & 7);
    return (type != InterruptType::kFixed && type != InterruptType::kLowestPriority) ||
           (message.data & 0xff) >= kFirstVector;
}

kvm_irq_routing_entry routing_entry(uint32_t gsi, const MsiMessage& message) {
    kvm_irq_routing_entry entry{};
    entry.gsi = gsi;
    entry.type = KVM_IRQ_ROUTING_MSI;
    entry.u.msi.address_lo = message.address_low;
    entry.u.msi.address_hi = message.address_high;
    entry.u.msi.data = message.data;
    return entry;
}

HvStatus signal(const KvmVm& vm, const MsiMessage& message) {
    kvm_msi msi{};
    msi.address_lo = message.address_low;
    msi.address_hi = message.address_high;
    msi.data = message.data;
    const long result = vm.ioctl(KVM_SIGNAL_MSI, &msi);
    // -1 is KVM's "no local APIC took it", which one that is disabled does not.
    return result < 0 && result != -EPERM ? HvStatus::kInvalidParameter : HvStatus::kSuccess;
}

}  // namespace

MsiMessage msi_of_route(const mshv::UserIrqEntry& route) {
    MsiMessage message{};
    const uint32_t destination = route.address_low >> kMsiDestinationShift & 0xff;
    message.address_low =
        kMsiBase | destination << kMsiDestinationShift | (route.address_low & kMsiLogical);
    message.data = (route.data & 0x7ff) | (route.data & kMsiLevel);
    if ((message.data & kMsiLevel) != 0) {
        message.data |= kMsiAssert;
    }
    return message;
}

MsiMessage msi_message(const mshv::AssertInterruptInput& input) {
    MsiMessage message{};
    const auto destination = static_cast<uint32_t>(input.destination);
    message.address_low = kMsiBase | (destination & 0xff) << kMsiDestinationShift;
    message.address_high = destination & 0xffffff00;
    if ((input.control & mshv::kInterruptLogicalDestination) != 0) {
        message.address_low |= kMsiLogical;
    }
    message.data = (input.vector & 0xff) |
                   (static_cast<uint32_t>(input.control) & 7) << kMsiTypeShift | kMsiAssert;
    if ((input.control & mshv::kInterruptLevelTriggered) != 0) {
        message.data |= kMsiLevel;
    }
    return message;
}

// ---- Routes ------------------------------------------------------------------------------------

long Interrupts::update_routes_locked() {
    if (!local_apics_) {
        return 0;
    }
    std::vector<kvm_irq_routing_entry> entries;
    std::vector<MsiMessage> own = level_messages_;
    std::bitset<mshv::kMaxGuestIrqs> used;
    for (const mshv::UserIrqEntry& route : routes_) {
        used.set(route.gsi);
        const MsiMessage message = msi_of_route(route);
        if (!has_valid_vector(message)) {
            continue;
        }
        entries.push_back(routing_entry(route.gsi, message));
        if (route.gsi >= kReservedPins && (message.data & kMsiLevel) != 0) {
            own.push_back(message);
        }
    }
    for (const uint32_t gsi : irqfd_gsis_) {
        used.set(gsi);
    }
    uint32_t gsi = 0;
    for (const MsiMessage& message : own) {
        while (gsi < kReservedPins && used.test(gsi)) {
            ++gsi;
        }
        if (gsi == kReservedPins) {
            break;  // all are the program's
        }
        entries.push_back(routing_entry(gsi++, message));
    }
    KvmList<kvm_irq_routing_entry> list(entries.size());
    std::copy(entries.begin(), entries.end(), list.entries());
    return vm_.ioctl(kKvmSetGsiRouting, list.address());
}

void Interrupts::note_level_locked(const MsiMessage& message) {
    const bool known =
        std::find(level_messages_.begin(), level_messages_.end(), message) != level_messages_.end();
    if (!known) {
        level_messages_.push_back(message);
        update_routes_locked();
    }
}

// ---- Asserting ---------------------------------------------------------------------------------

HvStatus Interrupts::assert_interrupt(Partition& partition,
                                      const mshv::AssertInterruptInput& input) {
    const auto type = static_cast<InterruptType>(static_cast<uint32_t>(input.control));
    const bool physical = (input.control & mshv::kInterruptLogicalDestination) == 0;
    switch (type) {
        case InterruptType::kFixed:
        case InterruptType::kLowestPriority:
            if (input.vector < kFirstVector) {
                return HvStatus::kInvalidParameter;
            }
            break;
        case InterruptType::kNmi:
        case InterruptType::kInit:
        case InterruptType::kSipi:
            break;
        case InterruptType::kExtInt:
        case InterruptType::kLocalInt0:
        case InterruptType::kLocalInt1:
            return assert_by_vcpu(partition, input);
        case InterruptType::kSmi:
        case InterruptType::kRemoteRead:
            return HvStatus::kInvalidParameter;
        default:
            return HvStatus::kInvalidParameter;
    }
    if (input.vector > 0xff) {
        return HvStatus::kInvalidParameter;
    }
    if (!local_apics_) {
        return type == InterruptType::kNmi ? assert_by_vcpu(partition, input)
                                           : HvStatus::kInvalidPartitionState;
    }
    if (physical && input.destination != kBroadcast &&
        (input.destination >= mshv::kMaxVps ||
         partition.vp(static_cast<uint32_t>(input.destination)) == nullptr)) {
        return HvStatus::kInvalidParameter;
    }
    const MsiMessage message = msi_message(input);
    if ((input.control & mshv::kInterruptLevelTriggered) != 0 && has_valid_vector(message)) {
        const std::lock_guard lock(mutex_);
        note_level_locked(message);
    }
    return signal(vm_, message);
}

HvStatus Interrupts::deliver(uint32_t vp_index, uint8_t vector) {
    mshv::AssertInterruptInput input{};
    input.destination = vp_index;
    input.vector = vector;
    return signal(vm_, msi_message(input));
}

/// What no message can carry: an interrupt of the 8259's, the APIC's own pins, and interrupts of
/// processors without an APIC.
HvStatus Interrupts::assert_by_vcpu(Partition& partition, const mshv::AssertInterruptInput& input) {
    if (input.destination >= mshv::kMaxVps || input.vector > 0xff) {
        return HvStatus::kInvalidParameter;
    }
    const auto index = static_cast<uint32_t>(input.destination);
    const std::shared_ptr<Vp> vp = partition.vp(index);
    if (vp == nullptr) {
        return HvStatus::kInvalidParameter;
    }
    auto type = static_cast<InterruptType>(static_cast<uint32_t>(input.control));
    if (type == InterruptType::kExtInt) {
        ext_ints_[index].store(static_cast<int16_t>(input.vector + 1));
        // Out of the guest, to look at it.
        vp->with_kvm([](KvmVcpu&) { return 0L; }, Vp::Use::kLooks);
        return HvStatus::kSuccess;
    }
    if (type != InterruptType::kNmi && !local_apics_) {
        return HvStatus::kInvalidPartitionState;
    }
    const bool first_pin = type == InterruptType::kLocalInt0;
    uint32_t entry = kLvtModeNmi;
    if (type != InterruptType::kNmi) {
        vp->with_kvm(
            [&](KvmVcpu& vcpu) {
                entry = local_interrupt_entry(vcpu, first_pin ? 0 : 1);
                return 0L;
            },
            Vp::Use::kLooks);
    }
    if ((entry & kLvtMasked) != 0) {
        return HvStatus::kSuccess;
    }
    switch (entry & kLvtModeMask) {
        case kLvtModeNmi:
            vp->with_kvm([](KvmVcpu& vcpu) { return vcpu.ioctl(KVM_NMI); }, Vp::Use::kLooks);
            return HvStatus::kSuccess;
        case kLvtModeExtInt:
            ext_ints_[index].store(static_cast<int16_t>(input.vector + 1));
            vp->with_kvm([](KvmVcpu&) { return 0L; }, Vp::Use::kLooks);
            return HvStatus::kSuccess;
        case kLvtModeFixed:
            return deliver(index, static_cast<uint8_t>(entry));
        default:
            return HvStatus::kInvalidParameter;
    }
}

void Interrupts::clear_ext_int() {
    for (auto& pending : ext_ints_) {
        pending.store(0);
    }
}

bool Interrupts::has_ext_int(uint32_t vp_index) const {
    return ext_ints_[vp_index].load() != 0;
}

void Interrupts::offer_ext_int(uint32_t vp_index, const KvmVcpu& vcpu) {
    int16_t pending = ext_ints_[vp_index].load();
    if (pending == 0) {
        return;
    }
    kvm_run& run = vcpu.run();
    if (run.ready_for_interrupt_injection == 0) {
        run.request_interrupt_window = 1;
        return;
    }
    kvm_interrupt interrupt{};
    interrupt.irq = static_cast<uint32_t>(pending - 1);
    if (vcpu.ioctl(KVM_INTERRUPT, &interrupt) == 0) {
        run.ready_for_interrupt_injection = 0;  // not before the kernel says so again
        // Another one that came meanwhile stays.
        ext_ints_[vp_index].compare_exchange_strong(pending, 0);
    } else {
        run.request_interrupt_window = 1;
    }
}

}  // namespace halcyon::emulator
