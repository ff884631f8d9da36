/// Vp: one emulated virtual processor, on one KVM vCPU.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "tools/mshv-emulator/emulated_file.h"
#include "tools/mshv-emulator/kvm.h"
#include "tools/mshv-emulator/run.h"

namespace halcyon::emulator {

class Partition;

/// Serves a VP's descriptor: RUN_VP here, the rest passed on to the partition's parts. Each ioctl
/// holds `vp_mutex_` from begin to end, RUN_VP included, as the driver does. The partition's ioctls
/// reach a running VP through `with_kvm`.
///
/// Its file has two pages: the register page, and the message of the latest intercept.
class Vp final : public EmulatedFile {
public:
    /// CREATE_VP after its argument was checked: makes the VP known to the partition and gives its
    /// descriptor, or -errno.
    static int create(std::shared_ptr<Partition> partition, uint32_t index);
    Vp(std::shared_ptr<Partition> partition, uint32_t index, KvmVcpu vcpu);

    long ioctl(unsigned long request, unsigned long argument, const TrapContext& context) override;
    void released() override;

    [[nodiscard]] uint32_t index() const { return index_; }

    /// What a use of the vCPU does to it. KVM's calls take their time: one that only looks leaves
    /// the register page valid and what is known of the registers known.
    enum class Use { kLooks, kChanges };

    /// Runs `work` on the KVM vCPU while it is not in KVM_RUN: at once when it is not running,
    /// otherwise after having got it out with the emulator's own signal, invisible to the program
    /// and the guest. Any thread; does not nest. `work` sees the state as the guest last left it,
    /// with what the program wrote to the register page not yet taken over.
    long with_kvm(const std::function<long(KvmVcpu&)>& work, Use use = Use::kChanges);

    /// EXPLICIT_SUSPEND, INTERCEPT_SUSPEND and the other registers that KVM does not have; used by
    /// the register hypercalls, inside `with_kvm`.
    using RunControl = emulator::RunControl;
    [[nodiscard]] RunControl& run_control() { return runner_.control(); }

private:
    long run(unsigned long argument, const TrapContext& context);

    const std::shared_ptr<Partition> partition_;
    const uint32_t index_;
    std::mutex vp_mutex_;
    KvmVcpu vcpu_;
    Runner runner_;
};

}  // namespace halcyon::emulator
