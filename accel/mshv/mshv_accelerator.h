/// MshvAccelerator: the front of the Microsoft hypervisor's backend, /dev/mshv of a Linux root
/// partition.
#pragma once

#include <functional>
#include <string>

#include "accel/accelerator.h"

namespace halcyon {

/// Tells whether this host has the mshv driver, and why not if it has none. It does not run guests:
/// `probe` refuses on every host, after having told what it found. Stateless, as every Accelerator.
class MshvAccelerator final : public Accelerator {
public:
    /// ioctl(2): -1 and errno on failure.
    using Ioctl = std::function<int(int fd, unsigned long request, void* argument)>;

    /// On /dev/mshv.
    MshvAccelerator();
    /// For tests: another device node, and what answers in place of the driver.
    MshvAccelerator(std::string device_path, Ioctl ioctl);

    [[nodiscard]] std::string_view name() const override { return "mshv"; }
    [[nodiscard]] Result<void> probe() const override;
    Result<std::unique_ptr<Partition>> create_partition(
        const PartitionConfig& config) const override;
    [[nodiscard]] std::string_view kick_mechanism() const override { return "signal (entry stub)"; }

private:
    /// Opens the device and makes sure that the mshv driver is behind it. Changes nothing.
    [[nodiscard]] Result<void> check_driver() const;
    /// Asks the driver for a property of the host: the proof that driver and hypervisor answer.
    /// False when the driver takes no hypercalls on its device (before about Linux 6.19).
    [[nodiscard]] Result<bool> hypervisor_answers(int device) const;
    /// Whether MSHV_CREATE_PARTITION is known and, with a flag that nobody defines, refused.
    [[nodiscard]] bool knows_create_partition(int device) const;

    std::string device_path_;
    Ioctl ioctl_;
};

/// Why the mshv device could not be opened, in one line that says what would help.
[[nodiscard]] Error mshv_open_error(const std::string& device_path, int errno_value);

}  // namespace halcyon
