#include "accel/soft/soft_accelerator.h"

#include "accel/soft/soft_partition.h"

namespace halcyon {

Result<std::unique_ptr<Partition>> SoftAccelerator::create_partition(
    const PartitionConfig& config) const {
    return SoftPartition::create(config);
}

}  // namespace halcyon
