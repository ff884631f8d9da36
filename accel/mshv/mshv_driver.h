/// Driver: the system calls by which this backend reaches the mshv driver.
#pragma once

#include <cstdint>
#include <string>

#include "accel/mshv/mshv_abi.h"
#include "accel/mshv/mshv_messages.h"
#include "base/mapping.h"
#include "base/result.h"

namespace halcyon::mshv {

/// What the kernel does for us, one function for each system call, so that tests can answer in its
/// place. Any thread. Outlives everything that uses it.
class Driver {
public:
    virtual ~Driver() = default;

    /// Opens a device node for reading and writing, close-on-exec: its descriptor, or -errno.
    virtual int open(const std::string& path) = 0;
    /// ioctl(2), once: its result, or -errno.
    virtual int ioctl(int fd, unsigned long request, void* argument) = 0;
    /// A shared, writable mapping of one page of a VP's descriptor.
    virtual Result<Mapping> map_page(int vp_fd, VpMmapPage page) = 0;
    /// MSHV_RUN_VP through the entry stub, and nothing else: the result of halcyon_run_entry
    /// (accel/run_entry.h). The only way in which a VP is run.
    virtual long run_vp(int vp_fd, Message& message, const uint32_t* stop_word) = 0;
};

/// The kernel's.
[[nodiscard]] Driver& kernel_driver();

/// An ioctl by its name, repeated while a signal interrupts it or the driver asks for that: its
/// result, or an Error "NAME: strerror".
Result<int> call_driver(Driver& driver, int fd, unsigned long request, const char* name,
                        void* argument = nullptr);

/// How often a call that answers EAGAIN is repeated before it counts as failed. Each EAGAIN of an
/// old driver (before Linux 6.19) deposited one page with the hypervisor, and no call needs 40 MiB.
inline constexpr int kMaxAttempts = 10'000;

}  // namespace halcyon::mshv
