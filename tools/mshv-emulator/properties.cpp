#include "tools/mshv-emulator/properties.h"

#include <time.h>

#include <x86intrin.h>

#include "tools/mshv-emulator/partition.h"
#include "tools/mshv-emulator/vp.h"

namespace halcyon::emulator {

namespace {

using mshv::HvStatus;
using mshv::PartitionProperty;

constexpr uint32_t kMsrTscDeadline = 0x6e0;

/// HV_COMPATIBILITY_21_H2, which the driver asks for.
constexpr uint64_t kCompatibilityVersion = 0x0609;

// What else programs set: kept, and read back.
constexpr auto kSuspend = PartitionProperty{0x00020000};
constexpr auto kCpuGroupId = PartitionProperty{0x00020004};
constexpr auto kIsolationState = PartitionProperty{0x0005000c};

/// The host's time in the unit of reference time, 100 ns.
uint64_t host_time() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 10'000'000 +
           static_cast<uint64_t>(now.tv_nsec) / 100;
}

enum class Phase { kEarly, kLate, kReadOnly, kUnknown };

Phase phase_of(PartitionProperty property) {
    if ((property >= kSuspend && property <= kCpuGroupId) || property == kIsolationState) {
        return Phase::kLate;
    }
    switch (property) {
        case PartitionProperty::kPrivilegeFlags:
        case PartitionProperty::kSyntheticProcFeatures:
            return Phase::kEarly;
        case PartitionProperty::kTimeFreeze:
        case PartitionProperty::kReferenceTime:
        case PartitionProperty::kProcessorsPerSocket:
        case PartitionProperty::kGpaPageAccessTracking:
        case PartitionProperty::kUnimplementedMsrAction:
            return Phase::kLate;
        case PartitionProperty::kProcessorVendor:
        case PartitionProperty::kProcessorXsaveFeatures:
        case PartitionProperty::kProcessorClFlushSize:
        case PartitionProperty::kCompatibilityVersion:
        case PartitionProperty::kPhysicalAddressWidth:
        case PartitionProperty::kXsaveStates:
        case PartitionProperty::kMaxXsaveDataSize:
        case PartitionProperty::kProcessorClockFrequency:
        case PartitionProperty::kProcessorFeatures0:
        case PartitionProperty::kProcessorFeatures1:
        case PartitionProperty::kGuestOsId:
            return Phase::kReadOnly;
        case PartitionProperty::kVmmCapabilities:
        case PartitionProperty::kAssignableSyntheticProcFeatures:
            return Phase::kUnknown;  // only by the extended hypercall
    }
    return Phase::kUnknown;
}

bool is_switch(PartitionProperty property) {
    return property == PartitionProperty::kTimeFreeze ||
           property == PartitionProperty::kGpaPageAccessTracking ||
           property == PartitionProperty::kUnimplementedMsrAction;
}

struct TscOffset {
    explicit TscOffset(uint64_t* value) {
        attribute.group = KVM_VCPU_TSC_CTRL;
        attribute.attr = KVM_VCPU_TSC_OFFSET;
        attribute.addr = reinterpret_cast<uint64_t>(value);
    }
    kvm_device_attr attribute{};
};

bool get_tsc_offset(const KvmVcpu& vcpu, uint64_t& offset) {
    TscOffset request(&offset);
    return vcpu.ioctl(KVM_GET_DEVICE_ATTR, &request.attribute) == 0;
}

bool set_tsc_offset(const KvmVcpu& vcpu, uint64_t offset) {
    TscOffset request(&offset);
    return vcpu.ioctl(KVM_SET_DEVICE_ATTR, &request.attribute) == 0;
}

/// Takes `elapsed` ticks back from a VP's TSC; a timer that waits for a value of it waits on.
void set_tsc_back(const KvmVcpu& vcpu, uint64_t elapsed) {
    uint64_t offset = 0;
    if (!get_tsc_offset(vcpu, offset)) {
        return;
    }
    const std::optional<uint64_t> deadline = vcpu.get_msr(kMsrTscDeadline);
    set_tsc_offset(vcpu, offset - elapsed);
    if (deadline.value_or(0) != 0) {
        vcpu.set_msr(kMsrTscDeadline, *deadline);
    }
}

}  // namespace

Properties::Properties(const PartitionConfig&) : base_host_(host_time()) {}

