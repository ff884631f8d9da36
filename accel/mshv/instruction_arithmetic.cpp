// Addition, subtraction, logic, comparison, and the exchanges.
#include <cstring>

#include "accel/mshv/instruction_groups.h"

namespace halcyon::mshv::executor {

namespace {

Computed compute(Arithmetic operation, uint64_t left, uint64_t right, bool carry, unsigned size) {
    switch (operation) {
        case Arithmetic::kAdd:
            return add(left, right, false, size);
        case Arithmetic::kAdc:
            return add(left, right, carry, size);
        case Arithmetic::kSub:
        case Arithmetic::kCmp:
            return subtract(left, right, false, size);
        case Arithmetic::kSbb:
            return subtract(left, right, carry, size);
        case Arithmetic::kAnd:
        case Arithmetic::kTest:
            return bitwise_and(left, right, size);
        case Arithmetic::kOr:
            return bitwise_or(left, right, size);
        case Arithmetic::kXor:
            return bitwise_xor(left, right, size);
    }
    return {};
}

uint64_t get_half(std::span<const std::byte> half) {
    uint64_t value = 0;
    std::memcpy(&value, half.data(), half.size());
    return value;
}

void put_half(std::span<std::byte> half, uint64_t value) {
    std::memcpy(half.data(), &value, half.size());
}

}  // namespace

template <Arithmetic Operation>
void arithmetic(Execution& execution) {
    constexpr bool kStores = Operation != Arithmetic::kCmp && Operation != Arithmetic::kTest;
    const unsigned size = execution.size(0);
    const uint64_t left = kStores ? execution.get_for_update(0) : execution.get(0);
    // An immediate comes sign-extended to 64 bits.
    const uint64_t right = execution.get(1) & mask_of(size);
    const Computed result = compute(Operation, left, right, execution.flag(kCarryFlag), size);
    if (kStores) {
        execution.set(0, result.value);
    }
    execution.set_flags(kStatusFlags, result.flags);
}

template void arithmetic<Arithmetic::kAdd>(Execution&);
template void arithmetic<Arithmetic::kAdc>(Execution&);
template void arithmetic<Arithmetic::kSub>(Execution&);
template void arithmetic<Arithmetic::kSbb>(Execution&);
template void arithmetic<Arithmetic::kCmp>(Execution&);
template void arithmetic<Arithmetic::kAnd>(Execution&);
template void arithmetic<Arithmetic::kOr>(Execution&);
template void arithmetic<Arithmetic::kXor>(Execution&);
template void arithmetic<Arithmetic::kTest>(Execution&);

void increment(Execution& execution) {
    const Computed result = add(execution.get_for_update(0), 1, false, execution.size(0));
    execution.set(0, result.value);
    execution.set_flags(kStatusFlags & ~kCarryFlag, result.flags);
}

void decrement(Execution& execution) {
    const Computed result = subtract(execution.get_for_update(0), 1, false, execution.size(0));
    execution.set(0, result.value);
    execution.set_flags(kStatusFlags & ~kCarryFlag, result.flags);
}

void negate(Execution& execution) {
    const Computed result = subtract(0, execution.get_for_update(0), false, execution.size(0));
    execution.set(0, result.value);
    execution.set_flags(kStatusFlags, result.flags);
}

void invert(Execution& execution) {
    execution.set(0, ~execution.get_for_update(0));
}

void exchange(Execution& execution) {
    const uint64_t left = execution.get_for_update(0);
    const uint64_t right = execution.get_for_update(1);
    // Memory first: the address may be made of the register.
    const unsigned first = execution.is_memory(1) ? 1 : 0;
    execution.set(first, first == 0 ? right : left);
    execution.set(1 - first, first == 0 ? left : right);
}

void exchange_add(Execution& execution) {
    const uint64_t left = execution.get_for_update(0);
    const Computed sum = add(left, execution.get(1), false, execution.size(0));
    if (execution.is_memory(0)) {
        execution.set(0, sum.value);
        execution.set(1, left);
    } else {
        execution.set(1, left);
        execution.set(0, sum.value);
    }
    execution.set_flags(kStatusFlags, sum.flags);
}

void compare_exchange(Execution& execution) {
    const unsigned size = execution.size(0);
    const uint64_t found = execution.get_for_update(0);
    const uint64_t expected = execution.gpr(kRax, size);
    const bool equal = found == expected;
    if (equal) {
        execution.set(0, execution.get(1));
    } else {
        if (execution.is_memory(0)) {
            execution.set(0, found);  // memory sees a write either way
        }
        execution.set_gpr(kRax, size, found);
    }
    execution.set_flags(kStatusFlags, subtract(expected, found, false, size).flags);
}

/// CMPXCHG8B and CMPXCHG16B: RDX:RAX against memory, RCX:RBX into it.
void compare_exchange_pair(Execution& execution) {
    const unsigned half = execution.size(0) / 2;
    const Location place = execution.location(0);
    if (half == 8) {
        execution.require_alignment(place, 16);
    }
    std::array<std::byte, 16> data{};
    const std::span<std::byte> pair = std::span(data).first(2 * size_t{half});
    execution.check_write(place, pair.size());
    execution.read(place, pair);
    if (execution.stopped()) {
        return;
    }
    const uint64_t found_low = get_half(pair.first(half));
    const uint64_t found_high = get_half(pair.last(half));
    const bool equal =
        found_low == execution.gpr(kRax, half) && found_high == execution.gpr(kRdx, half);
    if (equal) {
        put_half(pair.first(half), execution.gpr(kRbx, half));
        put_half(pair.last(half), execution.gpr(kRcx, half));
    } else {
        execution.set_gpr(kRax, half, found_low);
        execution.set_gpr(kRdx, half, found_high);
    }
    execution.write(place, pair);
    execution.set_flags(kZeroFlag, equal ? kZeroFlag : 0);
}

}  // namespace halcyon::mshv::executor
