/// MSHV_ROOT_HVCALL: the driver's checks, and the hypercalls it lets through.
#pragma once

#include <cstdint>

#include "accel/mshv/mshv_abi.h"
#include "accel/mshv/mshv_hypercalls.h"

namespace halcyon::emulator {

class Partition;

/// Serves the ioctl with the program's argument: 0 or -errno. The caller holds what its
/// descriptor's ioctls hold (nothing, the partition's mutex, the VP's).
long device_hypercall(unsigned long argument);
long partition_hypercall(Partition& partition, unsigned long argument);
long vp_hypercall(Partition& partition, unsigned long argument);

/// The driver's translation of a status: 0 or -errno.
long status_to_errno(mshv::HvStatus status);

}  // namespace halcyon::emulator
