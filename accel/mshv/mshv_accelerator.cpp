#include "accel/mshv/mshv_accelerator.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "accel/mshv/mshv_abi.h"
#include "accel/mshv/mshv_hypercalls.h"
#include "base/unique_fd.h"

namespace halcyon {
namespace {

int retrying_ioctl(int fd, unsigned long request, void* argument) {
    int result = 0;
    do {
        result = ::ioctl(fd, request, argument);
    } while (result < 0 && errno == EINTR);
    return result;
}

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

MshvAccelerator::MshvAccelerator() : MshvAccelerator("/dev/mshv", retrying_ioctl) {}

MshvAccelerator::MshvAccelerator(std::string device_path, Ioctl ioctl)
    : device_path_(std::move(device_path)), ioctl_(std::move(ioctl)) {}

Result<void> MshvAccelerator::probe() const {
    TRY(check_driver());
    return Error(
        "this version of Halcyon does not run guests on mshv yet (" + device_path_ + " is there)",
        ErrorCode::kUnsupported);
}

Result<std::unique_ptr<Partition>> MshvAccelerator::create_partition(
    const PartitionConfig& /*config*/) const {
    return probe().error();
}

Result<void> MshvAccelerator::check_driver() const {
    const UniqueFd device(::open(device_path_.c_str(), O_RDWR | O_CLOEXEC));
    if (!device) {
        return mshv_open_error(device_path_, errno);
    }
    if (TRY(hypervisor_answers(device.get())) || knows_create_partition(device.get())) {
        return {};
    }
    return not_the_driver(device_path_);
}

Result<bool> MshvAccelerator::hypervisor_answers(int device) const {
    const mshv::GetPropertyInput input{.partition_id = mshv::kPartitionIdSelf,
                                       .property = mshv::PartitionProperty::kPhysicalAddressWidth,
                                       .reserved = 0};
    uint64_t width = 0;
    mshv::RootHypercall call{};
    call.code = static_cast<uint16_t>(mshv::HypercallCode::kGetPartitionProperty);
    call.input_size = sizeof(input);
    call.output_size = sizeof(width);
    call.input_pointer = reinterpret_cast<uintptr_t>(&input);
    call.output_pointer = reinterpret_cast<uintptr_t>(&width);
    if (ioctl_(device, mshv::kIoctlRootHypercall, &call) >= 0) {
        return true;
    }
    const int failure = errno;
    if (failure == ENOTTY) {
        return false;
    }
    if (call.status == 0) {
        return Error::from_errno(device_path_ + " does not answer (MSHV_ROOT_HVCALL)", failure);
    }
    return Error::from_errno("the hypervisor behind " + device_path_ +
                                 " refuses this host (GET_PARTITION_PROPERTY status " +
                                 std::to_string(call.status) + ")",
                             failure);
}

bool MshvAccelerator::knows_create_partition(int device) const {
    // The long form's size, should a driver ever copy that much before it looks at the flags.
    mshv::CreatePartitionV2 argument{};
    argument.flags = uint64_t{1} << 63;
    const UniqueFd partition(ioctl_(device, mshv::kIoctlCreatePartition, &argument));
    return partition || errno == EINVAL;
}

}  // namespace halcyon
