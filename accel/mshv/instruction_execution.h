/// One execution of one instruction: what the groups of instructions (instruction_groups.h) are
/// written on. Operands, memory with segmentation, flags, the stack.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include <Zydis/Zydis.h>

#include "accel/mshv/instruction.h"
#include "accel/mshv/instruction_flags.h"

namespace halcyon::mshv::executor {

/// The segment registers in the order of their encoding.
enum class Segment : uint8_t { kEs, kCs, kSs, kDs, kFs, kGs };

/// Exceptions (Intel SDM 3A table 6-1).
enum class Vector : uint8_t {
    kDivide = 0,
    kUndefinedOpcode = 6,
    kNoDevice = 7,
    kStack = 12,
    kProtection = 13,
    kAlignment = 17,
};

/// Control register bits (Intel SDM 3A 2.5, 2.2.1).
inline constexpr uint64_t kCr0ProtectedMode = 1U << 0;
inline constexpr uint64_t kCr0Emulation = 1U << 2;
inline constexpr uint64_t kCr0TaskSwitched = 1U << 3;
inline constexpr uint64_t kCr0AlignmentMask = 1U << 18;
inline constexpr uint64_t kCr4SaveExtended = 1U << 9;
inline constexpr uint64_t kCr4LinearAddress57 = 1U << 12;
inline constexpr uint64_t kEferLongModeActive = 1U << 10;

/// How the processor sees code and segments now.
struct Mode {
    bool long64 = false;
    /// Segments have rights: protected mode without RFLAGS.VM, 64-bit mode excepted.
    bool rights = false;
    /// Exceptions push no error code.
    bool real = false;
    bool virtual8086 = false;
    unsigned privilege = 0;
    /// What of RSP is the stack pointer.
    uint64_t stack_mask = 0;

    static Mode of(const VcpuRegisters& registers);
};

/// A place in memory as the instruction names it.
struct Location {
    Segment segment = Segment::kDs;
    uint64_t offset = 0;
};

/// Stopping is sticky: the first exception or failure is noted, every access after it does nothing
/// and reads zeros, and `finish` puts the general registers and flags back to the last `commit`. So
/// the groups need no unwinding, and an instruction either happens or does not.
class Execution {
public:
    Execution(VcpuRegisters& registers, InstructionBus& bus)
        : mode_(Mode::of(registers)),
          registers_(registers),
          bus_(bus),
          committed_gpr_(registers.gpr),
          entry_flags_(registers.rflags) {}
    Execution(const Execution&) = delete;
    Execution& operator=(const Execution&) = delete;

    /// Fetches what of the instruction is missing, and decodes it; false when that stopped it.
    bool decode(std::span<const std::byte> given);
    /// The outcome. RIP goes to the next instruction or the branch's target, if nothing stopped it.
    InstructionResult finish();

    // What stops an instruction.
    [[nodiscard]] bool stopped() const { return stopped_; }
    void raise(Vector vector);
    void unsupported();
    void fail(std::string detail);
    /// What the bus returned; true when it stopped the instruction.
    bool note(std::optional<AccessFault> fault);

    // The instruction.
    [[nodiscard]] const Mode& mode() const { return mode_; }
    [[nodiscard]] const ZydisDecodedInstruction& instruction() const { return instruction_; }
    [[nodiscard]] unsigned operand_count() const { return instruction_.operand_count_visible; }
    [[nodiscard]] const ZydisDecodedOperand& operand(unsigned index) const {
        return operands_[index];
    }
    [[nodiscard]] bool is_memory(unsigned index) const {
        return operands_[index].type == ZYDIS_OPERAND_TYPE_MEMORY;
    }
    [[nodiscard]] ZydisRegisterClass register_class(unsigned index) const;
    /// Size of an operand, and of what the instruction works on, in bytes.
    [[nodiscard]] unsigned size(unsigned index) const { return operands_[index].size / 8; }
    [[nodiscard]] unsigned width() const { return instruction_.operand_width / 8; }
    [[nodiscard]] uint64_t address_mask() const { return mask_of(instruction_.address_width / 8); }
    /// The prefix F2h or F3h, the last of them; 0 without one.
    [[nodiscard]] uint8_t repeat_prefix() const;
    /// The segment of a string's source.
    [[nodiscard]] Segment source_segment() const;

