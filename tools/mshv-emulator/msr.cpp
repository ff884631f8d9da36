#include "tools/mshv-emulator/msr.h"

#include <algorithm>
#include <array>
#include <bit>
#include <vector>

#include "tools/mshv-emulator/partition.h"

namespace halcyon::emulator {

namespace {

using mshv::HvStatus;
using mshv::SyntheticFeature;

/// MSRs that KVM must not serve: its own, of which the guest is not to know, and the hypervisor's.
struct MsrRange {
    uint32_t first;
    uint32_t count;
};
constexpr MsrRange kHidden[] = {
    {0x11, 2},            // KVM's clocks, first numbers (Documentation/virt/kvm/x86/msr.rst)
    {0x4b564d00, 8},      // KVM's others
    {0x40000000, 0x200},  // the hypervisor's (TLFS 17)
};
/// KVM's filter does not apply to these (api.rst 4.123).
constexpr uint32_t kFirstX2apicMsr = 0x800;
constexpr uint32_t kLastX2apicMsr = 0x8ff;

/// A filter that lets pass everything but some ranges, whose bitmaps are all zero.
long set_filter(const KvmVm& vm, const std::map<uint32_t, uint32_t>& intercepts) {
    // All zero, as many bits as the longest range has.
    static constexpr std::array<uint8_t, 0x200 / 8> kNone{};
    kvm_msr_filter filter{};
    filter.flags = KVM_MSR_FILTER_DEFAULT_ALLOW;
    size_t used = 0;
    const auto add = [&](uint32_t first, uint32_t count, uint32_t flags) {
        kvm_msr_filter_range& range = filter.ranges[used++];
        range.flags = flags;
        range.base = first;
        range.nmsrs = count;
        range.bitmap = const_cast<uint8_t*>(kNone.data());
    };
    for (const MsrRange& range : kHidden) {
        add(range.first, range.count, KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE);
    }
    for (const auto& [msr, mask] : intercepts) {
        const uint32_t reads = (mask & mshv::kInterceptRead) != 0 ? KVM_MSR_FILTER_READ : 0;
        const uint32_t writes = (mask & mshv::kInterceptWrite) != 0 ? KVM_MSR_FILTER_WRITE : 0;
        add(msr, 1, reads | writes);
    }
    return vm.ioctl(KVM_X86_SET_MSR_FILTER, &filter);
}

constexpr size_t kMaxIntercepts = KVM_MSR_FILTER_MAX_RANGES - std::size(kHidden);

/// Whether a guest with these features has that MSR.
bool guest_has(uint64_t features, uint32_t msr) {
    const auto has = [&](SyntheticFeature feature) {
        return (features >> static_cast<unsigned>(feature) & 1) != 0;
    };
    if (!has(SyntheticFeature::kHypervisorPresent) || !has(SyntheticFeature::kHv1)) {
        return false;
    }
    switch (msr) {
        case 0x40000000:
        case 0x40000001:
            return has(SyntheticFeature::kHypercallMsrs);
        case 0x40000002:
            return has(SyntheticFeature::kVpIndex);
        case 0x40000020:
            return has(SyntheticFeature::kPartitionReferenceCounter);
        case 0x40000021:
            return has(SyntheticFeature::kReferenceTsc);
        case 0x40000022:
        case 0x40000023:
            return has(SyntheticFeature::kFrequencyMsrs);
        default:
            return msr >= 0x40000080 && msr <= 0x4000009f && has(SyntheticFeature::kSynic);
    }
}

}  // namespace

long MsrIntercepts::install(KvmVm& vm) {
    long error = 0;
    const KvmHost* host = kvm_host(error);
    if (host == nullptr || !host->user_msr) {
        return error;  // KVM then answers unknown MSRs with #GP
    }
    kvm_enable_cap capability{};
    capability.cap = KVM_CAP_X86_USER_SPACE_MSR;
    capability.args[0] = KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER;
    const long result = vm.ioctl(KVM_ENABLE_CAP, &capability);
    return result < 0 ? result : set_filter(vm, {});
}

HvStatus MsrIntercepts::set(KvmVm& vm, uint64_t msr, uint32_t access_mask) {
    long error = 0;
    const KvmHost* host = kvm_host(error);
    if (msr > 0xffffffff) {
        return HvStatus::kInvalidParameter;
    }
    if (host == nullptr || !host->user_msr || (msr >= kFirstX2apicMsr && msr <= kLastX2apicMsr)) {
        return HvStatus::kOperationFailed;
    }
    const std::lock_guard lock(mutex_);
    std::map<uint32_t, uint32_t> wanted = masks_;
    const uint32_t mask = access_mask & (mshv::kInterceptRead | mshv::kInterceptWrite);
    if (mask == 0) {
        wanted.erase(static_cast<uint32_t>(msr));
    } else {
        wanted[static_cast<uint32_t>(msr)] = mask;
    }
    if (wanted.size() > kMaxIntercepts) {
        return HvStatus::kNoResources;
    }
    if (set_filter(vm, wanted) < 0) {
        return HvStatus::kOperationFailed;
    }
    masks_ = std::move(wanted);
    return HvStatus::kSuccess;
}

bool MsrIntercepts::wants(uint32_t msr, bool write) const {
    const std::lock_guard lock(mutex_);
    const auto found = masks_.find(msr);
    const uint32_t wanted = write ? mshv::kInterceptWrite : mshv::kInterceptRead;
    return found != masks_.end() && (found->second & wanted) != 0;
}

MsrOutcome serve_msr_exit(Partition& partition, uint32_t vp_index, KvmVcpu& vcpu) {
    kvm_run& run = vcpu.run();
    const bool write = run.exit_reason == KVM_EXIT_X86_WRMSR;
    const uint32_t msr = run.msr.index;
    if (partition.msr_intercepts().wants(msr, write)) {
        return MsrOutcome::kMessage;
    }
    run.msr.error = 0;
    if (guest_has(partition.properties().synthetic_features(), msr)) {
        uint64_t value = 0;
        const bool done = write ? set_synthetic_msr(partition, vp_index, vcpu, msr, run.msr.data)
                                : get_synthetic_msr(partition, vp_index, msr, value);
        if (!write) {
            run.msr.data = value;
        }
        run.msr.error = done ? 0 : 1;
        return MsrOutcome::kServed;
    }
    if (!partition.properties().ignores_unimplemented_msrs()) {
        run.msr.error = 1;
    } else if (!write) {
        run.msr.data = 0;
    }
    return MsrOutcome::kServed;
}

}  // namespace halcyon::emulator
