/// The ioctls of /dev/kvm: errors that name the call, and the structures that end in an array.
#pragma once

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "base/result.h"

namespace halcyon {

/// ioctl(2), repeated while a signal interrupts it; the error is "NAME: strerror". The argument is
/// an integer or a pointer.
Result<int> kvm_ioctl(int fd, unsigned long request, const char* name, unsigned long argument = 0);

template <typename T>
Result<int> kvm_ioctl(int fd, unsigned long request, const char* name, T* argument) {
    return kvm_ioctl(fd, request, name, reinterpret_cast<unsigned long>(argument));
}

/// KVM_CHECK_EXTENSION on a system or VM descriptor: 0 when the kernel does not have it.
[[nodiscard]] int kvm_check_extension(int fd, int capability);

/// A structure of the kernel's ABI that ends in an array of `Entry` (struct kvm_msrs and its like),
/// with room for `capacity` of them, all zero.
template <typename Header, typename Entry>
class KvmArray {
public:
    /// The array begins where the fields before it end: two 32-bit ones, in every structure of KVM
    /// that this is for. sizeof(Header) does not tell, see below.
    static constexpr size_t kEntriesOffset = 2 * sizeof(uint32_t);
    static_assert(std::is_trivially_copyable_v<Entry> && alignof(Entry) <= alignof(uint64_t));

    explicit KvmArray(size_t capacity)
        : capacity_(capacity),
          storage_((kEntriesOffset + capacity * sizeof(Entry) + sizeof(Header)) / sizeof(uint64_t) +
                   1) {}

    [[nodiscard]] Header* header() { return reinterpret_cast<Header*>(storage_.data()); }
    [[nodiscard]] std::span<Entry> entries() {
        return {reinterpret_cast<Entry*>(reinterpret_cast<std::byte*>(storage_.data()) +
                                         kEntriesOffset),
                capacity_};
    }

private:
    size_t capacity_;
    std::vector<uint64_t> storage_;
};

// The numbers of the ioctls that take such a structure contain the size of the fields before the
// array. In C++ an empty structure, which <linux/stddef.h> puts in front of a flexible array, has
// size 1, so that the header's own macros come out wrong; these are what they are in C.
inline constexpr unsigned long kKvmGetSupportedCpuid = _IOWR(KVMIO, 0x05, uint64_t);
inline constexpr unsigned long kKvmSetGsiRouting = _IOW(KVMIO, 0x6a, uint64_t);
inline constexpr unsigned long kKvmSetMsrs = _IOW(KVMIO, 0x89, uint64_t);
inline constexpr unsigned long kKvmSetCpuid2 = _IOW(KVMIO, 0x90, uint64_t);
/// struct kvm_xsave's fixed part; what follows it is counted by KVM_CAP_XSAVE2.
inline constexpr size_t kKvmXsaveSize = 4096;
inline constexpr unsigned long kKvmSetXsave = _IOW(KVMIO, 0xa5, std::byte[kKvmXsaveSize]);

using KvmCpuidArray = KvmArray<kvm_cpuid2, kvm_cpuid_entry2>;
using KvmMsrArray = KvmArray<kvm_msrs, kvm_msr_entry>;
using KvmRoutingArray = KvmArray<kvm_irq_routing, kvm_irq_routing_entry>;

}  // namespace halcyon
