#include "tools/mshv-emulator/partition.h"

#include <algorithm>
#include <cerrno>

#include "tools/mshv-emulator/hypercalls.h"
#include "tools/mshv-emulator/log.h"
#include "tools/mshv-emulator/options.h"
#include "tools/mshv-emulator/trap.h"
#include "tools/mshv-emulator/vp.h"

namespace halcyon::emulator {

Partition::Partition(const PartitionConfig& config)
    : config_(config),
      memory_(kvm_),
      interrupts_(kvm_, (config.flags & mshv::kPartitionLapic) != 0),
      properties_(config),
      cpuid_(config) {}

Partition::~Partition() = default;

int Partition::create(const PartitionConfig& config) {
    const auto partition = std::make_shared<Partition>(config);
    long result = KvmVm::create(partition->kvm_, partition->has_local_apics());
    if (result >= 0) {
        result = MsrIntercepts::install(partition->kvm_);
    }
    if (result < 0) {
        log_line("CREATE_PARTITION: KVM says errno %ld", -result);
        return static_cast<int>(result);
    }
    return open_emulated_file(partition, 0, "mshv-partition");
}

bool Partition::has_local_apics() const {
    return (config_.flags & mshv::kPartitionLapic) != 0;
}

long Partition::ioctl(unsigned long request, unsigned long argument, const TrapContext&) {
    const std::lock_guard lock(mutex_);
    switch (request) {
        case mshv::kIoctlInitializePartition:
            initialized_.store(true);
            return 0;
        case mshv::kIoctlCreateVp:
            return create_vp(argument);
        case mshv::kIoctlSetGuestMemory:
            return set_guest_memory(argument);
        case mshv::kIoctlIrqfd:
            return interrupts_.irqfd(argument);
        case mshv::kIoctlIoeventfd:
            return interrupts_.ioeventfd(argument);
        case mshv::kIoctlSetMsiRouting:
            return interrupts_.set_routing(argument);
        case mshv::kIoctlGetGpapAccessBitmap:
            return get_access_bitmap(argument);
        case mshv::kIoctlRootHypercall:
            return partition_hypercall(*this, argument);
        default:
            log_line("partition: ioctl 0x%lx: ENOTTY", request);
            return -ENOTTY;
    }
}

// ---- VPs ---------------------------------------------------------------------------------------

long Partition::create_vp(unsigned long argument) {
    mshv::CreateVp request{};
    if (copy_from_program(&request, argument, sizeof(request)) < 0) {
        return -EFAULT;
    }
    if (request.vp_index >= mshv::kMaxVps) {
        return -EINVAL;
    }
    if (vp(request.vp_index) != nullptr) {
        return -EEXIST;
    }
    if (!initialized()) {
        log_line("CREATE_VP before INITIALIZE_PARTITION: EIO");
        return -EIO;  // the hypervisor's INVALID_PARTITION_STATE
    }
    return Vp::create(shared_from_this(), request.vp_index);
}

std::shared_ptr<Vp> Partition::vp(uint32_t index) {
    const std::lock_guard lock(vps_mutex_);
    return vps_[index];
}

void Partition::add_vp(uint32_t index, std::shared_ptr<Vp> vp) {
    const std::lock_guard lock(vps_mutex_);
    vps_[index] = std::move(vp);
    ++open_vps_;
}

void Partition::remove_vp(uint32_t index) {
    std::shared_ptr<Vp> removed;  // ends outside the lock
    const std::lock_guard lock(vps_mutex_);
    removed = std::move(vps_[index]);
    --open_vps_;
}

/// A partition and its VPs keep each other; what parts them is that nobody has a descriptor.
void Partition::release_vps_if_unused() {
    std::array<std::shared_ptr<Vp>, mshv::kMaxVps> last;
    {
        const std::lock_guard lock(vps_mutex_);
        if (!descriptor_gone_ || open_vps_ != 0) {
            return;
        }
        last.swap(vps_);
    }
}

void Partition::vp_released() {
    {
        const std::lock_guard lock(vps_mutex_);
        --open_vps_;
    }
    release_vps_if_unused();
}

void Partition::released() {
    interrupts_.drop_all();
    {
        const std::lock_guard lock(vps_mutex_);
        descriptor_gone_ = true;
    }
    release_vps_if_unused();
}

// ---- Memory ------------------------------------------------------------------------------------

long Partition::set_guest_memory(unsigned long argument) {
    mshv::UserMemoryRegion request{};
    if (copy_from_program(&request, argument, sizeof(request)) < 0) {
        return -EFAULT;
    }
    if (const long error = check_memory_argument(request); error < 0) {
        return error;
    }
    if (!initialized()) {
        log_line("SET_GUEST_MEMORY before INITIALIZE_PARTITION: EIO");
        return -EIO;  // the hypervisor's INVALID_PARTITION_STATE
    }
    return memory_.set(request);
}

}  // namespace halcyon::emulator
