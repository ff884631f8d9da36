/// The CPUID leaves a vCPU shows: what KVM supports on this host, made into a topology.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <vector>

#include "accel/partition.h"
#include "base/result.h"

namespace halcyon {

using CpuidEntries = std::vector<kvm_cpuid_entry2>;

/// KVM_GET_SUPPORTED_CPUID of an open /dev/kvm.
Result<CpuidEntries> supported_cpuid(int kvm_fd);

/// The leaves of one vCPU: `supported` with its APIC id, and a topology of one package with
/// `config.vcpu_count` cores of one thread each. Without a local APIC in the kernel, the features
/// that are part of one are not shown. `tsc_deadline`: KVM_CAP_TSC_DEADLINE_TIMER, which the
/// supported leaves do not say.
CpuidEntries vcpu_cpuid(const CpuidEntries& supported, const PartitionConfig& config,
                        VcpuIndex index, bool tsc_deadline);

/// Leaf 1 EAX: family, model and stepping; EDX after RESET (Intel SDM 3A 9.1.2). 0 without leaf 1.
[[nodiscard]] uint32_t cpu_signature(const CpuidEntries& entries);

}  // namespace halcyon
