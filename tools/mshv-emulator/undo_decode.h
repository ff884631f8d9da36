/// Decoding a guest instruction with Zydis, and evaluating its operands on KVM's registers. Of the
/// undo's innards.
#pragma once

#include <linux/kvm.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <Zydis/Zydis.h>

namespace halcyon::emulator {

struct Decoded {
    ZydisDecodedInstruction instruction;
    std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands;

    /// The operand that lies in memory and is read or written, as asked for; null without.
    [[nodiscard]] const ZydisDecodedOperand* memory_operand(ZydisOperandActions actions) const;
    [[nodiscard]] bool has_rep() const;
    /// Bytes of what a push or pop of this instruction moves RSP by.
    [[nodiscard]] unsigned stack_step() const { return instruction.operand_width / 8U; }
};

/// The processor's mode, and how it reads registers and addresses.
class OperandView {
public:
    OperandView(const kvm_regs& regs, const kvm_sregs& sregs);

    [[nodiscard]] bool is_long() const { return mode_ == ZYDIS_MACHINE_MODE_LONG_64; }
    /// Decodes the instruction at the start of `bytes`; nothing when there is none.
    [[nodiscard]] bool decode(const uint8_t* bytes, size_t size, Decoded& result) const;
    /// Length of that instruction; 0 when there is none. Faster than `decode`.
    [[nodiscard]] size_t length(const uint8_t* bytes, size_t size) const;

    /// A general, segment, flags or instruction pointer register, of its own width. `regs` are the
    /// registers to look in, which may be others than those of the mode.
    [[nodiscard]] std::optional<uint64_t> value(const kvm_regs& regs, ZydisRegister name) const;
    /// Linear address of an operand in memory, of an instruction that ends at `next_rip`.
    [[nodiscard]] std::optional<uint64_t> linear(const kvm_regs& regs, const Decoded& decoded,
                                                 const ZydisDecodedOperand& operand,
                                                 uint64_t next_rip) const;
    /// Linear address of the byte that RSP, plus `offset`, points to.
    [[nodiscard]] uint64_t stack(const kvm_regs& regs, int64_t offset) const;
    /// Linear address of that offset in the code segment.
    [[nodiscard]] uint64_t code(uint64_t offset) const;

    /// What of a register an address of `width` bits uses; RSP for `stack_width`.
    [[nodiscard]] static uint64_t address_mask(unsigned width);
    [[nodiscard]] unsigned stack_width() const;
    /// Adds to the part of a register that addresses of `width` bits use.
    static void advance(__u64& value, int64_t delta, unsigned width);

private:
    [[nodiscard]] uint64_t segment_base(ZydisRegister name) const;
    [[nodiscard]] uint64_t to_linear(uint64_t base, uint64_t offset) const;

    const kvm_sregs* sregs_;
    ZydisMachineMode mode_;
    ZydisDecoder decoder_;
};

}  // namespace halcyon::emulator
