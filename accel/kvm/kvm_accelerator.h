/// KvmAccelerator: guests on Linux's KVM.
#pragma once

#include "accel/accelerator.h"

namespace halcyon {

/// See Accelerator. Needs /dev/kvm of a kernel from 4.13 on (immediate exit).
class KvmAccelerator final : public Accelerator {
public:
    [[nodiscard]] std::string_view name() const override { return "kvm"; }
    [[nodiscard]] Result<void> probe() const override;
    Result<std::unique_ptr<Partition>> create_partition(
        const PartitionConfig& config) const override;
    [[nodiscard]] std::string_view kick_mechanism() const override {
        return "signal, immediate exit";
    }
};

}  // namespace halcyon
