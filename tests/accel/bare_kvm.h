/// A BareVcpu of /dev/kvm.
#pragma once

#include <linux/kvm.h>

#include "base/unique_fd.h"
#include "tests/accel/bare_vcpu.h"

namespace halcyon::testing_support {

/// immediate_exit is never set.
class BareKvm final : public BareVcpu {
public:
    static std::optional<std::string> unavailable();

    explicit BareKvm(std::byte* memory);

    [[nodiscard]] bool ok() const override { return ok_; }
    [[nodiscard]] int fd() const override { return vcpu_.get(); }
    [[nodiscard]] unsigned long request() const override { return KVM_RUN; }
    [[nodiscard]] unsigned long argument() const override { return 0; }

private:
    bool set_up(std::byte* memory);

    UniqueFd kvm_, vm_, vcpu_;
    bool ok_;
};

}  // namespace halcyon::testing_support