    // Operands, of at most 8 bytes: general and segment registers, memory, immediates.
    uint64_t get(unsigned index);
    /// For a read-modify-write: stops also when the operand cannot be written.
    uint64_t get_for_update(unsigned index);
    void set(unsigned index, uint64_t value);
    [[nodiscard]] Location location(unsigned index) const;

    // Memory.
    void read(Location location, std::span<std::byte> data);
    void write(Location location, std::span<const std::byte> data);
    void check_write(Location location, size_t size);
    /// A write of memory to memory is known to fault: whether the read would have, before it.
    void read_faults_first(Location location, size_t size);
    uint64_t load(Location location, unsigned size);
    void store(Location location, unsigned size, uint64_t value);
    /// #GP unless the linear address is a multiple.
    void require_alignment(Location location, unsigned alignment);
    /// #GP or #SS unless the segment allows a byte to be read.
    void check_address(Location location);

    // General registers: the low `size` bytes of one, and parts above as the processor keeps them.
    [[nodiscard]] uint64_t gpr(unsigned index) const { return registers_.gpr[index]; }
    [[nodiscard]] uint64_t gpr(unsigned index, unsigned size) const {
        return registers_.gpr[index] & mask_of(size);
    }
    void set_gpr(unsigned index, unsigned size, uint64_t value);

    // Flags.
    [[nodiscard]] bool flag(uint64_t flags) const { return (registers_.rflags & flags) != 0; }
    [[nodiscard]] uint64_t rflags() const { return registers_.rflags; }
    void set_flags(uint64_t which, uint64_t flags) {
        registers_.rflags = (registers_.rflags & ~which) | (flags & which);
    }

    // The stack, and where the code goes on.
    void push(unsigned size, uint64_t value);
    uint64_t pop(unsigned size);
    [[nodiscard]] uint64_t next_rip() const;
    /// A near branch; `size` is the branch's operand size. #GP when it leaves the code segment.
    void branch(uint64_t target, unsigned size);

    /// An element of a repeated instruction is done and stays done.
    void commit() { committed_gpr_ = registers_.gpr; }
    /// The instruction is not at its end, but leaves: RIP stays at it.
    void repeat_later() { repeats_ = true; }
    /// Whether the debugger wants to see each element.
    [[nodiscard]] bool single_step() const { return (entry_flags_ & kTrapFlag) != 0; }

    /// #UD or #NM when the vector unit is switched off, or the MMX unit.
    void require_vectors();
    void require_mmx();
    [[nodiscard]] InstructionBus& bus() { return bus_; }

private:
    enum class Access { kRead, kWrite, kExecute };
    static constexpr unsigned kLongest = 15;  // Intel SDM 2A 2.3.11
    static constexpr uint64_t kPageSize = 4096;

    void fetch_more();
    void check_decoded(ZyanStatus status);
    [[nodiscard]] SegmentRegister& segment(Segment segment) const;
    [[nodiscard]] bool allowed(Location location, size_t size, Access access) const;
    std::optional<uint64_t> linear(Location location, size_t size, Access access);
    [[nodiscard]] uint64_t linear_after(uint64_t address, size_t size) const;
    [[nodiscard]] bool canonical(uint64_t address) const;
    bool check_write_linear(uint64_t address, size_t size);
    bool check_read_linear(uint64_t address, size_t size);
    uint64_t read_register(ZydisRegister reg);
    void write_register(ZydisRegister reg, uint64_t value);
    void load_segment(Segment which, uint16_t selector);

    const Mode mode_;
    VcpuRegisters& registers_;
    InstructionBus& bus_;
    std::array<uint64_t, 16> committed_gpr_;
    const uint64_t entry_flags_;
    bool stopped_ = false;
    InstructionResult result_;
    bool repeats_ = false;
    /// Of a branch.
    std::optional<uint64_t> target_;
    /// The page that `check_write` last found writable.
    std::optional<uint64_t> writable_page_;

    unsigned length_ = 0;  ///< of `bytes_`, what is there
    std::array<std::byte, kLongest> bytes_;
    ZydisDecodedInstruction instruction_;
    std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT_VISIBLE> operands_;
};

}  // namespace halcyon::mshv::executor
