#include "accel/mshv/mshv_cpuid.h"

#include <algorithm>
#include <bit>

namespace halcyon::mshv {

namespace {

// Leaf 1 (Intel SDM 2A, CPUID).
constexpr uint32_t kLeaf1EbxTopology = 0xffff0000;  // 16-23 logical processors, 24-31 APIC id
constexpr uint32_t kLeaf1EcxVmx = 1U << 5;
constexpr uint32_t kLeaf1EcxX2apic = 1U << 21;
constexpr uint32_t kLeaf1EcxTscDeadline = 1U << 24;
constexpr uint32_t kLeaf1EdxApic = 1U << 9;
constexpr uint32_t kLeaf1EdxHtt = 1U << 28;

// Leaf 7 ECX.
constexpr uint32_t kLeaf7EcxMovdiri = 1U << 27;
constexpr uint32_t kLeaf7EcxMovdir64b = 1U << 28;
constexpr uint32_t kLeaf7EcxEnqcmd = 1U << 29;

// Leaf 80000001h (AMD APM 3 appendix E.4).
constexpr uint32_t kLeaf80000001EdxApic = 1U << 9;
constexpr uint32_t kLeaf80000001EcxCmpLegacy = 1U << 1;
constexpr uint32_t kLeaf80000001EcxSvm = 1U << 2;
constexpr uint32_t kLeaf80000001EcxExtApicSpace = 1U << 3;

/// More caches than any processor has: leaves 4 and 8000001Dh end with one of type 0.
constexpr uint32_t kMaxCaches = 16;

class Overrides {
public:
    Overrides(const CpuidSource& hypervisor, const PartitionConfig& config, VcpuIndex index)
        : hypervisor_(hypervisor), config_(config), apic_id_(index.value()) {}

    Result<std::vector<CpuidOverride>> make() {
        const CpuidValues basic = TRY(hypervisor_(0, 0));
        const CpuidValues extended = TRY(hypervisor_(0x80000000, 0));
        // EBX of leaf 0: "Auth" of AuthenticAMD, "Hygo" of HygonGenuine.
        const bool amd = basic.ebx == 0x68747541 || basic.ebx == 0x6f677948;
        add_leaf_1();
        if (basic.eax >= 7) {
            add(7, 0, {.eax = 0, .ebx = 0, .ecx = 0, .edx = 0},
                {.eax = 0,
                 .ebx = 0,
                 .ecx = kLeaf7EcxMovdiri | kLeaf7EcxMovdir64b | kLeaf7EcxEnqcmd,
                 .edx = 0});
        }
        if (!amd && basic.eax >= 4) {
            TRY(add_caches(4, true));
        }
        for (const uint32_t leaf : {0xbU, 0x1fU}) {
            if (leaf <= basic.eax) {
                add_topology(leaf);
            }
        }
        if (amd) {
            TRY(add_amd_leaves(extended.eax));
        }
        return std::move(list_);
    }

private:
    /// Bits of an APIC id that number a core.
    [[nodiscard]] uint32_t core_bits() const {
        return static_cast<uint32_t>(std::bit_width(config_.vcpu_count - 1));
    }
    [[nodiscard]] bool several_cores() const { return config_.vcpu_count > 1; }

    void add(uint32_t leaf, uint32_t subleaf, const CpuidValues& value, const CpuidValues& mask,
             bool one_subleaf = true) {
        list_.push_back({leaf, subleaf, one_subleaf, value, mask});
    }
    void add_whole(uint32_t leaf, const CpuidValues& value, const CpuidValues& mask) {
        add(leaf, 0, value, mask, false);
    }

    void add_leaf_1() {
        const uint32_t logical = std::min(1U << core_bits(), 255U);
        CpuidValues value{.eax = 0, .ebx = logical << 16 | apic_id_ << 24, .ecx = 0, .edx = 0};
        CpuidValues mask{
            .eax = 0, .ebx = kLeaf1EbxTopology, .ecx = kLeaf1EcxVmx, .edx = kLeaf1EdxHtt};
        if (several_cores()) {
            value.edx |= kLeaf1EdxHtt;
        }
        if (!config_.local_apic) {
            mask.ecx |= kLeaf1EcxX2apic | kLeaf1EcxTscDeadline;
            mask.edx |= kLeaf1EdxApic;
        }
        add_whole(1, value, mask);
    }

