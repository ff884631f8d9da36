/// The instruction executor: carries out one guest instruction that the hypervisor could not,
/// because it touched a port by string or memory that is not there. The hypervisor tells where and
/// why; what the instruction does is found here.
///
/// Handled, in every processor mode (Intel SDM volume 2 for what each does): MOV (no control, debug
/// or, in protected mode, segment register as destination), MOVZX, MOVSX, MOVSXD, MOVBE, MOVNTI,
/// MOVDIRI, XCHG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B, CMOVcc, SETcc, ADD, OR, ADC, SBB, AND, SUB,
/// XOR, CMP, TEST, NEG, NOT, INC, DEC, MUL, IMUL, DIV, IDIV, shifts and rotates with SHLD and SHRD,
/// BT, BTS, BTR, BTC, near CALL, JMP and RET, PUSH, POP, PUSHA, POPA, PUSHF, LEAVE, all string
/// instructions with their repetitions, CLFLUSH, CLFLUSHOPT, CLWB, and the loads and stores of SSE
/// (MOVAPS, MOVUPS, MOVSS, MOVLPS, MOVHPS, MOVNTPS, their relatives for doubles and integers,
/// LDDQU) and MMX (MOVD, MOVQ, MOVNTQ). Not handled: VEX and EVEX encodings, x87, vector
/// arithmetic, far transfers and system instructions.
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

/// The MMX registers, for a machine that gives access to them. Either call also leaves the x87 unit
/// as an MMX instruction does: TOP 0, all tags valid, and bits 64-79 of a written register set
/// (Intel SDM 1 9.5.1).
class MmxRegisters {
public:
    virtual ~MmxRegisters() = default;
    virtual std::optional<AccessFault> read_mmx(unsigned index, std::span<std::byte, 8> data) = 0;
    virtual std::optional<AccessFault> write_mmx(unsigned index,
                                                 std::span<const std::byte, 8> data) = 0;
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
    /// that is split, so that nothing is half done when the second half faults. Asked at most once
    /// per page of a string instruction.
    virtual std::optional<AccessFault> check_write(uint64_t linear, size_t size) = 0;

    /// Whether a read would succeed, without doing it, for the same reason. Nothing, without
    /// looking, is a fair answer; then a device may be read for an instruction that faults after
    /// that.
    virtual std::optional<AccessFault> check_read(uint64_t /*linear*/, size_t /*size*/) {
        return std::nullopt;
    }

    /// One element of INS or OUTS: width 1, 2 or 4. The right to the port is not checked: the
    /// processor does that before it intercepts (Intel SDM 3C 26.1.1).
    virtual void port_read(uint16_t port, std::span<std::byte> data) = 0;
    virtual void port_write(uint16_t port, std::span<const std::byte> data) = 0;

    /// XMM registers 0 to 15, fetched and stored only when an instruction names one.
    virtual std::optional<AccessFault> read_xmm(unsigned index, std::span<std::byte, 16> data) = 0;
    virtual std::optional<AccessFault> write_xmm(unsigned index,
                                                 std::span<const std::byte, 16> data) = 0;

    /// Null when there is no access to the MMX registers; their instructions are kUnsupported then.
    virtual MmxRegisters* mmx() { return nullptr; }
};

/// What became of an instruction.
struct InstructionResult {
    enum class Outcome {
        kDone,         ///< registers hold the state after it; of a REP, perhaps not to its end:
                       ///< then RIP is still at it, and running it again goes on
        kException,    ///< `exception` is to be raised; registers as the architecture wants them:
                       ///< unchanged but for RFLAGS.RF, which the pushed image of a fault has set,
                       ///< and for the elements that a REP has done
        kUnsupported,  ///< an instruction that is not handled: `detail` has its bytes and name
        kFailed,       ///< the host failed: `detail`
    };
    Outcome outcome = Outcome::kDone;
    GuestException exception = {};
    std::string detail = {};
    /// With kDone: RFLAGS.TF was set, so the debug trap (#DB with DR6.BS) is due now.
    bool single_step = false;
};

/// At most this many elements of a REP are done in one call, so that a kick and an interrupt get
/// their turn.
inline constexpr uint64_t kRepBatch = 1024;

/// Carries out the instruction at registers.cs:rip, which becomes the state after it. `bytes` are
/// the instruction's first bytes as far as the hypervisor gave them (0 to 16); what is missing is
/// fetched. The mode follows from CR0, CR4, EFER, RFLAGS.VM, CS and SS.
///
/// `registers` changes with kDone and kException only, and of it gpr, rip and rflags; the selector
/// and base of a data segment too, in real and virtual-8086 mode. LOCK is a plain read and write:
/// what is not memory cannot be locked. An interrupt shadow, which is not in `registers`, ends with
/// an instruction that is kDone; debug registers are not looked at. Flags that the architecture
/// leaves undefined have some value.
///
/// Never throws, never reads outside `bytes`, whatever the guest wrote there. Does not allocate but
/// for `detail`. One thread per call; calls share nothing.
InstructionResult execute_instruction(VcpuRegisters& registers, std::span<const std::byte> bytes,
                                      InstructionBus& bus);

}  // namespace halcyon::mshv