HvStatus Properties::get(Partition& partition, PartitionProperty property, uint64_t& value) const {
    value = 0;
    switch (property) {
        case PartitionProperty::kReferenceTime:
            value = reference_time();
            return HvStatus::kSuccess;
        case PartitionProperty::kTimeFreeze:
            value = frozen() ? 1 : 0;
            return HvStatus::kSuccess;
        case PartitionProperty::kGpaPageAccessTracking:
            value = partition.memory().tracking() ? 1 : 0;
            return HvStatus::kSuccess;
        case PartitionProperty::kGuestOsId:
            value = partition.shared_msrs().guest_os_id.load();
            return HvStatus::kSuccess;
        case PartitionProperty::kCompatibilityVersion:
            value = kCompatibilityVersion;
            return HvStatus::kSuccess;
        default:
            break;
    }
    switch (phase_of(property)) {
        case Phase::kEarly:
        case Phase::kLate: {
            const std::lock_guard lock(mutex_);
            const auto found = values_.find(property);
            value = found == values_.end() ? 0 : found->second;
            return HvStatus::kSuccess;
        }
        case Phase::kReadOnly:
            return get_processor_property(partition.cpuid().entries(0, synthetic_features(), false),
                                          property, value);
        case Phase::kUnknown:
            break;
    }
    return HvStatus::kUnknownProperty;
}

HvStatus Properties::set(Partition& partition, PartitionProperty property, uint64_t value) {
    const Phase phase = phase_of(property);
    if (phase == Phase::kUnknown) {
        return HvStatus::kUnknownProperty;
    }
    if (phase == Phase::kReadOnly) {
        return HvStatus::kAccessDenied;
    }
    if ((phase == Phase::kEarly) == partition.initialized()) {
        return HvStatus::kInvalidPartitionState;
    }
    if (is_switch(property) && value > 1) {
        return HvStatus::kPropertyValueOutOfRange;
    }
    if (property == PartitionProperty::kTimeFreeze) {
        return set_time_freeze(partition, value);
    }
    if (property == PartitionProperty::kGpaPageAccessTracking) {
        return partition.memory().set_tracking(value != 0);
    }
    const std::lock_guard lock(mutex_);
    if (property == PartitionProperty::kReferenceTime) {
        if (!frozen_) {
            return HvStatus::kInvalidPartitionState;
        }
        base_ = value;
        return HvStatus::kSuccess;
    }
    values_[property] = value;
    return HvStatus::kSuccess;
}

uint64_t Properties::synthetic_features() const {
    const std::lock_guard lock(mutex_);
    const auto found = values_.find(PartitionProperty::kSyntheticProcFeatures);
    return found == values_.end() ? 0 : found->second & assignable_synthetic_features();
}

bool Properties::ignores_unimplemented_msrs() const {
    const std::lock_guard lock(mutex_);
    const auto found = values_.find(PartitionProperty::kUnimplementedMsrAction);
    return found != values_.end() && found->second == 1;
}

// ---- Time --------------------------------------------------------------------------------------

uint64_t Properties::reference_time() const {
    const std::lock_guard lock(mutex_);
    return frozen_ ? base_ : base_ + (host_time() - base_host_);
}

bool Properties::frozen() const {
    const std::lock_guard lock(mutex_);
    return frozen_;
}

uint64_t Properties::frozen_tsc() const {
    const std::lock_guard lock(mutex_);
    return frozen_tsc_;
}

HvStatus Properties::set_time_freeze(Partition& partition, uint64_t value) {
    const bool freeze = value != 0;
    if (freeze == frozen()) {
        return HvStatus::kSuccess;
    }
    if (freeze) {
        const std::lock_guard lock(mutex_);
        const uint64_t now = host_time();
        base_ += now - base_host_;
        base_host_ = now;
        frozen_tsc_ = __rdtsc();
        frozen_ = true;
        return HvStatus::kSuccess;
    }
    // Without the lock: a processor that is to leave the guest may first have to read the time.
    const uint64_t elapsed = __rdtsc() - frozen_tsc();
    partition.for_each_vp([&](Vp& vp) {
        vp.with_kvm(
            [&](KvmVcpu& vcpu) {
                set_tsc_back(vcpu, elapsed);
                return 0L;
            },
            Vp::Use::kLooks);
    });
    const std::lock_guard lock(mutex_);
    base_host_ = host_time();
    frozen_ = false;
    return HvStatus::kSuccess;
}

uint64_t get_guest_tsc(const Properties& properties, const KvmVcpu& vcpu) {
    constexpr uint32_t kMsrTsc = 0x10;
    uint64_t offset = 0;
    if (properties.frozen() && get_tsc_offset(vcpu, offset)) {
        return offset + properties.frozen_tsc();
    }
    return vcpu.get_msr(kMsrTsc).value_or(0);
}

bool set_guest_tsc(const Properties& properties, const KvmVcpu& vcpu, uint64_t value) {
    constexpr uint32_t kMsrTsc = 0x10;
    if (properties.frozen() && set_tsc_offset(vcpu, value - properties.frozen_tsc())) {
        return true;
    }
    return vcpu.set_msr(kMsrTsc, value);
}

}  // namespace halcyon::emulator
