/// One vCPU of a hypervisor with nothing around it, for tests of the entry stub alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace halcyon::testing_support {

/// A real-mode vCPU in 64 KiB of shared memory that says it runs (sets byte 2000h), then spins. No
/// interrupt controller; only a signal gets it out of the system call.
class BareVcpu {
public:
    static constexpr uint64_t kMemorySize = 0x10000;
    static constexpr uint64_t kCode = 0x1000;
    static constexpr uint64_t kFlag = 0x2000;

    virtual ~BareVcpu() = default;
    /// False when some call failed.
    [[nodiscard]] virtual bool ok() const = 0;
    /// The ioctl that runs it.
    [[nodiscard]] virtual int fd() const = 0;
    [[nodiscard]] virtual unsigned long request() const = 0;
    [[nodiscard]] virtual unsigned long argument() const = 0;

protected:
    /// Puts the program at kCode.
    static void load_program(std::byte* memory);
};

/// A hypervisor that may be here.
struct BareHypervisor {
    const char* name;
    /// Why not; nothing when it is.
    std::optional<std::string> (*unavailable)();
    /// `memory`: kMemorySize bytes.
    std::unique_ptr<BareVcpu> (*make)(std::byte* memory);
};

/// Those that this build has a backend for.
[[nodiscard]] std::vector<BareHypervisor> bare_hypervisors();

}  // namespace halcyon::testing_support
