/// The instruction executor: carries out one guest instruction that the hypervisor could not,
/// because it touched a port by string or memory that is not there. The hypervisor tells where and
/// why; what the instruction does is found here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "accel/vcpu.h"

namespace halcyon::mshv {

/// An exception to be raised in the guest instead of going on; RIP stays at the instruction.
struct GuestException {
    uint8_t vector = 0;
    std::optional<uint32_t> error_code = {};
    /// For #PF: CR2.
    uint64_t address = 0;
    friend bool operator==(const GuestException&, const GuestException&) = default;
};

/// Why an access to guest memory did not happen: an exception, or the host's own failure.
struct AccessFault {
    std::optional<GuestException> exception = {};
    /// Without an exception: what failed, one line.
    std::string failure = {};
};

/// What the executor needs of the machine. Implemented by the vCPU; used on the vCPU's thread.
/// Linear addresses are already segmented and checked against limits; an access never crosses a
/// 4 KiB page (the executor splits it). Memory or device behind an address is the implementation's
/// affair. Each function gives nothing on success.
class InstructionBus {
public:
    virtual ~InstructionBus() = default;

    virtual std::optional<AccessFault> fetch(uint64_t linear, std::span<std::byte> bytes) = 0;
    virtual std::optional<AccessFault> read(uint64_t linear, std::span<std::byte> data) = 0;
    virtual std::optional<AccessFault> write(uint64_t linear, std::span<const std::byte> data) = 0;
    /// Whether a write would succeed, without doing it: before a read-modify-write or an access
    /// that is split, so that nothing is half done when the second half faults.
    virtual std::optional<AccessFault> check_write(uint64_t linear, size_t size) = 0;

    /// One element of INS or OUTS: width 1, 2 or 4.
    virtual void port_read(uint16_t port, std::span<std::byte> data) = 0;
    virtual void port_write(uint16_t port, std::span<const std::byte> data) = 0;

    /// XMM registers 0 to 15, fetched and stored only when an instruction names one.
    virtual std::optional<AccessFault> read_xmm(unsigned index, std::span<std::byte, 16> data) = 0;
    virtual std::optional<AccessFault> write_xmm(unsigned index,
                                                 std::span<const std::byte, 16> data) = 0;
};

/// What became of an instruction.
struct InstructionResult {
    enum class Outcome {
        kDone,         ///< registers hold the state after it; of a REP, perhaps not to its end:
                       ///< then RIP is still at it, and running it again goes on
        kException,    ///< `exception` is to be raised; registers as the architecture wants them
        kUnsupported,  ///< an instruction that is not handled: `detail` has its bytes and name
        kFailed,       ///< the host failed: `detail`
    };
    Outcome outcome = Outcome::kDone;
    GuestException exception = {};
    std::string detail = {};
};

/// At most this many elements of a REP are done in one call, so that a kick and an interrupt get
/// their turn.
inline constexpr uint64_t kRepBatch = 1024;

/// Carries out the instruction at registers.cs:rip, which becomes the state after it. `bytes` are
/// the instruction's first bytes as far as the hypervisor gave them (0 to 16); what is missing is
/// fetched. The mode follows from CR0, EFER, RFLAGS.VM and CS. Never throws, never reads outside
/// `bytes`, whatever the guest wrote there.
InstructionResult execute_instruction(VcpuRegisters& registers, std::span<const std::byte> bytes,
                                      InstructionBus& bus);

}  // namespace halcyon::mshv
