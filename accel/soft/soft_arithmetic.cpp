// SoftCpu: shifts, rotates, bit, BCD, divide and compare-and-exchange instructions, which the
// library lacks or gets wrong (Intel SDM 2).
#include <bit>
#include <limits>

#include "accel/soft/soft_cpu.h"

namespace halcyon {

namespace {

constexpr unsigned bits(unsigned size) {
    return size * 8;
}

constexpr uint32_t mask(unsigned size) {
    return size == 4 ? 0xffffffff : (1U << bits(size)) - 1;
}

constexpr uint32_t sign_bit(unsigned size) {
    return 1U << (bits(size) - 1);
}

}  // namespace

/// ZF, SF and PF of `result`, and `extra` of CF, OF and AF.
void SoftCpu::set_result_flags(unsigned size, uint32_t result, uint32_t extra) {
    uint32_t value = extra;
    if ((result & mask(size)) == 0) {
        value |= kZero;
    }
    if ((result & sign_bit(size)) != 0) {
        value |= kSign;
    }
    if (std::popcount(result & 0xff) % 2 == 0) {
        value |= kParity;
    }
    flags() = (flags() & ~kArithmetic) | value;
}

uint32_t SoftCpu::add(unsigned size, uint32_t a, uint32_t b) {
    const uint32_t result = (a + b) & mask(size);
    uint32_t extra = result < (a & mask(size)) ? kCarry : 0;
    extra |= ((a ^ result) & (b ^ result) & sign_bit(size)) != 0 ? kOverflow : 0;
    extra |= ((a ^ b ^ result) & 0x10) != 0 ? kAuxiliary : 0;
    set_result_flags(size, result, extra);
    return result;
}

uint32_t SoftCpu::subtract(unsigned size, uint32_t a, uint32_t b) {
    const uint32_t result = (a - b) & mask(size);
    uint32_t extra = (a & mask(size)) < (b & mask(size)) ? kCarry : 0;
    extra |= ((a ^ b) & (a ^ result) & sign_bit(size)) != 0 ? kOverflow : 0;
    extra |= ((a ^ b ^ result) & 0x10) != 0 ? kAuxiliary : 0;
    set_result_flags(size, result, extra);
    return result;
}

void SoftCpu::shift_group() {
    const unsigned size = insn_.size();
    unsigned count = 1;
    if (insn_.opcode < 0xd0) {
        count = next8();
    } else if (insn_.opcode >= 0xd2) {
        count = gpr(1);
    }
    count &= 0x1f;
    const uint32_t value = read_operand(size);
    if (count == 0 || faulted()) {
        return;
    }
    uint32_t result = 0;
    switch (insn_.reg) {
        case 0:
        case 1:
            result = rotate(size, insn_.reg == 0, value, count);
            break;
        case 2:
        case 3:
            result = rotate_carry(size, insn_.reg == 2, value, count);
            break;
        case 4:
        case 6:
            result = shift_left(size, value, count);
            break;
        case 5:
        case 7:
            result = shift_right(size, insn_.reg == 7, value, count);
            break;
    }
    write_operand(size, result);
}

uint32_t SoftCpu::rotate(unsigned size, bool left, uint32_t value, unsigned count) {
    const unsigned by = (left ? count : bits(size) - count % bits(size)) % bits(size);
    const uint32_t result =
        by == 0 ? value : ((value << by) | (value >> (bits(size) - by))) & mask(size);
    const bool top = (result & sign_bit(size)) != 0;
    const bool below_top = (result & (sign_bit(size) >> 1)) != 0;
    const bool carry = left ? (result & 1) != 0 : top;
    const bool overflow = left ? top != carry : top != below_top;
    flags() = (flags() & ~(kCarry | kOverflow)) | (carry ? kCarry : 0) | (overflow ? kOverflow : 0);
    return result;
}

uint32_t SoftCpu::rotate_carry(unsigned size, bool left, uint32_t value, unsigned count) {
    uint32_t carry = flags() & kCarry;
    for (unsigned i = count % (bits(size) + 1); i > 0; --i) {
        if (left) {
            const uint32_t out = (value & sign_bit(size)) != 0 ? 1 : 0;
            value = ((value << 1) | carry) & mask(size);
            carry = out;
        } else {
            const uint32_t out = value & 1;
            value = (value >> 1) | (carry != 0 ? sign_bit(size) : 0);
            carry = out;
        }
    }
    const bool top = (value & sign_bit(size)) != 0;
    const bool below_top = (value & (sign_bit(size) >> 1)) != 0;
    const bool overflow = left ? top != (carry != 0) : top != below_top;
    flags() = (flags() & ~(kCarry | kOverflow)) | carry | (overflow ? kOverflow : 0);
    return value;
}

uint32_t SoftCpu::shift_left(unsigned size, uint32_t value, unsigned count) {
    const uint64_t wide = static_cast<uint64_t>(value) << count;
    const auto result = static_cast<uint32_t>(wide) & mask(size);
    const bool carry = ((wide >> bits(size)) & 1) != 0;
    const bool overflow = ((result & sign_bit(size)) != 0) != carry;
    set_result_flags(size, result, (carry ? kCarry : 0U) | (overflow ? kOverflow : 0U));
    return result;
}

uint32_t SoftCpu::shift_right(unsigned size, bool arithmetic, uint32_t value, unsigned count) {
    const bool negative = (value & sign_bit(size)) != 0;
    uint64_t wide = value;
    if (arithmetic && negative) {
        wide |= ~static_cast<uint64_t>(mask(size));
    }
    const auto result = static_cast<uint32_t>(wide >> count) & mask(size);
    const bool carry = ((wide >> (count - 1)) & 1) != 0;
    const bool overflow = !arithmetic && negative;
    set_result_flags(size, result, (carry ? kCarry : 0U) | (overflow ? kOverflow : 0U));
    return result;
}

void SoftCpu::shift_double(bool left, bool by_cl) {
    const unsigned size = insn_.operand_size();
    const unsigned count = (by_cl ? gpr(1) : next8()) & 0x1f;
    const uint32_t value = read_operand(size);
    const uint32_t filler = read_register(insn_.reg, size);
    if (count == 0 || faulted()) {
        return;
    }
    // The operand, the filler, the operand again: counts above 16 of a word are undefined, and
    // processors show this.
    uint32_t result = 0;
    bool carry = false;
    if (size == 2) {
        const uint64_t ring = left ? (static_cast<uint64_t>(value) << 32) | (filler << 16) | value
                                   : (static_cast<uint64_t>(value) << 32) | (filler << 16) | value;
        if (left) {
            result = static_cast<uint32_t>((ring << count) >> 32) & 0xffff;
            carry = (((ring << count) >> 48) & 1) != 0;
        } else {
            result = static_cast<uint32_t>(ring >> count) & 0xffff;
            carry = ((ring >> (count - 1)) & 1) != 0;
        }
    } else if (left) {
        const uint64_t pair = (static_cast<uint64_t>(value) << 32) | filler;
        result = static_cast<uint32_t>((pair << count) >> 32);
        carry = ((value >> (32 - count)) & 1) != 0;
    } else {
        const uint64_t pair = (static_cast<uint64_t>(filler) << 32) | value;
        result = static_cast<uint32_t>(pair >> count);
        carry = ((pair >> (count - 1)) & 1) != 0;
    }
    const bool overflow = ((result ^ value) & sign_bit(size)) != 0;
    write_operand(size, result);
    set_result_flags(size, result, (carry ? kCarry : 0U) | (overflow ? kOverflow : 0U));
}

void SoftCpu::divide(bool is_signed) {
    const unsigned size = insn_.size();
    const uint32_t divisor = read_operand(size);
    uint64_t dividend = size == 1 ? gpr(0) & 0xffff
                                  : (static_cast<uint64_t>(read_register(2, size)) << bits(size)) |
                                        read_register(0, size);
    if (faulted()) {
        return;
    }
    if (divisor == 0) {
        return fault(kDivideError);
    }
    uint64_t quotient = 0;
    uint64_t remainder = 0;
    bool fits = false;
    if (is_signed) {
        const unsigned unused = 64 - 2 * bits(size);
        const int64_t signed_dividend = static_cast<int64_t>(dividend << unused) >> unused;
        const int64_t signed_divisor =
            static_cast<int64_t>(static_cast<uint64_t>(divisor) << (64 - bits(size))) >>
            (64 - bits(size));
        if (signed_divisor == -1 && signed_dividend == std::numeric_limits<int64_t>::min()) {
            return fault(kDivideError);
        }
        const int64_t signed_quotient = signed_dividend / signed_divisor;
        const int64_t limit = static_cast<int64_t>(sign_bit(size));
        fits = signed_quotient >= -limit && signed_quotient < limit;
        quotient = static_cast<uint64_t>(signed_quotient);
        remainder = static_cast<uint64_t>(signed_dividend % signed_divisor);
    } else {
        quotient = dividend / divisor;
        remainder = dividend % divisor;
        fits = quotient <= mask(size);
    }
    if (!fits) {
        return fault(kDivideError);
    }
    write_register(0, size, static_cast<uint32_t>(quotient));
    write_register(size == 1 ? 4 : 2, size, static_cast<uint32_t>(remainder));
}

/// BT BTS BTR BTC (`kind` 0 to 3). A register operand of the bit offset reaches beyond the memory
/// operand.
void SoftCpu::bit_operation(unsigned kind, bool immediate) {
    const unsigned size = insn_.operand_size();
    uint32_t bit = immediate ? next8() : read_register(insn_.reg, size);
    if (!immediate && insn_.memory()) {
        const int32_t offset = size == 2 ? static_cast<int16_t>(bit) : static_cast<int32_t>(bit);
        insn_.offset +=
            static_cast<uint32_t>((offset >> (size == 2 ? 4 : 5)) * static_cast<int32_t>(size));
        if (!insn_.address32) {
            insn_.offset &= 0xffff;
        }
    }
    bit &= bits(size) - 1;
    const uint32_t value = read_operand(size);
    if (faulted()) {
        return;
    }
    uint32_t result = value;
    switch (kind) {
        case 1:
            result |= 1U << bit;
            break;
        case 2:
            result &= ~(1U << bit);
            break;
        case 3:
            result ^= 1U << bit;
            break;
    }
    if (kind != 0) {
        write_operand(size, result);
    }
    flags() = (flags() & ~kCarry) | ((value >> bit) & 1);
}

void SoftCpu::bit_scan(bool reverse) {
    const unsigned size = insn_.operand_size();
    const uint32_t value = read_operand(size);
    if (faulted()) {
        return;
    }
    if (value == 0) {
        flags() |= kZero;  // the destination stays
        return;
    }
    flags() &= ~kZero;
    const int found = reverse ? 31 - std::countl_zero(value) : std::countr_zero(value);
    write_register(insn_.reg, size, static_cast<uint32_t>(found));
}

void SoftCpu::decimal_adjust(bool subtracting) {
    const uint32_t old = read_register(0, 1);
    const bool old_carry = (flags() & kCarry) != 0;
    const bool low = (old & 0xf) > 9 || (flags() & kAuxiliary) != 0;
    const bool high = old > 0x99 || old_carry;
    uint32_t value = old;
    bool carry = high;
    if (low) {
        value = subtracting ? value - 6 : value + 6;
        carry = carry || (subtracting && old < 6);
    }
    if (high) {
        value = subtracting ? value - 0x60 : value + 0x60;
    }
    write_register(0, 1, value);
    set_result_flags(1, value, (carry ? kCarry : 0U) | (low ? kAuxiliary : 0U));
}

void SoftCpu::ascii_adjust(bool subtracting) {
    uint32_t value = read_register(0, 2);
    const bool adjust = (value & 0xf) > 9 || (flags() & kAuxiliary) != 0;
    if (adjust) {
        value = subtracting ? value - 0x106 : value + 0x106;
    }
    write_register(0, 2, value & 0xff0f);
    flags() = (flags() & ~(kCarry | kAuxiliary)) | (adjust ? kCarry | kAuxiliary : 0);
}

void SoftCpu::ascii_multiply() {
    const uint32_t base = next8();
    if (base == 0 && !faulted()) {
        fault(kDivideError);
    }
    if (faulted()) {
        return;
    }
    const uint32_t value = read_register(0, 1);
    write_register(0, 2, (value / base) << 8 | value % base);
    set_result_flags(1, value % base, 0);
}

void SoftCpu::ascii_divide() {
    const uint32_t base = next8();
    const uint32_t value = (read_register(0, 1) + read_register(4, 1) * base) & 0xff;
    write_register(0, 2, value);
    set_result_flags(1, value, 0);
}

void SoftCpu::exchange_add() {
    const unsigned size = insn_.size();
    const uint32_t old = read_operand(size);
    const uint32_t sum = add(size, old, read_register(insn_.reg, size));
    if (insn_.memory()) {
        write_operand(size, sum);
        if (!faulted()) {
            write_register(insn_.reg, size, old);
        }
    } else {
        write_register(insn_.reg, size, old);
        write_register(insn_.rm, size, sum);
    }
}

void SoftCpu::compare_exchange() {
    const unsigned size = insn_.size();
    const uint32_t old = read_operand(size);
    subtract(size, read_register(0, size), old);
    const bool equal = (flags() & kZero) != 0;
    // The memory operand is written in either case, as by a processor.
    write_operand(size, equal ? read_register(insn_.reg, size) : old);
    if (!equal && !faulted()) {
        write_register(0, size, old);
    }
}

void SoftCpu::compare_exchange_8() {
    if (insn_.reg != 1 || !insn_.memory()) {
        return fault(kInvalidOpcode);
    }
    if (!check_access(insn_.data_segment, insn_.offset, 8, true)) {
        return;
    }
    const uint32_t address = cpu().seg[insn_.data_segment].base + insn_.offset;
    const uint32_t low = load_linear(address, 4);
    const uint32_t high = load_linear(address + 4, 4);
    const bool equal = low == gpr(0) && high == gpr(2);
    store_linear(address, 4, equal ? gpr(3) : low);
    store_linear(address + 4, 4, equal ? gpr(1) : high);
    if (equal) {
        flags() |= kZero;
    } else {
        flags() &= ~kZero;
        gpr(0) = low;
        gpr(2) = high;
    }
}

bool SoftCpu::condition(unsigned code) const {
    const uint32_t value = flags();
    const bool less = ((value & kSign) != 0) != ((value & kOverflow) != 0);
    bool met = false;
    switch (code >> 1) {
        case 0:
            met = (value & kOverflow) != 0;
            break;
        case 1:
            met = (value & kCarry) != 0;
            break;
        case 2:
            met = (value & kZero) != 0;
            break;
        case 3:
            met = (value & (kCarry | kZero)) != 0;
            break;
        case 4:
            met = (value & kSign) != 0;
            break;
        case 5:
            met = (value & kParity) != 0;
            break;
        case 6:
            met = less;
            break;
        case 7:
            met = less || (value & kZero) != 0;
            break;
    }
    return met != ((code & 1) != 0);
}

void SoftCpu::conditional_move() {
    const unsigned size = insn_.operand_size();
    const uint32_t value = read_operand(size);
    if (!faulted() && condition(insn_.opcode & 0xf)) {
        write_register(insn_.reg, size, value);
    }
}

void SoftCpu::bound() {
    if (!insn_.memory()) {
        return fault(kInvalidOpcode);
    }
    const unsigned size = insn_.operand_size();
    const auto as_signed = [size](uint32_t value) {
        return size == 2 ? static_cast<int16_t>(value) : static_cast<int32_t>(value);
    };
    const int32_t index = as_signed(read_register(insn_.reg, size));
    const int32_t lower = as_signed(load(insn_.data_segment, insn_.offset, size));
    const int32_t upper = as_signed(load(insn_.data_segment, insn_.offset + size, size));
    if (!faulted() && (index < lower || index > upper)) {
        fault(kBoundRange);
    }
}

void SoftCpu::translate_byte() {
    constexpr unsigned kBx = 3;
    const uint32_t offset = gpr(kBx) + read_register(0, 1);
    const unsigned segment = insn_.segment == kNoSegment ? kDs : insn_.segment;
    write_register(0, 1, load(segment, insn_.address32 ? offset : offset & 0xffff, 1));
}

/// MOV between the accumulator and an address in the instruction.
void SoftCpu::move_offset() {
    const uint32_t offset = next_address();
    const unsigned segment = insn_.segment == kNoSegment ? kDs : insn_.segment;
    if (insn_.opcode < 0xa2) {
        write_register(0, insn_.size(), load(segment, offset, insn_.size()));
    } else {
        store(segment, offset, insn_.size(), read_register(0, insn_.size()));
    }
}

/// There is no coprocessor, and CPUID says so: without CR0.EM or TS its instructions do nothing,
/// as on any processor without one, and that is how software finds out (FNINIT, then FNSTSW stores
/// nothing).
void SoftCpu::coprocessor() {
    constexpr uint32_t kMonitor = 1U << 1;
    constexpr uint32_t kEmulate = 1U << 2;
    constexpr uint32_t kTaskSwitched = 1U << 3;
    const bool wait = insn_.opcode == 0x9b;
    const uint32_t trapping = wait ? kMonitor | kTaskSwitched : cr0() & (kEmulate | kTaskSwitched);
    if (wait ? (cr0() & trapping) == trapping : trapping != 0) {
        fault(kNoCoprocessor);
    }
}

void SoftCpu::enter() {
    constexpr unsigned kEbp = 5;
    const unsigned size = insn_.operand_size();
    const uint32_t room = next16();
    const unsigned level = next8() & 0x1f;
    push(size, read_register(kEbp, size));
    const uint32_t frame = gpr(4);
    uint32_t outer = gpr(kEbp);
    for (unsigned i = 1; i < level; ++i) {
        outer -= size;
        push(size, load(kSs, outer & stack_mask(), size));
    }
    if (level > 0) {
        push(size, frame);
    }
    write_register(kEbp, size, frame);
    set_stack_pointer(gpr(4) - room);
}

void SoftCpu::push_all() {
    const unsigned size = insn_.operand_size();
    const uint32_t pointer = gpr(4);
    for (unsigned i = 0; i < 8; ++i) {
        push(size, i == 4 ? pointer : gpr(i));
    }
}

void SoftCpu::pop_all() {
    const unsigned size = insn_.operand_size();
    for (unsigned i = 8; i-- > 0;) {
        const uint32_t value = pop(size);
        if (i != 4) {
            write_register(i, size, value);
        }
    }
}

}  // namespace halcyon
