#include <iterator>

#include "accel/accelerator.h"

#ifdef HALCYON_ACCEL_MSHV
#include "accel/mshv/mshv_accelerator.h"
#endif
#ifdef HALCYON_ACCEL_KVM
#include "accel/kvm/kvm_accelerator.h"
#endif
#ifdef HALCYON_ACCEL_SOFT
#include "accel/soft/soft_accelerator.h"
#endif

namespace halcyon {

std::span<const Accelerator* const> accelerators() {
#ifdef HALCYON_ACCEL_MSHV
    static const MshvAccelerator mshv;
#endif
#ifdef HALCYON_ACCEL_KVM
    static const KvmAccelerator kvm;
#endif
#ifdef HALCYON_ACCEL_SOFT
    static const SoftAccelerator soft;
#endif
    // The order is the order of preference.
    static const Accelerator* const list[] = {
#ifdef HALCYON_ACCEL_MSHV
        &mshv,
#endif
#ifdef HALCYON_ACCEL_KVM
        &kvm,
#endif
#ifdef HALCYON_ACCEL_SOFT
        &soft,
#endif
        nullptr,  // so that a build without backends compiles; not part of the span
    };
    return {list, std::size(list) - 1};
}

}  // namespace halcyon
