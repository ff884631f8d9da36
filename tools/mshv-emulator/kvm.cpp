#include "tools/mshv-emulator/kvm.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>

#include "tools/mshv-emulator/trap.h"

namespace halcyon::emulator {

namespace {

/// Four pages below the firmware's 16 MiB under 4 GiB, which Intel's real mode needs: an identity
/// page table and a TSS (Documentation/virt/kvm/api.rst 4.35, 4.41).
constexpr uint64_t kIdentityMapAddress = 0xfeffc000;
constexpr unsigned long kTssAddress = kIdentityMapAddress + 0x1000;

/// KVM_MAX_CPUID_ENTRIES (arch/x86/include/asm/kvm_host.h).
constexpr size_t kMaxCpuidEntries = 256;

/// KVM_CAP_XSAVE2's answer counts the whole area, at least this much (struct kvm_xsave).
constexpr uint32_t kMinXsaveSize = 4096;

Descriptor open_kvm(long& error) {
    const long fd =
        raw_syscall(SYS_openat, AT_FDCWD, reinterpret_cast<long>("/dev/kvm"), O_RDWR | O_CLOEXEC);
    error = fd < 0 ? fd : 0;
    return fd < 0 ? Descriptor() : Descriptor(to_high_descriptor(static_cast<int>(fd)));
}

long check_extension(int fd, unsigned long capability) {
    return std::max(0L, kvm_ioctl(fd, KVM_CHECK_EXTENSION, capability));
}

/// A vCPU's TSC offset as an attribute (Documentation/virt/kvm/devices/vcpu.rst).
bool has_tsc_offset(int kvm) {
    return check_extension(kvm, KVM_CAP_VCPU_ATTRIBUTES) != 0;
}

long read_host(int kvm, KvmHost& host) {
    KvmList<kvm_cpuid_entry2> list(kMaxCpuidEntries);
    const long result = kvm_ioctl(kvm, kKvmGetSupportedCpuid, list.address());
    if (result < 0) {
        return result;
    }
    host.cpuid.assign(list.entries(), list.entries() + list.count());
    host.tsc_offset = has_tsc_offset(kvm);
    host.user_msr = check_extension(kvm, KVM_CAP_X86_USER_SPACE_MSR) != 0 &&
                    check_extension(kvm, KVM_CAP_X86_MSR_FILTER) != 0;
    host.read_only_memory = check_extension(kvm, KVM_CAP_READONLY_MEM) != 0;
    host.guest_debug = check_extension(kvm, KVM_CAP_SET_GUEST_DEBUG) != 0;
    host.tsc_deadline = check_extension(kvm, KVM_CAP_TSC_DEADLINE_TIMER) != 0;
    host.max_memory_slots = static_cast<uint32_t>(check_extension(kvm, KVM_CAP_NR_MEMSLOTS));

    const long vm = kvm_ioctl(kvm, KVM_CREATE_VM);
    if (vm < 0) {
        return vm;
    }
    const Descriptor owner(static_cast<int>(vm));
    host.xsave_size = std::max(kMinXsaveSize,
                               static_cast<uint32_t>(check_extension(owner.get(), KVM_CAP_XSAVE2)));
    // The frequency is a vCPU's, and there is none without an interrupt controller's choice made.
    const long vcpu = kvm_ioctl(owner.get(), KVM_CREATE_VCPU);
    if (vcpu < 0) {
        return vcpu;
    }
    const Descriptor vcpu_owner(static_cast<int>(vcpu));
    host.tsc_hz =
        static_cast<uint64_t>(std::max(0L, kvm_ioctl(vcpu_owner.get(), KVM_GET_TSC_KHZ))) * 1000;
    return 0;
}

}  // namespace

void Descriptor::reset(int fd) {
    if (fd_ >= 0) {
        raw_syscall(SYS_close, fd_);
    }
    fd_ = fd;
}

long kvm_ioctl(int fd, unsigned long request, unsigned long argument) {
    for (;;) {
        const long result =
            raw_syscall(SYS_ioctl, fd, static_cast<long>(request), static_cast<long>(argument));
        if (result != -EINTR) {
            return result;
        }
    }
}

const KvmHost* kvm_host(long& error) {
    // Never destroyed: other threads may be at it when the process exits.
    static std::atomic<const KvmHost*> known{nullptr};
    error = 0;
    if (const KvmHost* host = known.load()) {
        return host;
    }
    const Descriptor kvm = open_kvm(error);
    if (!kvm) {
        return nullptr;
    }
    auto fresh = std::make_unique<KvmHost>();
    error = read_host(kvm.get(), *fresh);
    if (error < 0) {
        return nullptr;
    }
    const KvmHost* expected = nullptr;
    return known.compare_exchange_strong(expected, fresh.get()) ? fresh.release() : expected;
}

// ---- KvmVcpu -----------------------------------------------------------------------------------

KvmVcpu::~KvmVcpu() {
    if (run_ != nullptr) {
        raw_syscall(SYS_munmap, reinterpret_cast<long>(run_), static_cast<long>(run_size_));
    }
}

KvmVcpu& KvmVcpu::operator=(KvmVcpu&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(run_, other.run_);
    std::swap(run_size_, other.run_size_);
    std::swap(xsave_size_, other.xsave_size_);
    return *this;
}

long KvmVcpu::enter() const {
    return raw_syscall(SYS_ioctl, fd_.get(), KVM_RUN, 0);
}

long KvmVcpu::set_signal_mask(uint64_t blocked) const {
    struct {
        uint32_t length;
        uint8_t set[sizeof(uint64_t)];
    } argument{sizeof(uint64_t), {}};
    std::memcpy(argument.set, &blocked, sizeof(blocked));
    return ioctl(kKvmSetSignalMask, &argument);
}

std::optional<uint64_t> KvmVcpu::get_msr(uint32_t number) const {
    KvmList<kvm_msr_entry> list(1);
    list.entries()[0].index = number;
    if (ioctl(kKvmGetMsrs, list.address()) != 1) {
        return std::nullopt;
    }
    return list.entries()[0].data;
}

bool KvmVcpu::set_msr(uint32_t number, uint64_t value) const {
    KvmList<kvm_msr_entry> list(1);
    list.entries()[0].index = number;
    list.entries()[0].data = value;
    return ioctl(kKvmSetMsrs, list.address()) == 1;
}

long KvmVcpu::get_xsave(std::vector<uint8_t>& area) const {
    area.assign(xsave_size_, 0);
    const unsigned long request = xsave_size_ > kMinXsaveSize ? kKvmGetXsave2 : kKvmGetXsave;
    return ioctl(request, area.data());
}

long KvmVcpu::set_xsave(const std::vector<uint8_t>& area) const {
    return ioctl(kKvmSetXsave, area.data());
}

// ---- KvmVm -------------------------------------------------------------------------------------

long KvmVm::create(KvmVm& vm, bool local_apics) {
    long error = 0;
    const KvmHost* host = kvm_host(error);
    if (host == nullptr) {
        return error;
    }
    const Descriptor kvm = open_kvm(error);
    if (!kvm) {
        return error;
    }
    const long fd = kvm_ioctl(kvm.get(), KVM_CREATE_VM);
    if (fd < 0) {
        return fd;
    }
    vm.fd_.reset(to_high_descriptor(static_cast<int>(fd)));
    const long run_size = kvm_ioctl(kvm.get(), KVM_GET_VCPU_MMAP_SIZE);
    if (run_size < static_cast<long>(sizeof(kvm_run))) {
        return run_size < 0 ? run_size : -EINVAL;
    }
    vm.run_size_ = static_cast<size_t>(run_size);
    vm.xsave_size_ = host->xsave_size;

    uint64_t identity_map = kIdentityMapAddress;
    vm.ioctl(KVM_SET_IDENTITY_MAP_ADDR, &identity_map);  // Intel's processors only
    vm.ioctl(KVM_SET_TSS_ADDR, kTssAddress);
    if (!local_apics) {
        return 0;
    }
    kvm_enable_cap capability{};
    capability.cap = KVM_CAP_SPLIT_IRQCHIP;
    capability.args[0] = kReservedPins;
    const long split = vm.ioctl(KVM_ENABLE_CAP, &capability);
    if (split < 0) {
        return split;
    }
    capability = {};
    capability.cap = KVM_CAP_X2APIC_API;
    capability.args[0] = KVM_X2APIC_API_USE_32BIT_IDS;
    return vm.ioctl(KVM_ENABLE_CAP, &capability);
}

long KvmVm::create_vcpu(uint32_t index, KvmVcpu& vcpu) {
    if (const auto kept = kept_.find(index); kept != kept_.end()) {
        vcpu = std::move(kept->second);
        kept_.erase(kept);
        return 0;
    }
    const long fd = ioctl(KVM_CREATE_VCPU, static_cast<unsigned long>(index));
    if (fd < 0) {
        return fd;
    }
    KvmVcpu made;
    made.fd_.reset(to_high_descriptor(static_cast<int>(fd)));
    const long run = raw_syscall(SYS_mmap, 0, static_cast<long>(run_size_), PROT_READ | PROT_WRITE,
                                 MAP_SHARED, made.fd_.get(), 0);
    if (run < 0) {
        return run;
    }
    made.run_ = reinterpret_cast<kvm_run*>(run);
    made.run_size_ = run_size_;
    made.xsave_size_ = xsave_size_;
    vcpu = std::move(made);
    return 0;
}

void KvmVm::keep_vcpu(uint32_t index, KvmVcpu vcpu) {
    kept_.insert_or_assign(index, std::move(vcpu));
}

}  // namespace halcyon::emulator
