#include "accel/kvm/kvm_cpuid.h"

#include <algorithm>
#include <bit>

#include "accel/kvm/kvm_ioctl.h"

namespace halcyon {

namespace {

// Leaf 1 (Intel SDM 2A, CPUID).
constexpr uint32_t kLeaf1EcxVmx = 1u << 5;
constexpr uint32_t kLeaf1EcxX2apic = 1u << 21;
constexpr uint32_t kLeaf1EcxTscDeadline = 1u << 24;
constexpr uint32_t kLeaf1EcxHypervisor = 1u << 31;
constexpr uint32_t kLeaf1EdxApic = 1u << 9;
constexpr uint32_t kLeaf1EdxHtt = 1u << 28;

// Leaf 80000001h (AMD APM 3 appendix E.4).
constexpr uint32_t kLeaf80000001EdxApic = 1u << 9;
constexpr uint32_t kLeaf80000001EcxCmpLegacy = 1u << 1;
constexpr uint32_t kLeaf80000001EcxSvm = 1u << 2;
constexpr uint32_t kLeaf80000001EcxExtApicSpace = 1u << 3;

// Leaf 40000001h EAX (Documentation/virt/kvm/x86/cpuid.rst): needs the local APIC in the kernel.
constexpr uint32_t kKvmFeaturePvEoi = 1u << 6;
constexpr uint32_t kKvmFeaturePvUnhalt = 1u << 7;
constexpr uint32_t kKvmFeaturePvSendIpi = 1u << 11;
constexpr uint32_t kKvmFeatureAsyncPfInt = 1u << 14;

/// Where the topology's numbers come from.
struct Topology {
    uint32_t cores;
    uint32_t apic_id;
    /// Bits of an APIC id that number a core.
    [[nodiscard]] uint32_t core_bits() const {
        return static_cast<uint32_t>(std::bit_width(cores - 1));
    }
};

void set_leaf_1(kvm_cpuid_entry2& entry, const Topology& topology, bool local_apic,
                bool tsc_deadline) {
    const uint32_t logical = std::min(1u << topology.core_bits(), 255u);
    entry.ebx = (entry.ebx & 0xffff) | logical << 16 | topology.apic_id << 24;
    entry.ecx |= kLeaf1EcxHypervisor;
    // No nested virtualization: a guest in VMX operation could not be reset through the registers.
    entry.ecx &= ~(kLeaf1EcxVmx | kLeaf1EcxTscDeadline);
    if (local_apic && tsc_deadline) {
        entry.ecx |= kLeaf1EcxTscDeadline;
    }
    if (!local_apic) {
        entry.ecx &= ~kLeaf1EcxX2apic;
        entry.edx &= ~kLeaf1EdxApic;
    }
    entry.edx &= ~kLeaf1EdxHtt;
    if (topology.cores > 1) {
        entry.edx |= kLeaf1EdxHtt;
    }
}

/// Caches of levels 1 and 2 belong to one core, those above to all (leaf 4, and AMD's 8000001Dh,
/// which has the same layout without the number of cores).
void set_cache_leaf(kvm_cpuid_entry2& entry, const Topology& topology, bool intel) {
    const uint32_t type = entry.eax & 0x1f;
    if (type == 0) {
        return;
    }
    const uint32_t level = entry.eax >> 5 & 7;
    const uint32_t ids = (1u << topology.core_bits()) - 1;
    const uint32_t sharing = level >= 3 ? std::min(ids, 0xfffu) : 0;
    entry.eax = (entry.eax & 0x3fff) | sharing << 14;
    if (intel) {
        entry.eax |= std::min(ids, 0x3fu) << 26;
    }
}

/// The sub-leaves of 0Bh or 1Fh: threads of a core (type 1), cores of the package (type 2), end.
void add_topology_leaf(CpuidEntries& entries, uint32_t leaf, const Topology& topology) {
    const auto add = [&](uint32_t index, uint32_t shift, uint32_t count, uint32_t type) {
        kvm_cpuid_entry2 entry{};
        entry.function = leaf;
        entry.index = index;
        entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
        entry.eax = shift;
        entry.ebx = count;
        entry.ecx = index | type << 8;
        entry.edx = topology.apic_id;
        entries.push_back(entry);
    };
    add(0, 0, 1, 1);
    add(1, topology.core_bits(), topology.cores, 2);
    add(2, 0, 0, 0);
}

/// AMD's way to say the same (APM 3 appendix E.4.7, E.4.16).
void set_amd_leaf(kvm_cpuid_entry2& entry, const Topology& topology, bool local_apic) {
    switch (entry.function) {
        case 0x80000001:
            if (!local_apic) {
                entry.edx &= ~kLeaf80000001EdxApic;
                entry.ecx &= ~kLeaf80000001EcxExtApicSpace;
            }
            entry.ecx &= ~(kLeaf80000001EcxCmpLegacy | kLeaf80000001EcxSvm);
            if (topology.cores > 1) {
                entry.ecx |= kLeaf80000001EcxCmpLegacy;
            }
            break;
        case 0x80000008:
            entry.ecx = topology.core_bits() << 12 | std::min(topology.cores - 1, 0xffu);
            break;
        case 0x8000001d:
            set_cache_leaf(entry, topology, false);
            break;
        case 0x8000001e:
            entry.eax = topology.apic_id;
            entry.ebx = topology.apic_id & 0xff;
            entry.ecx = 0;
            break;
        default:
            break;
    }
}

bool is_amd(const CpuidEntries& entries) {
    // EBX of leaf 0: "Auth" of AuthenticAMD, "Hygo" of HygonGenuine.
    return std::any_of(entries.begin(), entries.end(), [](const kvm_cpuid_entry2& entry) {
        return entry.function == 0 && (entry.ebx == 0x68747541 || entry.ebx == 0x6f677948);
    });
}

}  // namespace

Result<CpuidEntries> supported_cpuid(int kvm_fd) {
    // The kernel says only "too few" (E2BIG). 256 is its own limit, KVM_MAX_CPUID_ENTRIES.
    for (size_t capacity = 128; capacity <= 4096; capacity *= 2) {
        KvmCpuidArray array(capacity);
        array.header()->nent = static_cast<uint32_t>(capacity);
        const auto got =
            kvm_ioctl(kvm_fd, kKvmGetSupportedCpuid, "KVM_GET_SUPPORTED_CPUID", array.header());
        if (got) {
            const auto entries = array.entries().first(array.header()->nent);
            return CpuidEntries(entries.begin(), entries.end());
        }
        if (got.error().errno_value() != E2BIG) {
            return got.error();
        }
    }
    return Error("KVM_GET_SUPPORTED_CPUID: the host's list of CPUID leaves does not end",
                 ErrorCode::kUnsupported);
}

CpuidEntries vcpu_cpuid(const CpuidEntries& supported, const PartitionConfig& config,
                        VcpuIndex index, bool tsc_deadline) {
    const Topology topology{.cores = config.vcpu_count, .apic_id = index.value()};
    const bool amd = is_amd(supported);
    CpuidEntries entries;
    entries.reserve(supported.size() + 6);
    uint32_t last_basic_leaf = 0;
    for (kvm_cpuid_entry2 entry : supported) {
        switch (entry.function) {
            case 0:
                last_basic_leaf = entry.eax;
                break;
            case 1:
                set_leaf_1(entry, topology, config.local_apic, tsc_deadline);
                break;
            case 4:
                set_cache_leaf(entry, topology, true);
                break;
            case 0xb:
            case 0x1f:
                continue;  // made below
            case 0x40000001:
                if (!config.local_apic) {
                    entry.eax &= ~(kKvmFeaturePvEoi | kKvmFeaturePvUnhalt | kKvmFeaturePvSendIpi |
                                   kKvmFeatureAsyncPfInt);
                }
                break;
            default:
                if (amd) {
                    set_amd_leaf(entry, topology, config.local_apic);
                }
                break;
        }
        entries.push_back(entry);
    }
    for (const uint32_t leaf : {0xbu, 0x1fu}) {
        if (leaf <= last_basic_leaf) {
            add_topology_leaf(entries, leaf, topology);
        }
    }
    return entries;
}

uint32_t cpu_signature(const CpuidEntries& entries) {
    const auto leaf = std::find_if(entries.begin(), entries.end(),
                                   [](const auto& entry) { return entry.function == 1; });
    return leaf == entries.end() ? 0 : leaf->eax;
}

}  // namespace halcyon
