#include "tests/accel/bare_kvm.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

namespace halcyon::testing_support {

std::optional<std::string> BareKvm::unavailable() {
    const UniqueFd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
    if (!kvm) {
        return "/dev/kvm: " + std::string(std::strerror(errno));
    }
    return std::nullopt;
}

BareKvm::BareKvm(std::byte* memory) : ok_(set_up(memory)) {}

bool BareKvm::set_up(std::byte* memory) {
    load_program(memory);
    kvm_.reset(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
    vm_.reset(::ioctl(kvm_.get(), KVM_CREATE_VM, 0));
    // Where Intel needs a page of its own for real mode: far above the guest's memory.
    (void)::ioctl(vm_.get(), KVM_SET_TSS_ADDR, 0xfffbd000);
    kvm_userspace_memory_region region{};
    region.memory_size = kMemorySize;
    region.userspace_addr = reinterpret_cast<uint64_t>(memory);
    if (::ioctl(vm_.get(), KVM_SET_USER_MEMORY_REGION, &region) != 0) {
        return false;
    }
    vcpu_.reset(::ioctl(vm_.get(), KVM_CREATE_VCPU, 0));
    kvm_sregs sregs{};
    if (::ioctl(vcpu_.get(), KVM_GET_SREGS, &sregs) != 0) {
        return false;
    }
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    kvm_regs regs{};
    regs.rip = kCode;
    regs.rflags = 2;
    return ::ioctl(vcpu_.get(), KVM_SET_SREGS, &sregs) == 0 &&
           ::ioctl(vcpu_.get(), KVM_SET_REGS, &regs) == 0;
}

}  // namespace halcyon::testing_support
