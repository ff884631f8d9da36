// Arithmetic with flags. OF of a shift by more than one bit is undefined: the formula of one bit is
// used for all counts.
#include "accel/mshv/instruction_flags.h"

#include <bit>

namespace halcyon::mshv::executor {

namespace {

constexpr uint64_t flag_if(bool condition, uint64_t flag) {
    return condition ? flag : 0;
}

Computed logical(uint64_t value, unsigned size) {
    return {value, result_flags(value, size)};
}

}  // namespace

uint64_t result_flags(uint64_t value, unsigned size) {
    return flag_if(is_negative(value, size), kSignFlag) | flag_if(value == 0, kZeroFlag) |
           flag_if(std::popcount(value & 0xff) % 2 == 0, kParityFlag);
}

Computed add(uint64_t left, uint64_t right, bool carry, unsigned size) {
    const uint64_t value = (left + right + (carry ? 1 : 0)) & mask_of(size);
    // What is carried out of each bit.
    const uint64_t carries = (left & right) | ((left | right) & ~value);
    const bool overflow = is_negative((left ^ value) & (right ^ value), size);
    return {value, result_flags(value, size) | flag_if(is_negative(carries, size), kCarryFlag) |
                       flag_if((carries & 8) != 0, kAuxiliaryFlag) |
                       flag_if(overflow, kOverflowFlag)};
}

Computed subtract(uint64_t left, uint64_t right, bool borrow, unsigned size) {
    const uint64_t value = (left - right - (borrow ? 1 : 0)) & mask_of(size);
    const uint64_t borrows = (~left & right) | ((~left | right) & value);
    const bool overflow = is_negative((left ^ right) & (left ^ value), size);
    return {value, result_flags(value, size) | flag_if(is_negative(borrows, size), kCarryFlag) |
                       flag_if((borrows & 8) != 0, kAuxiliaryFlag) |
                       flag_if(overflow, kOverflowFlag)};
}

Computed bitwise_and(uint64_t left, uint64_t right, unsigned size) {
    return logical(left & right, size);
}

Computed bitwise_or(uint64_t left, uint64_t right, unsigned size) {
    return logical(left | right, size);
}

Computed bitwise_xor(uint64_t left, uint64_t right, unsigned size) {
    return logical(left ^ right, size);
}

Computed shift_left(uint64_t value, unsigned count, bool /*carry*/, unsigned size) {
    const unsigned bits = 8 * size;
    const uint64_t result = (value << count) & mask_of(size);
    const bool out = count <= bits && ((value >> (bits - count)) & 1) != 0;
    return {result, result_flags(result, size) | flag_if(out, kCarryFlag) |
                        flag_if(out != is_negative(result, size), kOverflowFlag)};
}

Computed shift_right(uint64_t value, unsigned count, bool /*carry*/, unsigned size) {
    const uint64_t result = value >> count;
    const bool out = ((value >> (count - 1)) & 1) != 0;
    return {result, result_flags(result, size) | flag_if(out, kCarryFlag) |
                        flag_if(is_negative(value, size), kOverflowFlag)};
}

Computed shift_right_arithmetic(uint64_t value, unsigned count, bool /*carry*/, unsigned size) {
    const auto extended = static_cast<int64_t>(sign_extend(value, size));
    const uint64_t result = static_cast<uint64_t>(extended >> count) & mask_of(size);
    const bool out = ((extended >> (count - 1)) & 1) != 0;
    return {result, result_flags(result, size) | flag_if(out, kCarryFlag)};
}

Computed rotate_left(uint64_t value, unsigned count, bool /*carry*/, unsigned size) {
    const unsigned bits = 8 * size;
    const unsigned steps = count % bits;
    const uint64_t result =
        steps == 0 ? value : ((value << steps) | (value >> (bits - steps))) & mask_of(size);
    const bool out = (result & 1) != 0;
    return {result,
            flag_if(out, kCarryFlag) | flag_if(out != is_negative(result, size), kOverflowFlag)};
}

Computed rotate_right(uint64_t value, unsigned count, bool /*carry*/, unsigned size) {
    const unsigned bits = 8 * size;
    const unsigned steps = count % bits;
    const uint64_t result =
        steps == 0 ? value : ((value >> steps) | (value << (bits - steps))) & mask_of(size);
    const bool out = is_negative(result, size);
    const bool next = ((result >> (bits - 2)) & 1) != 0;
    return {result, flag_if(out, kCarryFlag) | flag_if(out != next, kOverflowFlag)};
}

Computed rotate_carry_left(uint64_t value, unsigned count, bool carry, unsigned size) {
    uint64_t result = value;
    bool out = carry;
    for (unsigned step = count % (8 * size + 1); step > 0; --step) {
        const bool top = is_negative(result, size);
        result = ((result << 1) | (out ? 1 : 0)) & mask_of(size);
        out = top;
    }
    return {result,
            flag_if(out, kCarryFlag) | flag_if(out != is_negative(result, size), kOverflowFlag)};
}

Computed rotate_carry_right(uint64_t value, unsigned count, bool carry, unsigned size) {
    const unsigned bits = 8 * size;
    uint64_t result = value;
    bool out = carry;
    for (unsigned step = count % (bits + 1); step > 0; --step) {
        const bool bottom = (result & 1) != 0;
        result = (result >> 1) | (uint64_t{out} << (bits - 1));
        out = bottom;
    }
    const bool next = ((result >> (bits - 2)) & 1) != 0;
    return {result,
            flag_if(out, kCarryFlag) | flag_if(is_negative(result, size) != next, kOverflowFlag)};
}

Computed double_shift_left(uint64_t value, uint64_t fill, unsigned count, unsigned size) {
    const unsigned bits = 8 * size;
    // A 16-bit shift by more than 16 is undefined; it goes round here.
    const unsigned steps = count > bits ? count - bits : count;
    const uint64_t source = count > bits ? fill : value;
    const uint64_t incoming = count > bits ? value : fill;
    const uint64_t shifted = steps == bits ? 0 : source << steps;
    const uint64_t result = (shifted | (incoming >> (bits - steps))) & mask_of(size);
    const bool out = ((source >> (bits - steps)) & 1) != 0;
    const bool overflow = is_negative(result ^ value, size);
    return {result, result_flags(result, size) | flag_if(out, kCarryFlag) |
                        flag_if(overflow, kOverflowFlag)};
}

Computed double_shift_right(uint64_t value, uint64_t fill, unsigned count, unsigned size) {
    const unsigned bits = 8 * size;
    const unsigned steps = count > bits ? count - bits : count;
    const uint64_t source = count > bits ? fill : value;
    const uint64_t incoming = count > bits ? value : fill;
    const uint64_t shifted = steps == bits ? 0 : source >> steps;
    const uint64_t result = (shifted | (incoming << (bits - steps))) & mask_of(size);
    const bool out = ((source >> (steps - 1)) & 1) != 0;
    const bool overflow = is_negative(result ^ value, size);
    return {result, result_flags(result, size) | flag_if(out, kCarryFlag) |
                        flag_if(overflow, kOverflowFlag)};
}

bool condition_holds(unsigned condition, uint64_t rflags) {
    const auto is_set = [rflags](uint64_t flags) { return (rflags & flags) != 0; };
    const bool less = is_set(kSignFlag) != is_set(kOverflowFlag);
    // In the order of the encoding; an odd number is the opposite of the one before.
    const bool holds[] = {is_set(kOverflowFlag),
                          is_set(kCarryFlag),
                          is_set(kZeroFlag),
                          is_set(kCarryFlag | kZeroFlag),
                          is_set(kSignFlag),
                          is_set(kParityFlag),
                          less,
                          less || is_set(kZeroFlag)};
    return holds[(condition & 15) / 2] != (condition % 2 != 0);
}

}  // namespace halcyon::mshv::executor
