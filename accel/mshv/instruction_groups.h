/// The groups of instructions. Each function carries out one decoded instruction; a parameter says
/// which of a family it is.
#pragma once

#include "accel/mshv/instruction_execution.h"

namespace halcyon::mshv::executor {

using Handler = void (*)(Execution&);

/// Finds and runs the handler; an instruction without one is unsupported.
void dispatch(Execution& execution);

// instruction_arithmetic.cpp
enum class Arithmetic { kAdd, kAdc, kSub, kSbb, kCmp, kAnd, kOr, kXor, kTest };
template <Arithmetic Operation>
void arithmetic(Execution& execution);
void increment(Execution& execution);
void decrement(Execution& execution);
void negate(Execution& execution);
void invert(Execution& execution);
void exchange(Execution& execution);
void exchange_add(Execution& execution);
void compare_exchange(Execution& execution);
void compare_exchange_pair(Execution& execution);

// instruction_multiply.cpp
void multiply(Execution& execution);
void multiply_signed(Execution& execution);
void divide(Execution& execution);
void divide_signed(Execution& execution);

// instruction_bit.cpp
enum class Shift { kLeft, kRight, kArithmeticRight, kRol, kRor, kRcl, kRcr };
template <Shift Kind>
void shift(Execution& execution);
void shift_double_left(Execution& execution);
void shift_double_right(Execution& execution);
enum class BitAction { kTest, kSet, kReset, kComplement };
template <BitAction Action>
void bit_test(Execution& execution);

// instruction_move.cpp
void move(Execution& execution);
void move_sign_extended(Execution& execution);
void move_byte_swapped(Execution& execution);
void move_conditional(Execution& execution);
void set_conditional(Execution& execution);
void flush_line(Execution& execution);

// instruction_stack.cpp
void push(Execution& execution);
void pop(Execution& execution);
void push_all(Execution& execution);
void pop_all(Execution& execution);
void push_flags(Execution& execution);
void leave(Execution& execution);
void call(Execution& execution);
void jump(Execution& execution);
void return_near(Execution& execution);

// instruction_string.cpp
void string_instruction(Execution& execution);

// instruction_vector.cpp
void move_vector_aligned(Execution& execution);
void move_vector_unaligned(Execution& execution);
/// MOVSS and MOVSD; the latter may also be the string instruction.
void move_scalar(Execution& execution);
void move_low_half(Execution& execution);
void move_high_half(Execution& execution);
/// MOVD, MOVQ and MOVNTQ.
void move_quadword(Execution& execution);

}  // namespace halcyon::mshv::executor
