/// MshvAccelerator: the front of the Microsoft hypervisor's backend, /dev/mshv of a Linux root
/// partition.
#pragma once

#include <string>

#include "accel/accelerator.h"
#include "accel/mshv/mshv_driver.h"
#include "base/unique_fd.h"

namespace halcyon {

/// Runs guests on the Microsoft hypervisor. Stateless, as every Accelerator.
class MshvAccelerator final : public Accelerator {
public:
    /// On /dev/mshv.
    MshvAccelerator();
    /// For tests: another device node, and what answers in place of the kernel.
    MshvAccelerator(std::string device_path, mshv::Driver& driver);

    [[nodiscard]] std::string_view name() const override { return "mshv"; }
    [[nodiscard]] Result<void> probe() const override;
    Result<std::unique_ptr<Partition>> create_partition(
        const PartitionConfig& config) const override;
    /// The one place that knows: no driver has an immediate exit to probe for, neither Linux's up
    /// to 7.2 nor a fork's, so a signal ends MSHV_RUN_VP, and the entry stub sees to it that none
    /// comes too early.
    [[nodiscard]] std::string_view kick_mechanism() const override { return "signal (entry stub)"; }

private:
    /// Opens the device and makes sure that the mshv driver is behind it. Changes nothing.
    [[nodiscard]] Result<UniqueFd> open_device() const;
    /// Asks the driver for a property of the host: the proof that driver and hypervisor answer.
    /// False when the driver takes no hypercalls on its device (before about Linux 6.19).
    [[nodiscard]] Result<bool> hypervisor_answers(int device) const;
    /// Whether MSHV_CREATE_PARTITION is known and, with a flag that nobody defines, refused.
    [[nodiscard]] bool knows_create_partition(int device) const;

    std::string device_path_;
    mshv::Driver& driver_;
};

/// Why the mshv device could not be opened, in one line that says what would help.
[[nodiscard]] Error mshv_open_error(const std::string& device_path, int errno_value);

}  // namespace halcyon
