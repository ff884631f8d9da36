/// Undo: finds the instruction that KVM left the guest for, and the registers as they were at it.
///
/// The driver hands out an access with the processor still at the instruction. KVM's instruction
/// emulator leaves for a read with the processor at the instruction too, but for a write when
/// everything else of the instruction is done: RIP is behind it and strings, pushes and pops have
/// moved their registers. What the instruction was is found in the bytes before RIP: only a
/// sequence of bytes that ends there, is one instruction, and writes this data to this address can
/// have been it. Should several fit, each of them, executed from the registers found for it, makes
/// the same access and ends in the same state, so that taking either cannot be told apart.
#pragma once

#include <linux/kvm.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

namespace halcyon::emulator {

/// The access that KVM left the guest for.
struct GuestAccess {
    enum class Space { kPort, kMemory };
    Space space = Space::kMemory;
    bool is_write = false;
    uint64_t address = 0;  ///< port number, or GPA
    uint32_t size = 0;     ///< bytes of one element
    uint32_t count = 1;    ///< elements of a string: ports only
    /// What is written, as far as it fits; KVM's MMIO exits have at most 8 bytes.
    std::array<uint8_t, 8> data = {};
};

/// The guest's memory and vector registers, as the search needs them.
class InstructionSource {
public:
    virtual ~InstructionSource() = default;
    /// Copies from linear addresses until something is not there; how many bytes.
    virtual size_t read(uint64_t linear, void* to, size_t size) = 0;
    /// The GPA of a linear address; nothing when it is not mapped.
    virtual std::optional<uint64_t> translate(uint64_t linear) = 0;
    /// XMM register 0 to 15.
    virtual bool read_xmm(unsigned index, std::array<uint8_t, 16>& value) = 0;
};

/// Intel SDM 2B 2.3.11: longer ones raise #GP.
inline constexpr size_t kMaxInstructionLength = 15;

/// An instruction and the state at it.
struct FoundInstruction {
    kvm_regs regs = {};
    uint8_t length = 0;
    /// Linear address of the operand that the access belongs to; of memory accesses only.
    std::optional<uint64_t> linear = {};
    bool is_string = false;
    bool has_rep = false;
    /// Whether the access is all of it: KVM will not report further parts.
    bool is_whole = false;
    /// Whether it names vector or floating-point registers.
    bool uses_vectors = false;
    /// What an execution changes besides general registers, RIP and RFLAGS.
    bool changes_other_state = false;
    /// A load into a general register, of MOV, MOVZX or MOVSX: see `Load`.
    struct Load {
        uint8_t gpr = 0;            ///< encoding of the 64-bit register
        bool high_byte = false;     ///< AH, CH, DH, BH
        uint8_t register_size = 0;  ///< bytes
        uint8_t memory_size = 0;    ///< bytes; where it is less: extended
        bool is_signed = false;
    };
    std::optional<Load> load = {};
    /// Where the instruction writes to memory what it reads (strings, POP to memory).
    std::optional<uint64_t> destination = {};
    uint8_t destination_size = 0;
};

/// The register of that encoding (0 RAX, 1 RCX, 2 RDX, 3 RBX, 4 RSP ...).
[[nodiscard]] __u64& general(kvm_regs& regs, unsigned encoding);
[[nodiscard]] uint64_t general(const kvm_regs& regs, unsigned encoding);

/// Linear address of the instruction at RIP.
[[nodiscard]] uint64_t code_address(const kvm_regs& regs, const kvm_sregs& sregs);

/// The instruction at RIP, which is about to make `access`; `linear` only when an operand's address
/// translates to the access. Nothing when the bytes are not there or no instruction.
std::optional<FoundInstruction> instruction_at(const kvm_regs& regs, const kvm_sregs& sregs,
                                               const GuestAccess& access,
                                               InstructionSource& source);

/// An operand in memory of the instruction at RIP.
struct MemoryOperand {
    uint64_t linear = 0;
    uint64_t gpa = 0;
    bool is_write = false;
};

/// The first operand of the instruction at RIP that `wanted` says yes to.
std::optional<MemoryOperand> find_operand(const kvm_regs& regs, const kvm_sregs& sregs,
                                          InstructionSource& source,
                                          const std::function<bool(const MemoryOperand&)>& wanted);

/// The instruction that made the write `access` and left `after`. Nothing when none fits. `hint` is
/// the length of the one that was found for this RIP before: looked at first, which saves time.
std::optional<FoundInstruction> undo_write(const kvm_regs& after, const kvm_sregs& sregs,
                                           const GuestAccess& access, InstructionSource& source,
                                           size_t hint = 0);

}  // namespace halcyon::emulator
