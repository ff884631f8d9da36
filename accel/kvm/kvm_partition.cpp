#include "accel/kvm/kvm_partition.h"

#include <algorithm>
#include <cstdio>
#include <limits>

#include "accel/kvm/kvm_ioctl.h"
#include "accel/kvm/kvm_vcpu.h"

namespace halcyon {

namespace {

/// Four pages that Intel's real mode needs where the guest has no memory of its own: one for the
/// identity page table, three for a TSS (api.rst 4.35, 4.41). Below them are the APICs (FEC00000h,
/// FEE00000h), 16 MiB above them end at 4 GiB and are the firmware's.
constexpr uint64_t kIdentityMapAddress = 0xfeffc000;
constexpr uint64_t kTssAddress = kIdentityMapAddress + kPageSize;

std::string describe(GpaRange range) {
    char text[64];
    std::snprintf(text, sizeof(text), "0x%llx, %llu bytes",
                  static_cast<unsigned long long>(range.start.value()),
                  static_cast<unsigned long long>(range.size));
    return text;
}

Result<void> check_range(GpaRange range, const std::byte* host) {
    const bool aligned = range.start.value() % kPageSize == 0 && range.size % kPageSize == 0 &&
                         reinterpret_cast<uintptr_t>(host) % kPageSize == 0;
    const bool wraps = range.size != 0 && !range.start.checked_add(range.size - 1);
    if (!aligned || wraps || range.size == 0 || host == nullptr) {
        return Error("cannot map guest memory (" + describe(range) + "): not whole pages",
                     ErrorCode::kInvalidArgument);
    }
    return {};
}

}  // namespace

KvmPartition::KvmPartition(UniqueFd vm, const PartitionConfig& config)
    : vm_(std::move(vm)), config_(config), eventfds_(vm_.get(), config.local_apic) {}

KvmPartition::~KvmPartition() = default;

Result<std::unique_ptr<KvmPartition>> KvmPartition::create(int kvm_fd,
                                                           const PartitionConfig& config) {
    UniqueFd vm(TRY(kvm_ioctl(kvm_fd, KVM_CREATE_VM, "KVM_CREATE_VM")));
    std::unique_ptr<KvmPartition> partition(new KvmPartition(std::move(vm), config));
    TRY(partition->set_up(kvm_fd));
    return partition;
}

Result<void> KvmPartition::set_up(int kvm_fd) {
    run_size_ = static_cast<size_t>(
        TRY(kvm_ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, "KVM_GET_VCPU_MMAP_SIZE")));
    if (run_size_ < sizeof(kvm_run)) {
        return Error("KVM_GET_VCPU_MMAP_SIZE: less than a struct kvm_run", ErrorCode::kUnsupported);
    }
    supported_cpuid_ = TRY(supported_cpuid(kvm_fd));
    tsc_deadline_ = kvm_check_extension(kvm_fd, KVM_CAP_TSC_DEADLINE_TIMER) != 0;
    kvmclock_control_ = kvm_check_extension(kvm_fd, KVM_CAP_KVMCLOCK_CTRL) != 0;
    slot_limit_ = static_cast<size_t>(kvm_check_extension(fd(), KVM_CAP_NR_MEMSLOTS));
    xsave_size_ =
        std::max(kKvmXsaveSize, static_cast<size_t>(kvm_check_extension(fd(), KVM_CAP_XSAVE2)));

    uint64_t identity_map = kIdentityMapAddress;
    TRY(kvm_ioctl(fd(), KVM_SET_IDENTITY_MAP_ADDR, "KVM_SET_IDENTITY_MAP_ADDR", &identity_map));
    TRY(kvm_ioctl(fd(), KVM_SET_TSS_ADDR, "KVM_SET_TSS_ADDR", kTssAddress));
    if (config_.local_apic) {
        kvm_enable_cap split{};
        split.cap = KVM_CAP_SPLIT_IRQCHIP;
        split.args[0] = kIoapicPins;
        TRY(kvm_ioctl(fd(), KVM_ENABLE_CAP, "KVM_CAP_SPLIT_IRQCHIP", &split));
    }
    return {};
}

uint32_t KvmPartition::free_slot_number_locked() const {
    uint32_t number = 0;
    while (std::any_of(slots_.begin(), slots_.end(),
                       [&](const Slot& slot) { return slot.number == number; })) {
        ++number;
    }
    return number;
}

