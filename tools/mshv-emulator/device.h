/// Device: what an open /dev/mshv is.
#pragma once

#include <atomic>
#include <cstdint>

#include "tools/mshv-emulator/emulated_file.h"

namespace halcyon::emulator {

/// Creates partitions, and answers hypercalls about the host. Any thread; no lock, as the driver.
class Device final : public EmulatedFile {
public:
    long ioctl(unsigned long request, unsigned long argument, const TrapContext& context) override;

private:
    long create_partition(unsigned long argument);

    std::atomic<uint32_t> creations_ = 0;
};

/// open("/dev/mshv", flags): a descriptor, or -errno. Any thread.
int open_device(int flags);

}  // namespace halcyon::emulator
