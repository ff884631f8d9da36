#include "tests/accel/bare_mshv.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

#include "accel/mshv/mshv_registers.h"

namespace halcyon::testing_support {

using namespace mshv;

std::optional<std::string> BareMshv::unavailable() {
    const UniqueFd device(::open("/dev/mshv", O_RDWR | O_CLOEXEC));
    if (!device) {
        return "/dev/mshv: " + std::string(std::strerror(errno));
    }
    return std::nullopt;
}

BareMshv::BareMshv(std::byte* memory) : ok_(set_up(memory)) {}

bool BareMshv::set_up(std::byte* memory) {
    load_program(memory);
    device_.reset(::open("/dev/mshv", O_RDWR | O_CLOEXEC));
    CreatePartition create{};
    partition_.reset(::ioctl(device_.get(), kIoctlCreatePartition, &create));
    if (::ioctl(partition_.get(), kIoctlInitializePartition) != 0) {
        return false;
    }
    UserMemoryRegion region{};
    region.size = kMemorySize;
    region.userspace_address = reinterpret_cast<uint64_t>(memory);
    region.flags = kMemoryWritable | kMemoryExecutable;
    CreateVp index{};
    if (::ioctl(partition_.get(), kIoctlSetGuestMemory, &region) != 0) {
        return false;
    }
    vp_.reset(::ioctl(partition_.get(), kIoctlCreateVp, &index));
    VpRegisters registers(kernel_driver(), vp_.get(), 0);
    VcpuRegisters state = reset_registers();
    state.cs.base = 0;
    state.cs.selector = 0;
    state.rip = kCode;
    return vp_ && set_vcpu_registers(registers, state).has_value();
}

}  // namespace halcyon::testing_support
