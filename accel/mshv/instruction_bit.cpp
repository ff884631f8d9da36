// Shifts, rotates and single bits.
#include <bit>

#include "accel/mshv/instruction_groups.h"

namespace halcyon::mshv::executor {

namespace {

Computed compute(Shift shift, uint64_t value, unsigned count, bool carry, unsigned size) {
    switch (shift) {
        case Shift::kLeft:
            return shift_left(value, count, carry, size);
        case Shift::kRight:
            return shift_right(value, count, carry, size);
        case Shift::kArithmeticRight:
            return shift_right_arithmetic(value, count, carry, size);
        case Shift::kRol:
            return rotate_left(value, count, carry, size);
        case Shift::kRor:
            return rotate_right(value, count, carry, size);
        case Shift::kRcl:
            return rotate_carry_left(value, count, carry, size);
        case Shift::kRcr:
            return rotate_carry_right(value, count, carry, size);
    }
    return {};
}

/// Counts use 5 bits, with 8-byte operands 6 (Intel SDM 2B, SAL).
unsigned masked_count(uint64_t count, unsigned size) {
    return static_cast<unsigned>(count & (size == 8 ? 63 : 31));
}

using DoubleShift = Computed (*)(uint64_t, uint64_t, unsigned, unsigned);

void double_shift(Execution& execution, DoubleShift function) {
    const unsigned size = execution.size(0);
    const uint64_t value = execution.get_for_update(0);
    const unsigned count = masked_count(execution.get(2), size);
    if (count == 0) {
        execution.set(0, value);
        return;
    }
    const Computed result = function(value, execution.get(1), count, size);
    execution.set(0, result.value);
    execution.set_flags(kStatusFlags, result.flags);
}

}  // namespace

template <Shift Kind>
void shift(Execution& execution) {
    constexpr bool kRotates =
        Kind == Shift::kRol || Kind == Shift::kRor || Kind == Shift::kRcl || Kind == Shift::kRcr;
    const unsigned size = execution.size(0);
    const uint64_t value = execution.get_for_update(0);
    const unsigned count = masked_count(execution.get(1), size);
    if (count == 0) {
        execution.set(0, value);
        return;
    }
    const Computed result = compute(Kind, value, count, execution.flag(kCarryFlag), size);
    execution.set(0, result.value);
    execution.set_flags(kRotates ? kCarryFlag | kOverflowFlag : kStatusFlags, result.flags);
}

template void shift<Shift::kLeft>(Execution&);
template void shift<Shift::kRight>(Execution&);
template void shift<Shift::kArithmeticRight>(Execution&);
template void shift<Shift::kRol>(Execution&);
template void shift<Shift::kRor>(Execution&);
template void shift<Shift::kRcl>(Execution&);
template void shift<Shift::kRcr>(Execution&);

void shift_double_left(Execution& execution) {
    double_shift(execution, double_shift_left);
}

void shift_double_right(Execution& execution) {
    double_shift(execution, double_shift_right);
}

/// A bit number in a register reaches beyond a memory operand, in both directions.
template <BitAction Action>
void bit_test(Execution& execution) {
    const unsigned size = execution.size(0);
    const unsigned bits = 8 * size;
    const uint64_t number = execution.get(1);
    const uint64_t bit = uint64_t{1} << (number % bits);
    const bool memory = execution.is_memory(0);
    Location place;
    uint64_t value = 0;
    if (memory) {
        place = execution.location(0);
        if (execution.operand(1).type == ZYDIS_OPERAND_TYPE_REGISTER) {
            const auto distance = static_cast<int64_t>(sign_extend(number, size));
            const int shift = std::countr_zero(bits);
            place.offset += static_cast<uint64_t>(distance >> shift) * size;
            place.offset &= execution.address_mask();
        }
        if (Action != BitAction::kTest) {
            execution.check_write(place, size);
        }
        value = execution.load(place, size);
    } else {
        value = execution.get(0);
    }
    uint64_t result = value;
    switch (Action) {
        case BitAction::kTest:
            break;
        case BitAction::kSet:
            result |= bit;
            break;
        case BitAction::kReset:
            result &= ~bit;
            break;
        case BitAction::kComplement:
            result ^= bit;
            break;
    }
    if (Action != BitAction::kTest) {
        memory ? execution.store(place, size, result) : execution.set(0, result);
    }
    execution.set_flags(kCarryFlag, (value & bit) != 0 ? kCarryFlag : 0);
}

template void bit_test<BitAction::kTest>(Execution&);
template void bit_test<BitAction::kSet>(Execution&);
template void bit_test<BitAction::kReset>(Execution&);
template void bit_test<BitAction::kComplement>(Execution&);

}  // namespace halcyon::mshv::executor
