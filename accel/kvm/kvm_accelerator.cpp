#include "accel/kvm/kvm_accelerator.h"

#include <fcntl.h>

#include <algorithm>
#include <string>

#include "accel/kvm/kvm_ioctl.h"
#include "accel/kvm/kvm_partition.h"
#include "base/unique_fd.h"

namespace halcyon {

namespace {

constexpr const char* kDevice = "/dev/kvm";

/// APIC ids that an 8-bit destination reaches: 255 is the broadcast (Intel SDM 3A 11.6.2.1).
constexpr uint32_t kMaxApicIds = 255;

struct NeededCapability {
    int number;
    const char* name;
};

constexpr NeededCapability kNeeded[] = {
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
    {KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP"},
    {KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"},
    {KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
    {KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
    {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
    {KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS"},
    {KVM_CAP_XSAVE, "KVM_CAP_XSAVE"},
    {KVM_CAP_XCRS, "KVM_CAP_XCRS"},
    {KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK"},
    {KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR"},
    {KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR"},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
};

std::string advice_for(int error) {
    switch (error) {
        case ENOENT:
        case ENODEV:
        case ENXIO:
            return " (is virtualisation enabled, and the module kvm_intel or kvm_amd loaded?)";
        case EACCES:
        case EPERM:
            return " (usually members of the group \"kvm\" may)";
        default:
            return "";
    }
}

/// A descriptor of /dev/kvm that has all that this backend needs.
Result<UniqueFd> open_device() {
    UniqueFd device(::open(kDevice, O_RDWR | O_CLOEXEC));
    if (!device) {
        const int error = errno;
        return Error::from_errno("cannot open " + std::string(kDevice) + advice_for(error), error);
    }
    const int version = TRY(kvm_ioctl(device.get(), KVM_GET_API_VERSION, "KVM_GET_API_VERSION"));
    if (version != KVM_API_VERSION) {
        return Error(std::string(kDevice) + " has API version " + std::to_string(version) +
                         ", not " + std::to_string(KVM_API_VERSION),
                     ErrorCode::kUnsupported);
    }
    for (const NeededCapability& needed : kNeeded) {
        if (kvm_check_extension(device.get(), needed.number) == 0) {
            return Error(std::string(kDevice) + " lacks " + needed.name +
                             ": the kernel or the processor is too old",
                         ErrorCode::kUnsupported);
        }
    }
    return device;
}

}  // namespace

Result<void> KvmAccelerator::probe() const {
    TRY(open_device());
    return {};
}

Result<std::unique_ptr<Partition>> KvmAccelerator::create_partition(
    const PartitionConfig& config) const {
    const UniqueFd device = TRY(open_device());
    if (config.cpu_model != "host" && config.cpu_model != "max") {
        return Error("CPU model \"" + config.cpu_model + "\": kvm has \"host\" and \"max\"",
                     ErrorCode::kInvalidArgument);
    }
    uint32_t limit = static_cast<uint32_t>(kvm_check_extension(device.get(), KVM_CAP_MAX_VCPUS));
    if (config.local_apic) {
        limit = std::min(limit, kMaxApicIds);
    }
    if (config.vcpu_count == 0 || config.vcpu_count > limit) {
        return Error(std::to_string(config.vcpu_count) + " vCPUs: kvm runs 1 to " +
                         std::to_string(limit) + " here",
                     ErrorCode::kInvalidArgument);
    }
    return std::unique_ptr<Partition>(TRY(KvmPartition::create(device.get(), config)));
}

}  // namespace halcyon
