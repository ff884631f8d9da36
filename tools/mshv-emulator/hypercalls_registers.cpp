/// Hypercalls about one VP: registers, address translation, intercepts, CPUID.
#include <algorithm>

#include "tools/mshv-emulator/cpuid.h"
#include "tools/mshv-emulator/hypercalls_serve.h"
#include "tools/mshv-emulator/partition.h"
#include "tools/mshv-emulator/registers.h"
#include "tools/mshv-emulator/translate.h"
#include "tools/mshv-emulator/vp.h"

namespace halcyon::emulator {

namespace {

using mshv::HvStatus;

constexpr size_t kListStart = sizeof(mshv::VpRegistersInput);

/// The VP that a register list is for.
HvStatus find_vp(Partition& partition, const Hypercall& call, std::shared_ptr<Vp>& vp) {
    const auto input = call.read<mshv::VpRegistersInput>();
    if (input.vtl != 0) {
        return HvStatus::kInvalidParameter;
    }
    vp = input.vp_index < mshv::kMaxVps ? partition.vp(input.vp_index) : nullptr;
    return vp == nullptr ? HvStatus::kInvalidVpIndex : HvStatus::kSuccess;
}

HvStatus to_status(long result) {
    return static_cast<HvStatus>(result);
}

long from_status(HvStatus status) {
    return static_cast<long>(status);
}

}  // namespace

HvStatus serve_get_registers(Partition& partition, Hypercall& call) {
    std::shared_ptr<Vp> vp;
    if (const HvStatus status = find_vp(partition, call, vp); status != HvStatus::kSuccess) {
        return status;
    }
    return to_status(vp->with_kvm(
        [&](KvmVcpu& vcpu) {
            RegisterAccess registers(partition, *vp, vcpu);
            for (; call.done < call.wanted; ++call.done) {
                const auto name =
                    call.read<mshv::RegisterName>(kListStart + call.done * sizeof(uint32_t));
                mshv::RegisterValue value{};
                const HvStatus status = registers.get(name, value);
                if (status != HvStatus::kSuccess) {
                    return from_status(status);
                }
                call.write(call.done * sizeof(value), value);
            }
            return from_status(HvStatus::kSuccess);
        },
        Vp::Use::kLooks));
}

HvStatus serve_set_registers(Partition& partition, Hypercall& call) {
    std::shared_ptr<Vp> vp;
    if (const HvStatus status = find_vp(partition, call, vp); status != HvStatus::kSuccess) {
        return status;
    }
    return to_status(vp->with_kvm([&](KvmVcpu& vcpu) {
        RegisterAccess registers(partition, *vp, vcpu);
        HvStatus status = HvStatus::kSuccess;
        while (call.done < call.wanted) {
            const auto element = call.read<mshv::RegisterAssociation>(
                kListStart + call.done * sizeof(mshv::RegisterAssociation));
            status = element.reserved1 != 0 || element.reserved2 != 0
                         ? HvStatus::kInvalidParameter
                         : registers.set(element.name, element.value);
            if (status != HvStatus::kSuccess) {
                break;
            }
            ++call.done;
        }
        const HvStatus committed = registers.commit();
        return from_status(status == HvStatus::kSuccess ? committed : status);
    }));
}

// ---- Translation -------------------------------------------------------------------------------

HvStatus serve_translate(Partition& partition, Hypercall& call) {
    const auto input = call.read<mshv::TranslateInput>();
    const std::shared_ptr<Vp> vp =
        input.vp_index < mshv::kMaxVps ? partition.vp(input.vp_index) : nullptr;
    if (vp == nullptr) {
        return HvStatus::kInvalidVpIndex;
    }
    constexpr uint64_t kKnownFlags = 0x7ff;
    if ((input.flags & ~kKnownFlags) != 0) {
        return HvStatus::kInvalidParameter;
    }
    kvm_regs regs{};
    kvm_sregs sregs{};
    const long got = vp->with_kvm(
        [&](KvmVcpu& vcpu) {
            const auto& pending = partition.synthetic(vp->index()).pending_sregs;
            const long result = pending ? 0 : vcpu.ioctl(KVM_GET_SREGS, &sregs);
            if (pending) {
                sregs = *pending;
            }
            return result < 0 ? result : vcpu.ioctl(KVM_GET_REGS, &regs);
        },
        Vp::Use::kLooks);
    if (got < 0) {
        return HvStatus::kOperationFailed;
    }
    const PagingState state = paging_state(regs, sregs, partition.cpuid().physical_width());
    const Translation result =
        translate(partition.memory(), state, input.gva_page * mshv::kHvPageSize, input.flags);
    // Cache types are those of PAT entries (Intel SDM 3A table 11-10).
    constexpr uint32_t kUncacheable = 0;
    constexpr uint32_t kWriteBack = 6;
    mshv::TranslateOutput output{};
    output.result = result.result;
    output.gpa_page = result.gpa / mshv::kHvPageSize;
    output.cache_type_and_overlay =
        partition.memory().is_mapped(result.gpa) ? kWriteBack : kUncacheable;
    call.write(0, output);
    return HvStatus::kSuccess;
}

// ---- Intercepts --------------------------------------------------------------------------------

namespace {

HvStatus intercept_exception(Partition& partition, const mshv::InstallInterceptInput& input) {
    constexpr uint64_t kDebug = 1;
    constexpr uint64_t kBreakpoint = 3;
    long error = 0;
    const KvmHost* host = kvm_host(error);
    if ((input.parameter != kDebug && input.parameter != kBreakpoint) || host == nullptr ||
        !host->guest_debug) {
        return HvStatus::kOperationFailed;  // the others stay within KVM
    }
    const uint32_t bit = 1U << input.parameter;
    const uint32_t present = partition.intercepted_exceptions();
    partition.set_intercepted_exceptions(input.access_mask != 0 ? present | bit : present & ~bit);
    bool done = true;
    partition.for_each_vp([&](Vp& vp) {
        done =
            vp.with_kvm([&](KvmVcpu& vcpu) { return update_guest_debug(partition, vcpu); }) == 0 &&
            done;
    });
    return done ? HvStatus::kSuccess : HvStatus::kOperationFailed;
}

}  // namespace

HvStatus serve_install_intercept(Partition& partition, const Hypercall& call) {
    const auto input = call.read<mshv::InstallInterceptInput>();
    constexpr uint32_t kKnownAccess =
        mshv::kInterceptRead | mshv::kInterceptWrite | mshv::kInterceptExecute;
    if ((input.access_mask & ~kKnownAccess) != 0) {
        return HvStatus::kInvalidParameter;
    }
    switch (input.type) {
        case mshv::InterceptType::kIoPort:
            return HvStatus::kSuccess;  // all exit
        case mshv::InterceptType::kMsr:
        case mshv::InterceptType::kMsrIndex:
            return partition.msr_intercepts().set(partition.kvm(), input.parameter,
                                                  input.access_mask);
        case mshv::InterceptType::kException:
            return intercept_exception(partition, input);
        case mshv::InterceptType::kCpuid:
        case mshv::InterceptType::kMmio:
        case mshv::InterceptType::kGlobalCpuid:
        case mshv::InterceptType::kApicSmi:
        case mshv::InterceptType::kHypercall:
        case mshv::InterceptType::kApicInitSipi:
        case mshv::InterceptType::kMcUpdatePatchLevelMsrRead:
        case mshv::InterceptType::kApicWrite:
            return HvStatus::kOperationFailed;  // no exits of KVM's
    }
    return HvStatus::kInvalidParameter;
}

HvStatus serve_register_result(Partition& partition, const Hypercall& call) {
    const auto input = call.read<mshv::RegisterCpuidResultInput>();
    if (input.type != mshv::InterceptType::kCpuid) {
        return HvStatus::kOperationFailed;
    }
    const bool all = input.vp_index == mshv::kAnyVp;
    if (!all && (input.vp_index >= mshv::kMaxVps || partition.vp(input.vp_index) == nullptr)) {
        return HvStatus::kInvalidVpIndex;
    }
    partition.cpuid().override_leaf(input);
    const uint64_t features = partition.properties().synthetic_features();
    bool done = true;
    partition.for_each_vp([&](Vp& vp) {
        if (!all && vp.index() != input.vp_index) {
            return;
        }
        const long result = vp.with_kvm(
            [&](KvmVcpu& vcpu) { return partition.cpuid().apply(vp.index(), features, vcpu); });
        done = result == 0 && done;  // KVM takes no change once the VP has run
    });
    return done ? HvStatus::kSuccess : HvStatus::kOperationFailed;
}

// ---- CPUID -------------------------------------------------------------------------------------

namespace {

/// EBX of leaf Dh: the size of what XCR0 enables, in the standard format (Intel SDM 1 13.2).
uint32_t xsave_size(const CpuidEntries& leaves, uint64_t xfem) {
    uint32_t size = 576;
    for (unsigned i = 2; i < 63; ++i) {
        const kvm_cpuid_entry2* leaf = find_leaf(leaves, 0xd, i);
        if ((xfem >> i & 1) != 0 && leaf != nullptr) {
            size = std::max(size, leaf->ebx + leaf->eax);
        }
    }
    return size;
}

}  // namespace

HvStatus serve_get_cpuid(Partition& partition, Hypercall& call) {
    constexpr uint32_t kUseVpXfem = 1U << 0;
    constexpr uint32_t kApplyRegistered = 1U << 1;
    const auto input = call.read<mshv::GetCpuidInput>();
    const std::shared_ptr<Vp> vp =
        input.vp_index < mshv::kMaxVps ? partition.vp(input.vp_index) : nullptr;
    if (vp == nullptr) {
        return HvStatus::kInvalidVpIndex;
    }
    uint64_t vp_xfem = 0;
    if ((input.flags & kUseVpXfem) != 0) {
        vp->with_kvm(
            [&](KvmVcpu& vcpu) {
                mshv::RegisterValue value{};
                RegisterAccess(partition, *vp, vcpu).get(mshv::RegisterName::kXfem, value);
                vp_xfem = value.low;
                return 0L;
            },
            Vp::Use::kLooks);
    }
    const CpuidEntries leaves =
        partition.cpuid().entries(input.vp_index, partition.properties().synthetic_features(),
                                  (input.flags & kApplyRegistered) != 0);
    for (; call.done < call.wanted; ++call.done) {
        const auto wanted =
            call.read<mshv::CpuidLeaf>(sizeof(input) + call.done * sizeof(mshv::CpuidLeaf));
        mshv::CpuidValues values{};
        if (const kvm_cpuid_entry2* leaf = find_leaf(leaves, wanted.eax, wanted.ecx)) {
            values = {leaf->eax, leaf->ebx, leaf->ecx, leaf->edx};
        }
        if (wanted.eax == 0xd && wanted.ecx == 0) {
            values.ebx =
                xsave_size(leaves, (input.flags & kUseVpXfem) != 0 ? vp_xfem : wanted.xfem);
        }
        call.write(call.done * sizeof(values), values);
    }
    return HvStatus::kSuccess;
}

}  // namespace halcyon::emulator
