/// KVM's objects, by their bare ioctls: a virtual machine and its vCPUs.
///
/// All calls go through raw_syscall. Results are what the kernel gives, or -errno; EINTR outside of
/// KVM_RUN is retried. Descriptors lie out of the program's way and are close-on-exec.
#pragma once

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace halcyon::emulator {

/// Owns a descriptor of the emulator's own.
class Descriptor {
public:
    Descriptor() = default;
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor() { reset(); }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        reset(std::exchange(other.fd_, -1));
        return *this;
    }
    [[nodiscard]] int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }
    void reset(int fd = -1);

private:
    int fd_ = -1;
};

/// A structure of the kernel's ABI of two 32-bit numbers, the first of which counts the `Entry`s
/// that follow (struct kvm_msrs and its like). Their sizes in the headers are wrong in C++, where
/// an empty structure before a flexible array has size 1; so the ioctl numbers are here too.
template <typename Entry>
class KvmList {
public:
    explicit KvmList(size_t capacity)
        : storage_(1 + (capacity * sizeof(Entry) + sizeof(uint64_t) - 1) / sizeof(uint64_t)) {
        set_count(static_cast<uint32_t>(capacity));
    }
    [[nodiscard]] unsigned long address() const {
        return reinterpret_cast<unsigned long>(storage_.data());
    }
    [[nodiscard]] uint32_t count() const { return static_cast<uint32_t>(storage_[0]); }
    void set_count(uint32_t count) { storage_[0] = count; }
    [[nodiscard]] Entry* entries() { return reinterpret_cast<Entry*>(storage_.data() + 1); }

private:
    std::vector<uint64_t> storage_;
};

inline constexpr unsigned long kKvmGetSupportedCpuid = _IOWR(KVMIO, 0x05, uint64_t);
inline constexpr unsigned long kKvmSetGsiRouting = _IOW(KVMIO, 0x6a, uint64_t);
inline constexpr unsigned long kKvmGetMsrs = _IOWR(KVMIO, 0x88, uint64_t);
inline constexpr unsigned long kKvmSetMsrs = _IOW(KVMIO, 0x89, uint64_t);
inline constexpr unsigned long kKvmSetCpuid2 = _IOW(KVMIO, 0x90, uint64_t);
inline constexpr unsigned long kKvmGetXsave = _IOR(KVMIO, 0xa4, std::byte[4096]);
inline constexpr unsigned long kKvmSetXsave = _IOW(KVMIO, 0xa5, std::byte[4096]);
inline constexpr unsigned long kKvmGetXsave2 = _IOR(KVMIO, 0xcf, std::byte[4096]);
/// KVM_SET_SIGNAL_MASK; its argument is a length, then the set.
inline constexpr unsigned long kKvmSetSignalMask = _IOW(KVMIO, 0x8b, uint32_t);

/// One ioctl, EINTR retried.
long kvm_ioctl(int fd, unsigned long request, unsigned long argument = 0);
template <typename T>
long kvm_ioctl(int fd, unsigned long request, T* argument) {
    return kvm_ioctl(fd, request, reinterpret_cast<unsigned long>(argument));
}

/// The host, as /dev/kvm describes it.
struct KvmHost {
    std::vector<kvm_cpuid_entry2> cpuid;  ///< KVM_GET_SUPPORTED_CPUID
    uint64_t tsc_hz = 0;
    uint32_t xsave_size = 4096;  ///< of KVM_GET_XSAVE2: the standard format with all features
    bool tsc_offset = false;     ///< KVM_VCPU_TSC_OFFSET
    bool user_msr = false;       ///< KVM_CAP_X86_USER_SPACE_MSR and _MSR_FILTER
    bool read_only_memory = false;
    bool guest_debug = false;
    bool tsc_deadline = false;
    uint32_t max_memory_slots = 32;
};

/// Asks /dev/kvm once in the process; null when it cannot be opened, with -errno in `error`. Any
/// thread.
const KvmHost* kvm_host(long& error);

/// A vCPU and its run structure. Not synchronised: see Vp::with_kvm.
class KvmVcpu {
public:
    KvmVcpu() = default;
    ~KvmVcpu();
    KvmVcpu(KvmVcpu&& other) noexcept { *this = std::move(other); }
    KvmVcpu& operator=(KvmVcpu&& other) noexcept;

    explicit operator bool() const { return static_cast<bool>(fd_); }
    [[nodiscard]] int fd() const { return fd_.get(); }
    /// The run structure; valid as long as this object.
    [[nodiscard]] kvm_run& run() const { return *run_; }

    /// Any ioctl but KVM_RUN.
    long ioctl(unsigned long request, unsigned long argument = 0) const {
        return kvm_ioctl(fd_.get(), request, argument);
    }
    template <typename T>
    long ioctl(unsigned long request, T* argument) const {
        return kvm_ioctl(fd_.get(), request, argument);
    }

    /// KVM_RUN, once: 0 and an exit in `run()`, or -errno, EINTR included.
    [[nodiscard]] long enter() const;
    /// The signals that are blocked in KVM_RUN instead of the thread's own; the kernel's format.
    long set_signal_mask(uint64_t blocked) const;

    /// One model-specific register; nothing, or false, when this vCPU has no such.
    [[nodiscard]] std::optional<uint64_t> get_msr(uint32_t number) const;
    bool set_msr(uint32_t number, uint64_t value) const;

    /// The whole XSAVE area in the standard format.
    long get_xsave(std::vector<uint8_t>& area) const;
    /// `area` has at least the size that get_xsave gives.
    long set_xsave(const std::vector<uint8_t>& area) const;

private:
    friend class KvmVm;
    Descriptor fd_;
    kvm_run* run_ = nullptr;
    size_t run_size_ = 0;
    uint32_t xsave_size_ = 4096;
};

/// The GSIs, from 0, for whose level-triggered routes KVM reports the end of an interrupt: as many
/// IOAPIC pins as it can count (struct kvm_arch has 8 bits for them).
inline constexpr uint32_t kReservedPins = 255;

/// A virtual machine. All its methods may be called by any thread.
class KvmVm {
public:
    KvmVm() = default;
    /// Makes one, with local APICs or without any interrupt controller. With local APICs, the end
    /// of a level-triggered interrupt that has a route on one of the first kReservedPins GSIs is a
    /// KVM_EXIT_IOAPIC_EOI. 0 or -errno.
    static long create(KvmVm& vm, bool local_apics);

    [[nodiscard]] int fd() const { return fd_.get(); }
    long ioctl(unsigned long request, unsigned long argument = 0) const {
        return kvm_ioctl(fd_.get(), request, argument);
    }
    template <typename T>
    long ioctl(unsigned long request, T* argument) const {
        return kvm_ioctl(fd_.get(), request, argument);
    }

    /// Makes the vCPU `index`, whose initial APIC id that is, or gives the one that was kept.
    long create_vcpu(uint32_t index, KvmVcpu& vcpu);
    /// Keeps a vCPU that could not be used after all: KVM cannot delete one.
    void keep_vcpu(uint32_t index, KvmVcpu vcpu);

private:
    Descriptor fd_;
    size_t run_size_ = 0;
    uint32_t xsave_size_ = 4096;
    std::map<uint32_t, KvmVcpu> kept_;
};

}  // namespace halcyon::emulator
