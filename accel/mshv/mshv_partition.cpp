#include "accel/mshv/mshv_partition.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "accel/mshv/mshv_vcpu.h"

namespace halcyon {

using namespace mshv;

namespace {

/// The enlightenments that a guest is offered: clocks that need no exit (reference counter and TSC
/// page, frequencies), the local APIC's registers by MSR, and the hypercalls that flush TLBs and
/// send IPIs to many processors. They keep no state but a few registers, which a reset clears.
///
/// Left out on purpose: the synthetic interrupt controller and its timers, since this board sends
/// no messages through it, and messages and expirations under way could not be taken back by
/// registers alone when the guest is reset; and what only a guest that is a hypervisor itself uses.
constexpr SyntheticFeature kFeatures[] = {
    SyntheticFeature::kHypervisorPresent,
    SyntheticFeature::kHv1,
    SyntheticFeature::kPartitionReferenceCounter,
    SyntheticFeature::kInterruptControlMsrs,
    SyntheticFeature::kHypercallMsrs,
    SyntheticFeature::kVpIndex,
    SyntheticFeature::kReferenceTsc,
    SyntheticFeature::kFrequencyMsrs,
    SyntheticFeature::kTlbFlushHypercalls,
    SyntheticFeature::kSyntheticClusterIpi,
};

/// Of kFeatures, those that this host can give. Older hypervisors, and drivers without hypercalls
/// on the device, do not tell; what is in kFeatures they have.
uint64_t features_for(Driver& driver, int device_fd) {
    uint64_t wanted = 0;
    for (const SyntheticFeature feature : kFeatures) {
        wanted |= uint64_t{1} << static_cast<unsigned>(feature);
    }
    struct Assignable {
        uint64_t reserved;
        uint64_t features;
    };
    HypercallPort device(driver, device_fd);
    const SetPropertyInput input{.partition_id = kPartitionIdSelf,
                                 .property = PartitionProperty::kAssignableSyntheticProcFeatures,
                                 .reserved = 0,
                                 .value = 0};
    const auto assignable =
        device.call_for<Assignable>(HypercallCode::kGetPartitionPropertyEx, input);
    return assignable ? wanted & assignable->features : wanted;
}

// An interrupt message (Intel SDM 3A 11.11).
constexpr uint64_t kMessageLogicalDestination = 1U << 2;
constexpr uint32_t kMessageAsserted = 1U << 14;
constexpr uint32_t kMessageLevelTriggered = 1U << 15;
/// Vectors below are exceptions'; a local APIC takes none.
constexpr uint32_t kFirstVector = 16;

/// The hypervisor's way to say it; nothing for a message that no local APIC takes: a reserved
/// delivery mode, an illegal vector, and ExtINT, whose vector would have to come from a PIC.
std::optional<AssertInterruptInput> to_interrupt(const MsiMessage& message) {
    const auto type = InterruptType{message.data >> 8 & 7};
    const uint32_t vector = message.data & 0xff;
    const bool level = (message.data & kMessageLevelTriggered) != 0;
    if (level && (message.data & kMessageAsserted) == 0) {
        return std::nullopt;  // the end of a level, which means nothing to an APIC
    }
    AssertInterruptInput input{};
    input.control = static_cast<uint64_t>(type);
    // Bits 8-31 of the destination are in the address's upper half.
    input.destination = (message.address >> 12 & 0xff) | (message.address >> 32 & 0xffffff00);
    if ((message.address & kMessageLogicalDestination) != 0) {
        input.control |= kInterruptLogicalDestination;
    }
    switch (type) {
        case InterruptType::kFixed:
        case InterruptType::kLowestPriority:
            if (vector < kFirstVector) {
                return std::nullopt;
            }
            input.vector = vector;
            input.control |= level ? kInterruptLevelTriggered : 0;
            return input;
        case InterruptType::kSmi:
        case InterruptType::kNmi:
        case InterruptType::kInit:
            return input;
        case InterruptType::kRemoteRead:
        case InterruptType::kSipi:
        case InterruptType::kExtInt:
        case InterruptType::kLocalInt0:
        case InterruptType::kLocalInt1:
            break;
    }
    return std::nullopt;
}

/// Statuses by which the hypervisor says that there is nobody who takes the interrupt: no such
/// local APIC, or one that is switched off.
bool nobody_takes_it(HvStatus status) {
    return status == HvStatus::kInvalidParameter || status == HvStatus::kOperationDenied ||
           status == HvStatus::kNotFound || status == HvStatus::kInvalidVpIndex ||
           status == HvStatus::kInvalidVpState;
}

}  // namespace

MshvPartition::MshvPartition(Driver& driver, UniqueFd fd, const PartitionConfig& config)
    : driver_(driver),
      fd_(std::move(fd)),
      config_(config),
      port_(driver, fd_.get()),
      memory_(driver, fd_.get()),
      eventfds_(driver, fd_.get(), config.local_apic) {}

MshvPartition::~MshvPartition() = default;

Result<std::unique_ptr<MshvPartition>> MshvPartition::create(Driver& driver, int device_fd,
                                                             const PartitionConfig& config) {
    CreatePartition argument{.flags = kPartitionGpaSuperPages, .isolation = kIsolationNone};
    if (config.local_apic) {
        argument.flags |= kPartitionLapic | kPartitionX2apic;
    }
    UniqueFd fd(TRY(
        call_driver(driver, device_fd, kIoctlCreatePartition, "MSHV_CREATE_PARTITION", &argument)));
    std::unique_ptr<MshvPartition> partition(new MshvPartition(driver, std::move(fd), config));
    TRY(partition->set_up(device_fd));
    return partition;
}

Result<void> MshvPartition::set_up(int device_fd) {
    TRY(port_.set_property(PartitionProperty::kSyntheticProcFeatures,
                           features_for(driver_, device_fd)));
    TRY(call_driver(driver_, fd(), kIoctlInitializePartition, "MSHV_INITIALIZE_PARTITION"));
    // A guest may try whether a register is there: reads are 0 and writes have no effect, not #GP.
    TRY(port_.set_property(PartitionProperty::kUnimplementedMsrAction, 1));
    TRY(port_.set_property(PartitionProperty::kTimeFreeze, 1));
    const uint64_t xsave = TRY(port_.property(PartitionProperty::kMaxXsaveDataSize));
    constexpr uint64_t kReasonableSize = 1_MiB;
    if (xsave == 0 || xsave > kReasonableSize) {
        return Error("the hypervisor's XSAVE state has " + std::to_string(xsave) + " bytes",
                     ErrorCode::kUnsupported);
    }
    xsave_size_ = (xsave + kHvPageSize - 1) / kHvPageSize * kHvPageSize;
    return {};
}

Result<void> MshvPartition::map_memory(GpaRange range, std::byte* host, MemoryAccess access) {
    return memory_.map(range, host, access);
}

Result<void> MshvPartition::unmap_memory(GpaRange range) {
    return memory_.unmap(range);
}

Result<std::unique_ptr<Vcpu>> MshvPartition::create_vcpu(VcpuIndex index, GuestIo& io) {
    if (index.value() >= config_.vcpu_count) {
        return Error("vCPU " + std::to_string(index.value()) + " of a partition made for " +
                         std::to_string(config_.vcpu_count),
                     ErrorCode::kInvalidArgument);
    }
    auto vcpu = TRY(MshvVcpu::create(*this, index, io));
    const std::lock_guard lock(vcpus_mutex_);
    vcpus_.push_back(vcpu.get());
    return std::unique_ptr<Vcpu>(std::move(vcpu));
}

void MshvPartition::forget_vcpu(MshvVcpu& vcpu) {
    const std::lock_guard lock(vcpus_mutex_);
    std::erase(vcpus_, &vcpu);
}

// ---- interrupts ----

Result<void> MshvPartition::signal_msi(const MsiMessage& message) {
    const auto interrupt = config_.local_apic ? to_interrupt(message) : std::nullopt;
    if (!interrupt) {
        return {};
    }
    const auto outcome = port_.try_call(HypercallCode::kAssertVirtualInterrupt,
                                        std::as_bytes(std::span(&*interrupt, 1)));
    if (outcome.refused() && nobody_takes_it(outcome.status)) {
        return {};
    }
    return outcome.to_result(HypercallCode::kAssertVirtualInterrupt);
}

Result<void> MshvPartition::set_msi_routes(std::span<const MsiRoute> routes) {
    if (!config_.local_apic) {
        return {};
    }
    if (routes.size() > kMaxGuestIrqs) {
        return Error(std::to_string(routes.size()) + " interrupt routes: mshv has " +
                         std::to_string(kMaxGuestIrqs),
                     ErrorCode::kInvalidArgument);
    }
    const UserIrqTableHeader header{.count = static_cast<uint32_t>(routes.size()), .reserved = 0};
    std::vector<std::byte> table(sizeof(header) + routes.size() * sizeof(UserIrqEntry));
    std::memcpy(table.data(), &header, sizeof(header));
    std::byte* to = table.data() + sizeof(header);
    for (const MsiRoute& route : routes) {
        if (route.message.address >> 32 != 0) {
            return Error("interrupt line " + std::to_string(route.gsi.value()) +
                             ": mshv routes only to APIC ids below 255",
                         ErrorCode::kUnsupported);
        }
        const UserIrqEntry entry{.gsi = route.gsi.value(),
                                 .address_low = static_cast<uint32_t>(route.message.address),
                                 .address_high = 0,
                                 .data = route.message.data};
        std::memcpy(to, &entry, sizeof(entry));
        to += sizeof(entry);
    }
    TRY(call_driver(driver_, fd(), kIoctlSetMsiRouting, "MSHV_SET_MSI_ROUTING", table.data()));
    return {};
}

void MshvPartition::set_extint(bool level) {
    const bool before = extint_level_.exchange(level, std::memory_order_seq_cst);
    if (!level || before) {
        return;  // vCPU 0 looks at the level before each entry; only news has to fetch it out
    }
    const std::lock_guard lock(vcpus_mutex_);
    for (MshvVcpu* vcpu : vcpus_) {
        if (vcpu->index().value() == 0) {
            vcpu->notice_extint();
        }
    }
}

// ---- time ----

Result<void> MshvPartition::set_time_locked(Time time) {
    const Time before = time_.load(std::memory_order_relaxed);
    if ((before == Time::kRuns) != (time == Time::kRuns)) {
        TRY(port_.set_property(PartitionProperty::kTimeFreeze, time == Time::kRuns ? 0 : 1));
    }
    time_.store(time, std::memory_order_release);
    return {};
}

Result<void> MshvPartition::begin_time_now() {
    const std::lock_guard lock(time_mutex_);
    if (time_.load(std::memory_order_relaxed) != Time::kNotBegun) {
        return {};  // another vCPU was first
    }
    return set_time_locked(Time::kRuns);
}

Result<void> MshvPartition::set_time_frozen(bool frozen) {
    const std::lock_guard lock(time_mutex_);
    return set_time_locked(frozen ? Time::kFrozen : Time::kRuns);
}

}  // namespace halcyon
