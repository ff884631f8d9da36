#include "accel/kvm/kvm_ioctl.h"

namespace halcyon {

Result<int> kvm_ioctl(int fd, unsigned long request, const char* name, unsigned long argument) {
    for (;;) {
        const int result = ::ioctl(fd, request, argument);
        if (result >= 0) {
            return result;
        }
        if (errno != EINTR) {
            return Error::from_errno(name);
        }
    }
}

int kvm_check_extension(int fd, int capability) {
    const int result = ::ioctl(fd, KVM_CHECK_EXTENSION, static_cast<unsigned long>(capability));
    return result < 0 ? 0 : result;
}

}  // namespace halcyon
