#include "accel/mshv/mshv_accelerator.h"

#include <cerrno>

#include "accel/mshv/mshv_abi.h"
#include "accel/mshv/mshv_hypercall.h"
#include "accel/mshv/mshv_partition.h"

namespace halcyon {
namespace {

/// APIC ids that an 8-bit destination reaches: 255 is the broadcast (Intel SDM 3A 11.6.2.1).
constexpr uint32_t kMaxApicIds = 255;

Error not_the_driver(const std::string& device_path) {
    return Error(device_path + " is not the device of the mshv driver", ErrorCode::kUnsupported);
}

}  // namespace

Error mshv_open_error(const std::string& device_path, int errno_value) {
    switch (errno_value) {
        case ENOENT:
            return Error(device_path +
                             " does not exist: the host is not a Hyper-V root partition, or its "
                             "kernel lacks the mshv driver (CONFIG_MSHV_ROOT)",
                         ErrorCode::kUnsupported);
        case ENODEV:
        case ENXIO:
            return Error(device_path + " has no driver behind it: load the mshv_root module",
                         ErrorCode::kUnsupported);
        case EACCES:
        case EPERM:
            return Error::from_errno(
                "cannot open " + device_path +
                    " (run as root, or give this user read and write access to it)",
                errno_value);
        default:
            return Error::from_errno("cannot open " + device_path, errno_value);
    }
}

MshvAccelerator::MshvAccelerator() : MshvAccelerator("/dev/mshv", mshv::kernel_driver()) {}

MshvAccelerator::MshvAccelerator(std::string device_path, mshv::Driver& driver)
    : device_path_(std::move(device_path)), driver_(driver) {}

Result<void> MshvAccelerator::probe() const {
    TRY(open_device());
    return {};
}

Result<std::unique_ptr<Partition>> MshvAccelerator::create_partition(
    const PartitionConfig& config) const {
    const UniqueFd device = TRY(open_device());
    if (config.cpu_model != "host" && config.cpu_model != "max") {
        return Error("CPU model \"" + config.cpu_model + "\": mshv has \"host\" and \"max\"",
                     ErrorCode::kInvalidArgument);
    }
    const uint32_t limit = config.local_apic ? kMaxApicIds : mshv::kMaxVps;
    if (config.vcpu_count == 0 || config.vcpu_count > limit) {
        return Error(
            std::to_string(config.vcpu_count) + " vCPUs: mshv runs 1 to " + std::to_string(limit),
            ErrorCode::kInvalidArgument);
    }
    return std::unique_ptr<Partition>(TRY(MshvPartition::create(driver_, device.get(), config)));
}

Result<UniqueFd> MshvAccelerator::open_device() const {
    const int opened = driver_.open(device_path_);
    if (opened < 0) {
        return mshv_open_error(device_path_, -opened);
    }
    UniqueFd device(opened);
    if (TRY(hypervisor_answers(device.get())) || knows_create_partition(device.get())) {
        return device;
    }
    return not_the_driver(device_path_);
}

Result<bool> MshvAccelerator::hypervisor_answers(int device) const {
    const mshv::GetPropertyInput input{.partition_id = mshv::kPartitionIdSelf,
                                       .property = mshv::PartitionProperty::kPhysicalAddressWidth,
                                       .reserved = 0};
    uint64_t width = 0;
    mshv::HypercallPort port(driver_, device);
    const auto outcome = port.try_call(mshv::HypercallCode::kGetPartitionProperty,
                                       std::as_bytes(std::span(&input, 1)),
                                       std::as_writable_bytes(std::span(&width, 1)));
    if (outcome.ok()) {
        return true;
    }
    if (outcome.error == ENOTTY) {
        return false;
    }
    if (!outcome.refused()) {
        return Error::from_errno(device_path_ + " does not answer (MSHV_ROOT_HVCALL)",
                                 outcome.error);
    }
    return Error::from_errno("the hypervisor behind " + device_path_ +
                                 " refuses this host (GET_PARTITION_PROPERTY status " +
                                 std::to_string(static_cast<unsigned>(outcome.status)) + ")",
                             outcome.error);
}

bool MshvAccelerator::knows_create_partition(int device) const {
    // The long form's size, should a driver ever copy that much before it looks at the flags.
    mshv::CreatePartitionV2 argument{};
    argument.flags = uint64_t{1} << 63;
    const int result = driver_.ioctl(device, mshv::kIoctlCreatePartition, &argument);
    const UniqueFd partition(result < 0 ? -1 : result);
    return partition || result == -EINVAL;
}

}  // namespace halcyon
