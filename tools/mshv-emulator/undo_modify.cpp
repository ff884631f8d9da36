/// Stores of instructions that read what they overwrite.
#include <algorithm>
#include <cstring>

#include "tools/mshv-emulator/undo_question.h"

namespace halcyon::emulator {

namespace {

constexpr uint64_t kCarry = 1U << 0;
constexpr uint64_t kZero = 1U << 6;

/// The access's data as a number: what was stored, of at most 8 bytes.
uint64_t stored(const GuestAccess& access) {
    uint64_t value = 0;
    std::memcpy(&value, access.data.data(), std::min<size_t>(access.size, sizeof(value)));
    return value;
}

void set_register(const Question& q, Store& store, uint64_t value) {
    const ZydisRegister name = q.decoded.operands[1].reg.value;
    const bool high = name >= ZYDIS_REGISTER_AH && name <= ZYDIS_REGISTER_BH;
    const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, name);
    __u64& target = general(store.before, static_cast<unsigned>(high ? name - ZYDIS_REGISTER_AH
                                                                     : whole - ZYDIS_REGISTER_RAX));
    std::memcpy(reinterpret_cast<uint8_t*>(&target) + (high ? 1 : 0), &value, store.size);
}

/// ADC and SBB: the carry they must have found.
bool find_carry(const Question& q, Store& store, uint64_t without) {
    const uint64_t mask = OperandView::address_mask(store.size * 8);
    const bool adds = q.decoded.instruction.mnemonic == ZYDIS_MNEMONIC_ADC;
    const uint64_t with = adds ? without + 1 : without - 1;
    const uint64_t result = stored(q.access) & mask;
    if (result != (without & mask) && result != (with & mask)) {
        return false;
    }
    store.before.rflags &= ~kCarry;
    store.before.rflags |= result == (with & mask) ? kCarry : 0;
    set_value(store, result);
    return true;
}

}  // namespace

bool read_modify_write(const Question& q, Store& store) {
    const auto old = read_integer(q.source, store.linear, store.size);
    if (!old || q.access.size != store.size) {
        return false;
    }
    const uint64_t operand = second_operand(q).value_or(0);
    switch (q.decoded.instruction.mnemonic) {
        case ZYDIS_MNEMONIC_ADD:
            set_value(store, *old + operand);
            return true;
        case ZYDIS_MNEMONIC_SUB:
            set_value(store, *old - operand);
            return true;
        case ZYDIS_MNEMONIC_ADC:
            return find_carry(q, store, *old + operand);
        case ZYDIS_MNEMONIC_SBB:
            return find_carry(q, store, *old - operand);
        case ZYDIS_MNEMONIC_AND:
            set_value(store, *old & operand);
            return true;
        case ZYDIS_MNEMONIC_OR:
            set_value(store, *old | operand);
            return true;
        case ZYDIS_MNEMONIC_XOR:
            set_value(store, *old ^ operand);
            return true;
        case ZYDIS_MNEMONIC_INC:
            set_value(store, *old + 1);
            return true;
        case ZYDIS_MNEMONIC_DEC:
            set_value(store, *old - 1);
            return true;
        case ZYDIS_MNEMONIC_NEG:
            set_value(store, 0 - *old);
            return true;
        case ZYDIS_MNEMONIC_NOT:
            set_value(store, ~*old);
            return true;
        case ZYDIS_MNEMONIC_XCHG:
            set_register(q, store, stored(q.access));
            return operand == *old;
        case ZYDIS_MNEMONIC_XADD:
            set_register(q, store, stored(q.access) - *old);
            return operand == *old;
        case ZYDIS_MNEMONIC_CMPXCHG:
            set_value(store, operand);
            // A comparison that fails overwrites RAX, and stores what was there.
            return (q.after.rflags & kZero) != 0;
        case ZYDIS_MNEMONIC_CMPXCHG8B:
        case ZYDIS_MNEMONIC_CMPXCHG16B:
            return false;
        default:
            return true;
    }
}

}  // namespace halcyon::emulator