    /// Caches of levels 1 and 2 belong to one core, those above to all (leaf 4, and AMD's
    /// 8000001Dh, which has the same layout without the number of cores).
    Result<void> add_caches(uint32_t leaf, bool intel) {
        constexpr uint32_t kTypeMask = 0x1f;
        constexpr uint32_t kSharingMask = 0xfffU << 14;
        constexpr uint32_t kCoresMask = 0x3fU << 26;
        for (uint32_t cache = 0; cache < kMaxCaches; ++cache) {
            const CpuidValues there = TRY(hypervisor_(leaf, cache));
            if ((there.eax & kTypeMask) == 0) {
                break;
            }
            const uint32_t ids = (1U << core_bits()) - 1;
            const uint32_t level = there.eax >> 5 & 7;
            const uint32_t sharing = level >= 3 ? std::min(ids, 0xfffU) : 0;
            CpuidValues value{.eax = sharing << 14, .ebx = 0, .ecx = 0, .edx = 0};
            CpuidValues mask{.eax = kSharingMask, .ebx = 0, .ecx = 0, .edx = 0};
            if (intel) {
                value.eax |= std::min(ids, 0x3fU) << 26;
                mask.eax |= kCoresMask;
            }
            add(leaf, cache, value, mask);
        }
        return {};
    }

    /// The sub-leaves of 0Bh or 1Fh: threads of a core (type 1), cores of the package (type 2),
    /// end.
    void add_topology(uint32_t leaf) {
        constexpr CpuidValues kAll{.eax = ~0U, .ebx = ~0U, .ecx = ~0U, .edx = ~0U};
        const auto level = [&](uint32_t subleaf, uint32_t shift, uint32_t count, uint32_t type) {
            add(leaf, subleaf,
                {.eax = shift, .ebx = count, .ecx = subleaf | type << 8, .edx = apic_id_}, kAll);
        };
        level(0, 0, 1, 1);
        level(1, core_bits(), config_.vcpu_count, 2);
        level(2, 0, 0, 0);
    }

    /// AMD's way to say the same (APM 3 appendix E.4).
    Result<void> add_amd_leaves(uint32_t last) {
        if (last >= 0x80000001) {
            CpuidValues value{};
            CpuidValues mask{};
            mask.ecx = kLeaf80000001EcxCmpLegacy | kLeaf80000001EcxSvm;
            value.ecx = several_cores() ? kLeaf80000001EcxCmpLegacy : 0;
            if (!config_.local_apic) {
                mask.ecx |= kLeaf80000001EcxExtApicSpace;
                mask.edx |= kLeaf80000001EdxApic;
            }
            add_whole(0x80000001, value, mask);
        }
        if (last >= 0x80000008) {
            CpuidValues value{};
            value.ecx = core_bits() << 12 | std::min(config_.vcpu_count - 1, 0xffU);
            add_whole(0x80000008, value, {.eax = 0, .ebx = 0, .ecx = 0xf0ff, .edx = 0});
        }
        if (last >= 0x8000001d) {
            TRY(add_caches(0x8000001d, false));
        }
        if (last >= 0x8000001e) {
            const CpuidValues value{.eax = apic_id_, .ebx = apic_id_ & 0xff, .ecx = 0, .edx = 0};
            add_whole(0x8000001e, value, {.eax = ~0U, .ebx = ~0U, .ecx = ~0U, .edx = 0});
        }
        return {};
    }

    const CpuidSource& hypervisor_;
    const PartitionConfig& config_;
    const uint32_t apic_id_;
    std::vector<CpuidOverride> list_;
};

}  // namespace

Result<std::vector<CpuidOverride>> cpuid_overrides(const CpuidSource& hypervisor,
                                                   const PartitionConfig& config, VcpuIndex index) {
    return Overrides(hypervisor, config, index).make();
}

Result<CpuidValues> get_cpuid(VpRegisters& vp, uint32_t leaf, uint32_t subleaf) {
    GetCpuidInput header{};
    header.vp_index = vp.vp_index();
    const CpuidLeaf wanted{.eax = leaf, .ecx = subleaf, .xfem = 0, .xss = 0};
    CpuidValues values{};
    const HypercallPort::List list{.header = std::as_bytes(std::span(&header, 1)),
                                   .input = std::as_bytes(std::span(&wanted, 1)),
                                   .input_element = sizeof(wanted),
                                   .output = std::as_writable_bytes(std::span(&values, 1)),
                                   .output_element = sizeof(values)};
    TRY(vp.port()
            .try_call(HypercallCode::kGetVpCpuidValues, list)
            .to_result(HypercallCode::kGetVpCpuidValues));
    return values;
}

Result<void> set_cpuid(VpRegisters& vp, const CpuidOverride& override) {
    RegisterCpuidResultInput input{};
    input.vp_index = vp.vp_index();
    input.type = InterceptType::kCpuid;
    input.eax = override.leaf;
    input.ecx = override.subleaf;
    input.subleaf_specific = override.one_subleaf ? 1 : 0;
    // Also where the hypervisor computes the leaf anew each time it is asked for.
    input.always_override = 1;
    const uint32_t values[] = {override.value.eax, override.value.ebx, override.value.ecx,
                               override.value.edx};
    const uint32_t masks[] = {override.mask.eax, override.mask.ebx, override.mask.ecx,
                              override.mask.edx};
    for (size_t i = 0; i < std::size(values); ++i) {
        input.result[i].value = values[i];
        input.result[i].mask = masks[i];
    }
    return vp.port().call(HypercallCode::kRegisterInterceptResult, input);
}

}  // namespace halcyon::mshv
