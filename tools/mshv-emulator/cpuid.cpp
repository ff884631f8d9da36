#include "tools/mshv-emulator/cpuid.h"

#include <algorithm>
#include <cerrno>

#include "accel/mshv/mshv_abi.h"

namespace halcyon::emulator {

namespace {

using mshv::SyntheticFeature;

// Leaf 1 (Intel SDM 2A, CPUID).
constexpr uint32_t kLeaf1EcxVmx = 1U << 5;
constexpr uint32_t kLeaf1EcxX2apic = 1U << 21;
constexpr uint32_t kLeaf1EcxTscDeadline = 1U << 24;
constexpr uint32_t kLeaf1EcxHypervisor = 1U << 31;
constexpr uint32_t kLeaf1EdxApic = 1U << 9;
constexpr uint32_t kLeaf80000001EcxSvm = 1U << 2;

// The hypervisor's leaves (TLFS 2.4). Their numbers are KVM's own, too.
constexpr uint32_t kHvFirstLeaf = 0x40000000;
constexpr uint32_t kHvLastLeaf = 0x40000006;
constexpr uint32_t kHvLeavesEnd = 0x40000100;

constexpr uint64_t bit(SyntheticFeature feature) {
    return uint64_t{1} << static_cast<unsigned>(feature);
}

void add_leaf(CpuidEntries& entries, uint32_t leaf, uint32_t eax, uint32_t ebx, uint32_t ecx,
              uint32_t edx) {
    kvm_cpuid_entry2 entry{};
    entry.function = leaf;
    entry.eax = eax;
    entry.ebx = ebx;
    entry.ecx = ecx;
    entry.edx = edx;
    entries.push_back(entry);
}

/// EAX of leaf 40000003h: the partition's privileges (HV_PARTITION_PRIVILEGE_MASK), which follow
/// from its synthetic features.
uint32_t hv_privileges(uint64_t features) {
    uint32_t privileges = 0;
    const auto give = [&](SyntheticFeature feature, uint32_t privilege) {
        if ((features & bit(feature)) != 0) {
            privileges |= privilege;
        }
    };
    give(SyntheticFeature::kPartitionReferenceCounter, 1U << 1);
    give(SyntheticFeature::kSynic, 1U << 2);
    give(SyntheticFeature::kHypercallMsrs, 1U << 5);
    give(SyntheticFeature::kVpIndex, 1U << 6);
    give(SyntheticFeature::kReferenceTsc, 1U << 9);
    give(SyntheticFeature::kFrequencyMsrs, 1U << 11);
    return privileges;
}

void add_hypervisor_leaves(CpuidEntries& entries, uint64_t features) {
    if ((features & bit(SyntheticFeature::kHypervisorPresent)) == 0) {
        return;
    }
    // "Microsoft Hv", whose interface is "Hv#1" if it is to be used at all.
    add_leaf(entries, kHvFirstLeaf, kHvLastLeaf, 0x7263694d, 0x666f736f, 0x76482074);
    const bool hv1 = (features & bit(SyntheticFeature::kHv1)) != 0;
    add_leaf(entries, 0x40000001, hv1 ? 0x31237648 : 0, 0, 0, 0);
    add_leaf(entries, 0x40000002, 27744, 0x000a0000, 0, 0);  // build, version 10.0
    const bool frequencies = (features & bit(SyntheticFeature::kFrequencyMsrs)) != 0;
    add_leaf(entries, 0x40000003, hv1 ? hv_privileges(features) : 0, 0, 0,
             frequencies ? 1U << 8 : 0);
    add_leaf(entries, 0x40000004, 0, 0xffffffff, 0, 0);  // nothing recommended, never spin-notify
    add_leaf(entries, 0x40000005, mshv::kMaxVps, mshv::kMaxVps, 0, 0);
    add_leaf(entries, kHvLastLeaf, 0, 0, 0, 0);
}

void set_leaf_1(kvm_cpuid_entry2& entry, uint32_t apic_id, uint64_t flags, uint64_t features) {
    entry.ebx = (entry.ebx & 0x0000ffff) | 1U << 16 | apic_id << 24;
    entry.ecx &= ~(kLeaf1EcxVmx | kLeaf1EcxHypervisor);
    if ((features & bit(SyntheticFeature::kHypervisorPresent)) != 0) {
        entry.ecx |= kLeaf1EcxHypervisor;
    }
    if ((flags & mshv::kPartitionLapic) == 0) {
        entry.ecx &= ~(kLeaf1EcxX2apic | kLeaf1EcxTscDeadline);
        entry.edx &= ~kLeaf1EdxApic;
        return;
    }
    if ((flags & mshv::kPartitionX2apic) == 0) {
        entry.ecx &= ~kLeaf1EcxX2apic;
    }
    // KVM_GET_SUPPORTED_CPUID leaves it out, because it depends on the interrupt controller.
    long error = 0;
    const KvmHost* host = kvm_host(error);
    if (host != nullptr && host->tsc_deadline) {
        entry.ecx |= kLeaf1EcxTscDeadline;
    }
}

void override_outputs(kvm_cpuid_entry2& entry, const mshv::RegisterCpuidResultInput& input) {
    const auto merge = [&](uint32_t& output, unsigned index) {
        const uint32_t mask = input.result[index].mask;
        output = (output & ~mask) | (input.result[index].value & mask);
    };
    merge(entry.eax, 0);
    merge(entry.ebx, 1);
    merge(entry.ecx, 2);
    merge(entry.edx, 3);
}

/// A result for one sub-leaf of a leaf that has none so far makes all of them its own, from the
/// one that there is.
void override_subleaf(CpuidEntries& entries, const mshv::RegisterCpuidResultInput& input) {
    kvm_cpuid_entry2* found = find_leaf(entries, input.eax, input.ecx);
    const bool exact = found != nullptr &&
                       ((found->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0 || input.ecx == 0);
    if (exact) {
        override_outputs(*found, input);
        return;
    }
    kvm_cpuid_entry2 entry{};
    entry.function = input.eax;
    entry.index = input.ecx;
    entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    override_outputs(entry, input);
    for (kvm_cpuid_entry2& other : entries) {
        if (other.function == input.eax) {
            other.flags |= KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
        }
    }
    entries.push_back(entry);
}

void override_all(CpuidEntries& entries, const mshv::RegisterCpuidResultInput& input) {
    bool found = false;
    for (kvm_cpuid_entry2& entry : entries) {
        if (entry.function == input.eax) {
            override_outputs(entry, input);
            found = true;
        }
    }
    if (!found) {
        kvm_cpuid_entry2 entry{};
        entry.function = input.eax;
        override_outputs(entry, input);
        entries.push_back(entry);
    }
}

}  // namespace

const kvm_cpuid_entry2* find_leaf(const CpuidEntries& entries, uint32_t leaf, uint32_t subleaf) {
    const auto found =
        std::find_if(entries.begin(), entries.end(), [&](const kvm_cpuid_entry2& entry) {
            return entry.function == leaf &&
                   ((entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) == 0 || entry.index == subleaf);
        });
    return found == entries.end() ? nullptr : &*found;
}

kvm_cpuid_entry2* find_leaf(CpuidEntries& entries, uint32_t leaf, uint32_t subleaf) {
    return const_cast<kvm_cpuid_entry2*>(
        find_leaf(static_cast<const CpuidEntries&>(entries), leaf, subleaf));
}

void apply_cpuid_result(CpuidEntries& entries, const mshv::RegisterCpuidResultInput& input) {
    if (input.subleaf_specific != 0) {
        override_subleaf(entries, input);
    } else {
        override_all(entries, input);
    }
}

void Cpuid::override_leaf(const mshv::RegisterCpuidResultInput& input) {
    const std::lock_guard lock(mutex_);
    std::erase_if(overrides_, [&](const mshv::RegisterCpuidResultInput& other) {
        return other.vp_index == input.vp_index && other.eax == input.eax &&
               other.subleaf_specific == input.subleaf_specific &&
               (input.subleaf_specific == 0 || other.ecx == input.ecx);
    });
    overrides_.push_back(input);
}

CpuidEntries Cpuid::entries(uint32_t vp_index, uint64_t synthetic_features, bool overridden) const {
    long error = 0;
    const KvmHost* host = kvm_host(error);
    if (host == nullptr) {
        return {};
    }
    CpuidEntries entries;
    entries.reserve(host->cpuid.size() + 16);
    for (kvm_cpuid_entry2 entry : host->cpuid) {
        if (entry.function >= kHvFirstLeaf && entry.function < kHvLeavesEnd) {
            continue;  // KVM's own
        }
        if (entry.function == 1) {
            set_leaf_1(entry, vp_index, config_.flags, synthetic_features);
        } else if (entry.function == 0xb || entry.function == 0x1f) {
            entry.edx = vp_index;
        } else if (entry.function == 0x80000001) {
            entry.ecx &= ~kLeaf80000001EcxSvm;
        } else if (entry.function == 0x8000001e) {
            entry.eax = vp_index;
        }
        entries.push_back(entry);
    }
    ProcessorFeatures disabled;
    disabled.banks = {config_.disabled_cpu_features[0], config_.disabled_cpu_features[1]};
    disabled.xsave = config_.disabled_xsave_features;
    disable_features(entries, disabled);
    add_hypervisor_leaves(entries, synthetic_features);
    if (!overridden) {
        return entries;
    }
    const std::lock_guard lock(mutex_);
    for (const mshv::RegisterCpuidResultInput& input : overrides_) {
        if (input.vp_index == mshv::kAnyVp || input.vp_index == vp_index) {
            apply_cpuid_result(entries, input);
        }
    }
    return entries;
}

long Cpuid::apply(uint32_t vp_index, uint64_t synthetic_features, const KvmVcpu& vcpu) const {
    const CpuidEntries leaves = entries(vp_index, synthetic_features, true);
    KvmList<kvm_cpuid_entry2> list(leaves.size());
    std::copy(leaves.begin(), leaves.end(), list.entries());
    return vcpu.ioctl(kKvmSetCpuid2, list.address());
}

uint8_t Cpuid::physical_width() const {
    long error = 0;
    const KvmHost* host = kvm_host(error);
    if (host == nullptr) {
        return 52;
    }
    const kvm_cpuid_entry2* leaf = find_leaf(host->cpuid, 0x80000008, 0);
    const uint32_t width = leaf == nullptr ? 36 : leaf->eax & 0xff;
    return static_cast<uint8_t>(std::clamp(width, 32U, 52U));
}

}  // namespace halcyon::emulator
