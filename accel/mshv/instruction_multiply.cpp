// Multiplication and division.
#include "accel/mshv/instruction_groups.h"

namespace halcyon::mshv::executor {

namespace {

__extension__ using Wide = unsigned __int128;

Wide sign_extend_wide(uint64_t value, unsigned size) {
    const uint64_t low = sign_extend(value, size);
    return (Wide{is_negative(low, 8) ? ~uint64_t{0} : 0} << 64) | low;
}

/// The dividend of DIV and the product of MUL: AX, or RDX:RAX by parts of `size`.
Wide get_pair(const Execution& execution, unsigned size) {
    if (size == 1) {
        return execution.gpr(kRax, 2);
    }
    return (Wide{execution.gpr(kRdx, size)} << (8 * size)) | execution.gpr(kRax, size);
}

void set_pair(Execution& execution, unsigned size, uint64_t low, uint64_t high) {
    if (size == 1) {
        execution.set_gpr(kRax, 2, (low & 0xff) | ((high & 0xff) << 8));
    } else {
        execution.set_gpr(kRax, size, low);
        execution.set_gpr(kRdx, size, high);
    }
}

/// CF and OF say that the product does not fit one operand; the others are undefined.
void set_product_flags(Execution& execution, bool overflow) {
    execution.set_flags(kCarryFlag | kOverflowFlag, overflow ? kCarryFlag | kOverflowFlag : 0);
}

}  // namespace

void multiply(Execution& execution) {
    const unsigned size = execution.size(0);
    const Wide product = Wide{execution.get(0)} * execution.gpr(kRax, size);
    const auto high = static_cast<uint64_t>(product >> (8 * size));
    if (!execution.stopped()) {
        set_pair(execution, size, static_cast<uint64_t>(product), high);
    }
    set_product_flags(execution, high != 0);
}

/// IMUL with one, two or three operands.
void multiply_signed(Execution& execution) {
    const unsigned size = execution.size(0);
    const bool single = execution.operand_count() == 1;
    const bool three = execution.operand_count() == 3;
    const uint64_t left = single ? execution.gpr(kRax, size) : execution.get(three ? 2 : 0);
    const uint64_t right = execution.get(single ? 0 : 1);
    const Wide product = sign_extend_wide(left, size) * sign_extend_wide(right, size);
    const auto low = static_cast<uint64_t>(product) & mask_of(size);
    if (!single) {
        execution.set(0, low);
    } else if (!execution.stopped()) {
        set_pair(execution, size, low, static_cast<uint64_t>(product >> (8 * size)));
    }
    set_product_flags(execution, product != sign_extend_wide(low, size));
}

void divide(Execution& execution) {
    const unsigned size = execution.size(0);
    const uint64_t divisor = execution.get(0);
    if (execution.stopped()) {
        return;
    }
    const Wide dividend = get_pair(execution, size);
    if (divisor == 0 || dividend / divisor > mask_of(size)) {
        execution.raise(Vector::kDivide);
        return;
    }
    set_pair(execution, size, static_cast<uint64_t>(dividend / divisor),
             static_cast<uint64_t>(dividend % divisor));
}

/// By magnitudes: the quotient is cut towards zero, the remainder has the dividend's sign.
void divide_signed(Execution& execution) {
    const unsigned size = execution.size(0);
    const uint64_t divisor = execution.get(0);
    if (execution.stopped()) {
        return;
    }
    if (divisor == 0) {
        execution.raise(Vector::kDivide);
        return;
    }
    const Wide dividend = get_pair(execution, size);
    const bool dividend_negative = ((dividend >> (16 * size - 1)) & 1) != 0;
    const bool divisor_negative = is_negative(divisor, size);
    // The highest magnitude is the lowest number; above it only zeros.
    const Wide pair_mask = ~Wide{0} >> (128 - 16 * size);
    const Wide magnitude = dividend_negative ? (0 - dividend) & pair_mask : dividend;
    const uint64_t by = divisor_negative ? (0 - divisor) & mask_of(size) : divisor;
    const Wide quotient = magnitude / by;
    const auto remainder = static_cast<uint64_t>(magnitude % by);
    const bool negative = dividend_negative != divisor_negative;
    const Wide largest = (mask_of(size) >> 1) + (negative ? 1 : 0);
    if (quotient > largest) {
        execution.raise(Vector::kDivide);
        return;
    }
    const auto whole = static_cast<uint64_t>(quotient);
    set_pair(execution, size, negative ? 0 - whole : whole,
             dividend_negative ? 0 - remainder : remainder);
}

}  // namespace halcyon::mshv::executor
