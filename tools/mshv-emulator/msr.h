/// What a guest's RDMSR and WRMSR meet that KVM does not serve: the hypervisor's own MSRs, those
/// that the program intercepts, and those that do not exist.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include "accel/mshv/mshv_hypercalls.h"
#include "tools/mshv-emulator/kvm.h"

namespace halcyon::emulator {

class Partition;

/// What becomes of a KVM_EXIT_X86_RDMSR or KVM_EXIT_X86_WRMSR.
enum class MsrOutcome {
    kServed,   ///< `run.msr.data` and `run.msr.error` are set: enter again
    kMessage,  ///< the program wants an X64_MSR_INTERCEPT; nothing is set
};

/// Serves the exit in `vcpu.run()` of that VP, on its thread.
MsrOutcome serve_msr_exit(Partition& partition, uint32_t vp_index, KvmVcpu& vcpu);

/// Which MSRs exit, and to whom. Any thread.
class MsrIntercepts {
public:
    /// Makes KVM report the hypervisor's MSRs, its own, and the unknown ones. Before the first vCPU
    /// runs.
    static long install(KvmVm& vm);
    /// INSTALL_INTERCEPT of one MSR. kNoResources for more than KVM's filter has room for,
    /// kOperationFailed for those that it cannot filter (x2APIC's).
    mshv::HvStatus set(KvmVm& vm, uint64_t msr, uint32_t access_mask);
    [[nodiscard]] bool wants(uint32_t msr, bool write) const;

private:
    mutable std::mutex mutex_;
    std::map<uint32_t, uint32_t> masks_;
};

/// A VP's values of the hypervisor's MSRs and registers, as RDMSR or a register hypercall has them;
/// false when there is no such.
bool get_synthetic_msr(Partition& partition, uint32_t vp_index, uint32_t msr, uint64_t& value);
/// `vcpu` is that VP's, for the time that REFERENCE_TSC shows.
bool set_synthetic_msr(Partition& partition, uint32_t vp_index, const KvmVcpu& vcpu, uint32_t msr,
                       uint64_t value);

}  // namespace halcyon::emulator
