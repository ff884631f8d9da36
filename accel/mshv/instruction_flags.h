/// Arithmetic on operands of 1, 2, 4 or 8 bytes, with the flags it leaves in RFLAGS. Values have no
/// bits above the operand's size, neither going in nor coming out.
#pragma once

#include <cstdint>

namespace halcyon::mshv::executor {

// RFLAGS (Intel SDM 1 3.4.3).
inline constexpr uint64_t kCarryFlag = 1U << 0;
inline constexpr uint64_t kParityFlag = 1U << 2;
inline constexpr uint64_t kAuxiliaryFlag = 1U << 4;
inline constexpr uint64_t kZeroFlag = 1U << 6;
inline constexpr uint64_t kSignFlag = 1U << 7;
inline constexpr uint64_t kTrapFlag = 1U << 8;
inline constexpr uint64_t kDirectionFlag = 1U << 10;
inline constexpr uint64_t kOverflowFlag = 1U << 11;
inline constexpr uint64_t kIoPrivilegeFlags = 3U << 12;
inline constexpr uint64_t kResumeFlag = 1U << 16;
inline constexpr uint64_t kVirtual8086Flag = 1U << 17;
inline constexpr uint64_t kAlignmentCheckFlag = 1U << 18;
/// The flags that arithmetic sets.
inline constexpr uint64_t kStatusFlags =
    kCarryFlag | kParityFlag | kAuxiliaryFlag | kZeroFlag | kSignFlag | kOverflowFlag;

/// The low `size` bytes, 1 to 8.
constexpr uint64_t mask_of(unsigned size) {
    return ~uint64_t{0} >> (64 - 8 * size);
}

constexpr bool is_negative(uint64_t value, unsigned size) {
    return ((value >> (8 * size - 1)) & 1) != 0;
}

constexpr uint64_t sign_extend(uint64_t value, unsigned size) {
    const unsigned spare = 64 - 8 * size;
    return static_cast<uint64_t>(static_cast<int64_t>(value << spare) >> spare);
}

struct Computed {
    uint64_t value = 0;
    /// Of kStatusFlags, or of those flags that the function says it sets.
    uint64_t flags = 0;
};

/// SF, ZF and PF of a result.
uint64_t result_flags(uint64_t value, unsigned size);

/// ADD and ADC, SUB and SBB, by `carry`.
Computed add(uint64_t left, uint64_t right, bool carry, unsigned size);
Computed subtract(uint64_t left, uint64_t right, bool borrow, unsigned size);
Computed bitwise_and(uint64_t left, uint64_t right, unsigned size);
Computed bitwise_or(uint64_t left, uint64_t right, unsigned size);
Computed bitwise_xor(uint64_t left, uint64_t right, unsigned size);

/// Shifts and rotates by `count`, which is already masked to 5 or 6 bits and not 0. Rotates set CF
/// and OF only; `carry` matters to RCL and RCR.
Computed shift_left(uint64_t value, unsigned count, bool carry, unsigned size);
Computed shift_right(uint64_t value, unsigned count, bool carry, unsigned size);
Computed shift_right_arithmetic(uint64_t value, unsigned count, bool carry, unsigned size);
Computed rotate_left(uint64_t value, unsigned count, bool carry, unsigned size);
Computed rotate_right(uint64_t value, unsigned count, bool carry, unsigned size);
Computed rotate_carry_left(uint64_t value, unsigned count, bool carry, unsigned size);
Computed rotate_carry_right(uint64_t value, unsigned count, bool carry, unsigned size);

/// SHLD and SHRD: `fill` gives the bits that come in. Sizes 2, 4 and 8; the same rules for `count`.
Computed double_shift_left(uint64_t value, uint64_t fill, unsigned count, unsigned size);
Computed double_shift_right(uint64_t value, uint64_t fill, unsigned count, unsigned size);

/// One of the sixteen conditions of Jcc, SETcc and CMOVcc, by the low four bits of their opcode.
bool condition_holds(unsigned condition, uint64_t rflags);

}  // namespace halcyon::mshv::executor
