#include "tools/mshv-emulator/device.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <iterator>

#include "accel/mshv/mshv_abi.h"
#include "tools/mshv-emulator/hypercalls.h"
#include "tools/mshv-emulator/log.h"
#include "tools/mshv-emulator/options.h"
#include "tools/mshv-emulator/partition.h"

namespace halcyon::emulator {
namespace {

/// The bits of CREATE_PARTITION that this generation of the driver knows.
uint64_t known_flags() {
    constexpr uint64_t kAlways =
        mshv::kPartitionLapic | mshv::kPartitionX2apic | mshv::kPartitionGpaSuperPages;
    constexpr uint64_t kSinceLongForm = mshv::kPartitionCpuAndXsaveFeatures |
                                        mshv::kPartitionNestedVirtualization |
                                        mshv::kPartitionSmtEnabledGuest;
    return options().kernel == Kernel::kNew ? kAlways | kSinceLongForm : kAlways;
}

/// The argument, in its long form; the short one disables nothing.
long read_argument(unsigned long pointer, mshv::CreatePartitionV2& argument) {
    argument = {};
    mshv::CreatePartition head{};
    if (copy_from_program(&head, pointer, sizeof(head)) < 0) {
        return -EFAULT;
    }
    if ((head.flags & ~known_flags()) != 0 || head.isolation != mshv::kIsolationNone) {
        return -EINVAL;
    }
    if ((head.flags & mshv::kPartitionCpuAndXsaveFeatures) == 0) {
        argument.flags = head.flags;
        return 0;
    }
    if (copy_from_program(&argument, pointer, sizeof(argument)) < 0) {
        return -EFAULT;
    }
    const auto is_zero = [](auto value) { return value == 0; };
    if (argument.cpu_feature_bank_count != mshv::kCpuFeatureBanks ||
        !std::ranges::all_of(argument.reserved, is_zero) ||
        !std::ranges::all_of(argument.reserved1, is_zero)) {
        return -EINVAL;
    }
    return 0;
}

}  // namespace

long Device::create_partition(unsigned long pointer) {
    mshv::CreatePartitionV2 argument{};
    if (const long error = read_argument(pointer, argument); error < 0) {
        return error;
    }
    if (due(creations_, options().faults.create_eintr)) {
        log_line("fault: CREATE_PARTITION is EINTR");
        return -EINTR;
    }
    return Partition::create({.flags = argument.flags,
                              .disabled_cpu_features = {argument.disabled_cpu_features[0],
                                                        argument.disabled_cpu_features[1]},
                              .disabled_xsave_features = argument.disabled_xsave_features});
}

long Device::ioctl(unsigned long request, unsigned long argument, const TrapContext&) {
    if (request == mshv::kIoctlCreatePartition) {
        return create_partition(argument);
    }
    if (request == mshv::kIoctlRootHypercall && options().kernel == Kernel::kNew) {
        return device_hypercall(argument);
    }
    return -ENOTTY;
}

int open_device(int flags) {
    if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) {
        return -EEXIST;
    }
    if ((flags & O_DIRECTORY) != 0) {
        return -ENOTDIR;
    }
    const int fd = open_emulated_file(std::make_shared<Device>(), 0);
    if (fd >= 0 && (flags & O_CLOEXEC) == 0) {
        raw_syscall(SYS_fcntl, fd, F_SETFD, 0);
    }
    return fd;
}

}  // namespace halcyon::emulator
