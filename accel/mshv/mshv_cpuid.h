/// The CPUID leaves that a VP shows where they differ from the hypervisor's own.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "accel/mshv/mshv_registers.h"
#include "accel/partition.h"

namespace halcyon::mshv {

/// One leaf, or one sub-leaf: the guest sees `value` where `mask` is set, the hypervisor's bits
/// elsewhere.
struct CpuidOverride {
    uint32_t leaf = 0;
    uint32_t subleaf = 0;
    bool one_subleaf = false;  ///< only `subleaf`; otherwise every one
    CpuidValues value{};
    CpuidValues mask{};
    friend bool operator==(const CpuidOverride&, const CpuidOverride&) = default;
};

/// The leaf and sub-leaf as the hypervisor would show them.
using CpuidSource = std::function<Result<CpuidValues>(uint32_t leaf, uint32_t subleaf)>;

/// What makes one VP of a partition: its APIC id, a topology of one package with
/// `config.vcpu_count` cores of one thread each, no features of a local APIC without one, and no
/// features that this backend cannot serve: nested virtualization, and stores of more than a
/// register (MOVDIR64B, ENQCMD), which cannot be carried out on a device.
Result<std::vector<CpuidOverride>> cpuid_overrides(const CpuidSource& hypervisor,
                                                   const PartitionConfig& config, VcpuIndex index);

/// Asks the hypervisor for a VP's leaf (GET_VP_CPUID_VALUES).
Result<CpuidValues> get_cpuid(VpRegisters& vp, uint32_t leaf, uint32_t subleaf);
/// Tells the hypervisor what a VP shows (REGISTER_INTERCEPT_RESULT).
Result<void> set_cpuid(VpRegisters& vp, const CpuidOverride& override);

}  // namespace halcyon::mshv
