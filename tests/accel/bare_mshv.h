/// A BareVcpu of /dev/mshv.
#pragma once

#include "accel/mshv/mshv_abi.h"
#include "accel/mshv/mshv_messages.h"
#include "base/unique_fd.h"
#include "tests/accel/bare_vcpu.h"

namespace halcyon::testing_support {

class BareMshv final : public BareVcpu {
public:
    static std::optional<std::string> unavailable();

    explicit BareMshv(std::byte* memory);

    [[nodiscard]] bool ok() const override { return ok_; }
    [[nodiscard]] int fd() const override { return vp_.get(); }
    [[nodiscard]] unsigned long request() const override { return mshv::kIoctlRunVp; }
    [[nodiscard]] unsigned long argument() const override {
        return reinterpret_cast<unsigned long>(&message_);
    }

private:
    bool set_up(std::byte* memory);

    UniqueFd device_, partition_, vp_;
    mshv::Message message_{};
    bool ok_;
};

}  // namespace halcyon::testing_support
