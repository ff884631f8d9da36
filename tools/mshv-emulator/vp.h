/// Vp: one emulated virtual processor, on one KVM vCPU.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>

#include "accel/mshv/mshv_messages.h"
#include "tools/mshv-emulator/emulated_file.h"
#include "tools/mshv-emulator/kvm.h"

namespace halcyon::emulator {

class Partition;

/// Serves a VP's descriptor: RUN_VP here, the rest passed on to the partition's parts. Each ioctl
/// holds `vp_mutex_` from begin to end, RUN_VP included, as the driver does. The partition's ioctls
/// reach a running VP through `with_kvm`.
class Vp final : public EmulatedFile {
public:
    static int create(std::shared_ptr<Partition> partition, uint32_t index);

    long ioctl(unsigned long request, unsigned long argument, const TrapContext& context) override;
    void released() override;

    [[nodiscard]] uint32_t index() const { return index_; }

    /// Runs `work` on the KVM vCPU while it is not in KVM_RUN: at once when it is not running,
    /// otherwise after having got it out with the emulator's own signal, invisible to the program
    /// and the guest. Any thread. `work` sees the state as the guest last left it, with what the
    /// program wrote to the register page not yet taken over.
    long with_kvm(const std::function<long(KvmVcpu&)>& work);

    /// EXPLICIT_SUSPEND, INTERCEPT_SUSPEND and the other registers that KVM does not have; used by
    /// the register hypercalls, inside `with_kvm`.
    struct RunControl {
        bool explicit_suspend = true;
        bool intercept_suspend = false;
        bool dispatch_suspend = false;
        /// DELIVERABILITY_NOTIFICATIONS: bit 0 NMI window, 1 interrupt window.
        uint64_t notifications = 0;
    };
    [[nodiscard]] RunControl& run_control() { return run_control_; }
};

}  // namespace halcyon::emulator
