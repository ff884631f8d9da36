#include "tools/mshv-emulator/vp.h"

#include <linux/kvm.h>

#include <cerrno>
#include <utility>

#include "accel/mshv/mshv_abi.h"
#include "tools/mshv-emulator/hypercalls.h"
#include "tools/mshv-emulator/options.h"
#include "tools/mshv-emulator/partition.h"
#include "tools/mshv-emulator/registers.h"

namespace halcyon::emulator {

namespace {

/// The register page and the message page (mshv::VpMmapPage).
constexpr size_t kPages = 2;

bool has_sync_regs(Partition& partition) {
    constexpr long kAll = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS;
    const long sets = partition.kvm().ioctl(KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS);
    return sets > 0 && (sets & kAll) == kAll;
}

}  // namespace

int Vp::create(std::shared_ptr<Partition> partition, uint32_t index) {
    install_own_signal();
    KvmVcpu vcpu;
    if (const long error = partition->kvm().create_vcpu(index, vcpu); error < 0) {
        return static_cast<int>(error);
    }
    if (const long error = reset_vcpu(*partition, index, vcpu); error < 0) {
        partition->kvm().keep_vcpu(index, std::move(vcpu));
        return static_cast<int>(error);
    }
    auto vp = std::make_shared<Vp>(partition, index, std::move(vcpu));
    partition->add_vp(index, vp);
    const int fd = open_emulated_file(vp, kPages, "mshv_vp");
    if (fd < 0) {
        partition->remove_vp(index);
        partition->kvm().keep_vcpu(index, std::move(vp->vcpu_));
        return fd;
    }
    vp->with_kvm([&vp](KvmVcpu&) {
        auto* pages = static_cast<mshv::RegisterPage*>(emulated_file_pages(*vp));
        if (pages != nullptr) {
            vp->runner_.set_pages(options().register_page ? pages : nullptr,
                                  reinterpret_cast<mshv::Message*>(pages + 1));
        }
        return 0L;
    });
    return fd;
}

Vp::Vp(std::shared_ptr<Partition> partition, uint32_t index, KvmVcpu vcpu)
    : partition_(std::move(partition)),
      index_(index),
      vcpu_(std::move(vcpu)),
      runner_(*partition_, index, vcpu_, has_sync_regs(*partition_)) {}

void Vp::released() {
    with_kvm([this](KvmVcpu&) {
        runner_.set_pages(nullptr, nullptr);
        return 0L;
    });
    partition_->vp_released();
}

long Vp::with_kvm(const std::function<long(KvmVcpu&)>& work, Use use) {
    runner_.gate().enter();
    runner_.settle(use == Use::kChanges);
    const long result = work(vcpu_);
    if (use == Use::kChanges) {
        runner_.note_changes();
    }
    runner_.gate().leave();
    return result;
}

long Vp::ioctl(unsigned long request, unsigned long argument, const TrapContext& context) {
    const std::lock_guard lock(vp_mutex_);
    switch (request) {
        case mshv::kIoctlRunVp:
            return run(argument, context);
        case mshv::kIoctlGetVpState:
            return get_vp_state(*partition_, *this, argument);
        case mshv::kIoctlSetVpState:
            return set_vp_state(*partition_, *this, argument);
        case mshv::kIoctlRootHypercall:
            return vp_hypercall(*partition_, argument);
        default:
            return -ENOTTY;
    }
}

long Vp::run(unsigned long argument, const TrapContext& context) {
    mshv::Message message;
    const long result = runner_.run(context, message);
    // A message that cannot be handed over is lost.
    return result == 0 ? copy_to_program(argument, &message, sizeof(message)) : result;
}

}  // namespace halcyon::emulator
