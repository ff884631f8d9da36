#include "accel/mshv/mshv_driver.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cerrno>

#include "accel/run_entry.h"

namespace halcyon::mshv {

namespace {

class KernelDriver final : public Driver {
public:
    int open(const std::string& path) override {
        const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
    }
    int ioctl(int fd, unsigned long request, void* argument) override {
        const int result = ::ioctl(fd, request, argument);
        return result < 0 ? -errno : result;
    }
    Result<Mapping> map_page(int vp_fd, VpMmapPage page) override {
        return Mapping::map_fd(vp_fd, kHvPageSize, static_cast<off_t>(page) * kHvPageSize,
                               PROT_READ | PROT_WRITE, "a page of an mshv processor");
    }
    long run_vp(int vp_fd, Message& message, const uint32_t* stop_word) override {
        return halcyon_run_entry(vp_fd, kIoctlRunVp, reinterpret_cast<unsigned long>(&message),
                                 stop_word);
    }
};

}  // namespace

Driver& kernel_driver() {
    static KernelDriver driver;
    return driver;
}

Result<int> call_driver(Driver& driver, int fd, unsigned long request, const char* name,
                        void* argument) {
    int result = -EAGAIN;
    for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
        result = driver.ioctl(fd, request, argument);
        if (result >= 0) {
            return result;
        }
        if (result != -EINTR && result != -EAGAIN) {
            break;
        }
    }
    return Error::from_errno(name, -result);
}

}  // namespace halcyon::mshv
