/// Properties that CPUID leaves show, of the host and of a partition.
#include <cstring>

#include "tools/mshv-emulator/cpuid.h"
#include "tools/mshv-emulator/options.h"
#include "tools/mshv-emulator/properties.h"
#include "tools/mshv-emulator/xsave_format.h"

namespace halcyon::emulator {

namespace {

using mshv::HvStatus;
using mshv::PartitionProperty;
using mshv::SyntheticFeature;

/// HV_PROCESSOR_VENDOR_*.
enum Vendor : uint64_t { kVendorAmd = 0, kVendorIntel = 1, kVendorHygon = 2 };

uint64_t vendor(const CpuidEntries& leaves) {
    const kvm_cpuid_entry2* leaf = find_leaf(leaves, 0, 0);
    if (leaf != nullptr && leaf->ebx == 0x68747541) {  // "Auth"
        return kVendorAmd;
    }
    if (leaf != nullptr && leaf->ebx == 0x6f677948) {  // "Hygo"
        return kVendorHygon;
    }
    return kVendorIntel;
}

uint64_t xsave_states(const CpuidEntries& leaves) {
    const kvm_cpuid_entry2* leaf = find_leaf(leaves, 0xd, 0);
    return leaf == nullptr ? 3 : leaf->eax | static_cast<uint64_t>(leaf->edx) << 32;
}

uint64_t compacted_size(const CpuidEntries& leaves) {
    constexpr uint64_t kLegacyAndHeader = 576;
    uint64_t size = kLegacyAndHeader;
    for (const XsaveComponent& component : xsave_components(leaves)) {
        size = component.aligned ? (size + 63) / 64 * 64 : size;
        size += component.size;
    }
    return size;
}

uint64_t clflush_size(const CpuidEntries& leaves) {
    const kvm_cpuid_entry2* leaf = find_leaf(leaves, 1, 0);
    return leaf == nullptr ? 64 : (leaf->ebx >> 8 & 0xff) * 8;
}

uint64_t physical_width(const CpuidEntries& leaves) {
    const kvm_cpuid_entry2* leaf = find_leaf(leaves, 0x80000008, 0);
    return leaf == nullptr ? 36 : leaf->eax & 0xff;
}

uint64_t tsc_frequency() {
    long error = 0;
    const KvmHost* host = kvm_host(error);
    return host == nullptr ? 0 : host->tsc_hz;
}

}  // namespace

uint64_t assignable_synthetic_features() {
    uint64_t features = 0;
    for (const SyntheticFeature feature :
         {SyntheticFeature::kHypervisorPresent, SyntheticFeature::kHv1,
          SyntheticFeature::kPartitionReferenceCounter, SyntheticFeature::kSynic,
          SyntheticFeature::kHypercallMsrs, SyntheticFeature::kVpIndex,
          SyntheticFeature::kReferenceTsc, SyntheticFeature::kFrequencyMsrs}) {
        features |= uint64_t{1} << static_cast<unsigned>(feature);
    }
    return features;
}

HvStatus get_processor_property(const CpuidEntries& leaves, PartitionProperty property,
                                uint64_t& value) {
    switch (property) {
        case PartitionProperty::kProcessorVendor:
            value = vendor(leaves);
            return HvStatus::kSuccess;
        case PartitionProperty::kProcessorXsaveFeatures:
            value = processor_features(leaves).xsave;
            return HvStatus::kSuccess;
        case PartitionProperty::kProcessorClFlushSize:
            value = clflush_size(leaves);
            return HvStatus::kSuccess;
        case PartitionProperty::kPhysicalAddressWidth:
            value = physical_width(leaves);
            return HvStatus::kSuccess;
        case PartitionProperty::kXsaveStates:
            value = xsave_states(leaves);
            return HvStatus::kSuccess;
        case PartitionProperty::kMaxXsaveDataSize:
            value = compacted_size(leaves);
            return HvStatus::kSuccess;
        case PartitionProperty::kProcessorClockFrequency:
            value = tsc_frequency();
            return HvStatus::kSuccess;
        case PartitionProperty::kProcessorFeatures0:
            value = processor_features(leaves).banks[0];
            return HvStatus::kSuccess;
        case PartitionProperty::kProcessorFeatures1:
            value = processor_features(leaves).banks[1];
            return HvStatus::kSuccess;
        default:
            return HvStatus::kUnknownProperty;
    }
}

HvStatus get_host_property(PartitionProperty property, uint64_t& value) {
    value = 0;
    long error = 0;
    const KvmHost* host = kvm_host(error);
    if (host == nullptr) {
        return HvStatus::kOperationFailed;
    }
    if (property == PartitionProperty::kCompatibilityVersion) {
        value = 0x0609;  // HV_COMPATIBILITY_21_H2
        return HvStatus::kSuccess;
    }
    return get_processor_property(host->cpuid, property, value);
}

HvStatus get_host_property_ex(PartitionProperty property, uint64_t, std::vector<uint8_t>& value) {
    // Both are a header of 8 bytes (a count of banks, where there is one) and 64 bits.
    uint64_t words[2] = {};
    switch (property) {
        case PartitionProperty::kVmmCapabilities:
            words[0] = 1;  // one bank; none of its capabilities
            break;
        case PartitionProperty::kAssignableSyntheticProcFeatures:
            if (options().kernel == Kernel::kOld) {
                return HvStatus::kUnknownProperty;  // as the hypervisors of their time
            }
            words[0] = 1;
            words[1] = assignable_synthetic_features();
            break;
        default:
            return HvStatus::kUnknownProperty;
    }
    value.resize(sizeof(words));
    std::memcpy(value.data(), words, sizeof(words));
    return HvStatus::kSuccess;
}

}  // namespace halcyon::emulator