Result<void> KvmPartition::map_memory(GpaRange range, std::byte* host, MemoryAccess access) {
    TRY(check_range(range, host));
    const std::lock_guard lock(slots_mutex_);
    for (const Slot& slot : slots_) {
        if (slot.range.overlaps(range)) {
            return Error("cannot map guest memory (" + describe(range) +
                             "): it overlaps a mapping (" + describe(slot.range) + ")",
                         ErrorCode::kInvalidArgument);
        }
    }
    if (slots_.size() >= slot_limit_) {
        return Error("cannot map guest memory: KVM has only " + std::to_string(slot_limit_) +
                         " memory slots",
                     ErrorCode::kUnsupported);
    }
    const Slot slot{.number = free_slot_number_locked(), .range = range};
    kvm_userspace_memory_region region{};
    region.slot = slot.number;
    region.flags = access == MemoryAccess::kReadOnly ? KVM_MEM_READONLY : 0;
    region.guest_phys_addr = range.start.value();
    region.memory_size = range.size;
    region.userspace_addr = reinterpret_cast<uint64_t>(host);
    auto done = kvm_ioctl(fd(), KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION", &region);
    if (!done) {
        return std::move(done).error().with_context("cannot map guest memory (" + describe(range) +
                                                    ")");
    }
    slots_.push_back(slot);
    return {};
}

Result<void> KvmPartition::unmap_memory(GpaRange range) {
    const std::lock_guard lock(slots_mutex_);
    const auto slot = std::find_if(slots_.begin(), slots_.end(),
                                   [&](const Slot& candidate) { return candidate.range == range; });
    if (slot == slots_.end()) {
        return Error("cannot unmap guest memory (" + describe(range) + "): no such mapping",
                     ErrorCode::kNotFound);
    }
    kvm_userspace_memory_region region{};
    region.slot = slot->number;
    region.guest_phys_addr = range.start.value();
    region.memory_size = 0;  // deletes the slot
    TRY(kvm_ioctl(fd(), KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION", &region));
    slots_.erase(slot);
    return {};
}

CpuidEntries KvmPartition::cpuid_of(VcpuIndex index) const {
    return vcpu_cpuid(supported_cpuid_, config_, index, tsc_deadline_);
}

Result<std::unique_ptr<Vcpu>> KvmPartition::create_vcpu(VcpuIndex index, GuestIo& io) {
    if (index.value() >= config_.vcpu_count) {
        return Error("vCPU " + std::to_string(index.value()) + " of a partition made for " +
                         std::to_string(config_.vcpu_count),
                     ErrorCode::kInvalidArgument);
    }
    auto vcpu = TRY(KvmVcpu::create(*this, index, io));
    const std::lock_guard lock(vcpus_mutex_);
    vcpus_.push_back(vcpu.get());
    return std::unique_ptr<Vcpu>(std::move(vcpu));
}

void KvmPartition::forget_vcpu(KvmVcpu& vcpu) {
    const std::lock_guard lock(vcpus_mutex_);
    std::erase(vcpus_, &vcpu);
}

Result<void> KvmPartition::signal_msi(const MsiMessage& message) {
    if (!config_.local_apic) {
        return {};
    }
    kvm_msi msi{};
    msi.address_lo = static_cast<uint32_t>(message.address);
    msi.address_hi = static_cast<uint32_t>(message.address >> 32);
    msi.data = message.data;
    auto done = kvm_ioctl(fd(), KVM_SIGNAL_MSI, "KVM_SIGNAL_MSI", &msi);
    // KVM's "no local APIC took it" is -1, which an ioctl returns as EPERM.
    if (!done && done.error().errno_value() != EPERM) {
        return std::move(done).error();
    }
    return {};
}

Result<void> KvmPartition::set_msi_routes(std::span<const MsiRoute> routes) {
    if (!config_.local_apic) {
        return {};
    }
    KvmRoutingArray array(routes.size());
    array.header()->nr = static_cast<uint32_t>(routes.size());
    for (size_t i = 0; i < routes.size(); ++i) {
        kvm_irq_routing_entry& entry = array.entries()[i];
        entry.gsi = routes[i].gsi.value();
        entry.type = KVM_IRQ_ROUTING_MSI;
        entry.u.msi.address_lo = static_cast<uint32_t>(routes[i].message.address);
        entry.u.msi.address_hi = static_cast<uint32_t>(routes[i].message.address >> 32);
        entry.u.msi.data = routes[i].message.data;
    }
    TRY(kvm_ioctl(fd(), kKvmSetGsiRouting, "KVM_SET_GSI_ROUTING", array.header()));
    return {};
}

void KvmPartition::set_extint(bool level) {
    const bool before = extint_level_.exchange(level, std::memory_order_seq_cst);
    if (!level || before) {
        return;  // vCPU 0 looks at the level before each entry; only news has to fetch it out
    }
    const std::lock_guard lock(vcpus_mutex_);
    for (KvmVcpu* vcpu : vcpus_) {
        if (vcpu->index().value() == 0) {
            vcpu->notice_extint();
        }
    }
}

Result<void> KvmPartition::set_time_frozen(bool frozen) {
    if (frozen == frozen_clock_.has_value()) {
        return {};
    }
    kvm_clock_data clock{};
    if (frozen) {
        TRY(kvm_ioctl(fd(), KVM_GET_CLOCK, "KVM_GET_CLOCK", &clock));
        frozen_clock_ = clock.clock;
        return {};
    }
    clock.clock = *frozen_clock_;  // flags 0: this very value, whatever passed meanwhile
    TRY(kvm_ioctl(fd(), KVM_SET_CLOCK, "KVM_SET_CLOCK", &clock));
    frozen_clock_.reset();
    if (kvmclock_control_) {
        const std::lock_guard lock(vcpus_mutex_);
        for (KvmVcpu* vcpu : vcpus_) {
            TRY(vcpu->mark_clock_stopped());
        }
    }
    return {};
}

}  // namespace halcyon
