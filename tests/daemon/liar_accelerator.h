/// LiarAccelerator: a backend whose vCPUs do not leave when they are kicked.
#pragma once

#include "accel/accelerator.h"

namespace halcyon {

/// For the test of what quit does with a vCPU that is stuck in the kernel. `run` opens the FIFO
/// that the environment variable HALCYON_LIAR_FIFO names, for reading, again and again, whatever
/// signals come: it stays in the kernel until somebody opens the FIFO for writing. After that it
/// obeys kicks. vCPU N takes the FIFO with N behind the name where that exists. Named "liar".
class LiarAccelerator final : public Accelerator {
public:
    [[nodiscard]] std::string_view name() const override { return "liar"; }
    [[nodiscard]] Result<void> probe() const override;
    Result<std::unique_ptr<Partition>> create_partition(
        const PartitionConfig& config) const override;
    [[nodiscard]] std::string_view kick_mechanism() const override { return "none"; }
};

}  // namespace halcyon
