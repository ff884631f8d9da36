/// A vCPU of /dev/kvm with nothing around it, for tests of the entry stub alone.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/mapping.h"
#include "base/unique_fd.h"

namespace halcyon::testing_support {

/// One real-mode vCPU in 64 KiB of shared memory that says it runs (sets byte 2000h), then spins.
/// No interrupt controller, and immediate_exit is never set: only a signal gets it out of KVM_RUN.
class BareKvm {
public:
    static constexpr uint64_t kMemorySize = 0x10000;
    static constexpr uint64_t kCode = 0x1000;
    static constexpr uint64_t kFlag = 0x2000;

    /// Why there is no /dev/kvm to test on; nothing when there is.
    static std::optional<std::string> unavailable();

    /// `memory`: kMemorySize bytes.
    explicit BareKvm(std::byte* memory);

    /// False when some ioctl failed.
    [[nodiscard]] bool ok() const { return ok_; }
    [[nodiscard]] int vcpu_fd() const { return vcpu_.get(); }

private:
    bool set_up(std::byte* memory);

    UniqueFd kvm_, vm_, vcpu_;
    bool ok_;
};

}  // namespace halcyon::testing_support
