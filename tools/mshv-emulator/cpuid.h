/// Cpuid: what the CPUID instruction says on a partition's VPs.
#pragma once

#include <linux/kvm.h>

#include <array>
#include <cstdint>
#include <mutex>
#include <vector>

#include "accel/mshv/mshv_hypercalls.h"
#include "tools/mshv-emulator/kvm.h"
#include "tools/mshv-emulator/properties.h"

namespace halcyon::emulator {

using CpuidEntries = std::vector<kvm_cpuid_entry2>;

/// The feature banks of PROCESSOR_FEATURES0 and 1, and of PROCESSOR_XSAVE_FEATURES, that CPUID
/// leaves show.
struct ProcessorFeatures {
    std::array<uint64_t, 2> banks{};
    uint64_t xsave = 0;
};
ProcessorFeatures processor_features(const CpuidEntries& entries);
/// Takes features out of CPUID leaves: a set bit disables.
void disable_features(CpuidEntries& entries, const ProcessorFeatures& disabled);

/// A leaf, by KVM's rules: the sub-leaf counts where the entry says so. Null when there is none.
kvm_cpuid_entry2* find_leaf(CpuidEntries& entries, uint32_t leaf, uint32_t subleaf);
const kvm_cpuid_entry2* find_leaf(const CpuidEntries& entries, uint32_t leaf, uint32_t subleaf);

/// Puts one registered result into the leaves: value where the mask is set.
void apply_cpuid_result(CpuidEntries& entries, const mshv::RegisterCpuidResultInput& input);

/// Any thread.
class Cpuid {
public:
    explicit Cpuid(const PartitionConfig& config) : config_(config) {}

    /// REGISTER_INTERCEPT_RESULT with a CPUID result, for one VP or mshv::kAnyVp.
    void override_leaf(const mshv::RegisterCpuidResultInput& input);
    /// A VP's leaves, with the synthetic features that its guest sees; `overridden` with the
    /// results that were registered.
    [[nodiscard]] CpuidEntries entries(uint32_t vp_index, uint64_t synthetic_features,
                                       bool overridden) const;
    /// Gives them to a vCPU that has not run: 0 or -errno.
    long apply(uint32_t vp_index, uint64_t synthetic_features, const KvmVcpu& vcpu) const;

    [[nodiscard]] uint8_t physical_width() const;

private:
    const PartitionConfig config_;
    mutable std::mutex mutex_;
    std::vector<mshv::RegisterCpuidResultInput> overrides_;
};

}  // namespace halcyon::emulator
