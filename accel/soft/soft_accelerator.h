/// SoftAccelerator: guests without a hypervisor, by interpretation.
#pragma once

#include "accel/accelerator.h"

namespace halcyon {

/// Always there: needs no device node and no rights. Real-mode and unpaged 32-bit protected-mode
/// guests only.
class SoftAccelerator final : public Accelerator {
public:
    [[nodiscard]] std::string_view name() const override { return "soft"; }
    [[nodiscard]] Result<void> probe() const override { return {}; }
    Result<std::unique_ptr<Partition>> create_partition(
        const PartitionConfig& config) const override;
    [[nodiscard]] std::string_view kick_mechanism() const override {
        return "stop word between instructions";
    }
};

}  // namespace halcyon
