#include "tools/mshv-emulator/undo_store.h"

#include <algorithm>
#include <cstring>

#include "tools/mshv-emulator/undo_question.h"

namespace halcyon::emulator {

namespace {

constexpr uint64_t kCarry = 1U << 0;
constexpr uint64_t kParity = 1U << 2;
constexpr uint64_t kZero = 1U << 6;
constexpr uint64_t kSign = 1U << 7;
constexpr uint64_t kDirection = 1U << 10;
constexpr uint64_t kOverflow = 1U << 11;
/// VM and RF (Intel SDM 2B, PUSHF).
constexpr uint64_t kNotPushed = 3U << 16;

constexpr unsigned kRcx = 1;
constexpr unsigned kRsp = 4;
constexpr unsigned kRsi = 6;
constexpr unsigned kRdi = 7;

bool condition(ZydisMnemonic mnemonic, uint64_t rflags, bool& known) {
    const bool c = (rflags & kCarry) != 0;
    const bool z = (rflags & kZero) != 0;
    const bool s = (rflags & kSign) != 0;
    const bool o = (rflags & kOverflow) != 0;
    const bool p = (rflags & kParity) != 0;
    known = true;
    switch (mnemonic) {
        case ZYDIS_MNEMONIC_SETO:
            return o;
        case ZYDIS_MNEMONIC_SETNO:
            return !o;
        case ZYDIS_MNEMONIC_SETB:
            return c;
        case ZYDIS_MNEMONIC_SETNB:
            return !c;
        case ZYDIS_MNEMONIC_SETZ:
            return z;
        case ZYDIS_MNEMONIC_SETNZ:
            return !z;
        case ZYDIS_MNEMONIC_SETBE:
            return c || z;
        case ZYDIS_MNEMONIC_SETNBE:
            return !c && !z;
        case ZYDIS_MNEMONIC_SETS:
            return s;
        case ZYDIS_MNEMONIC_SETNS:
            return !s;
        case ZYDIS_MNEMONIC_SETP:
            return p;
        case ZYDIS_MNEMONIC_SETNP:
            return !p;
        case ZYDIS_MNEMONIC_SETL:
            return s != o;
        case ZYDIS_MNEMONIC_SETNL:
            return s == o;
        case ZYDIS_MNEMONIC_SETLE:
            return z || s != o;
        case ZYDIS_MNEMONIC_SETNLE:
            return !z && s == o;
        default:
            known = false;
            return false;
    }
}

uint64_t byte_swapped(uint64_t value, unsigned size) {
    return __builtin_bswap64(value) >> (64 - 8 * size);
}

/// MOVS, STOS, OUTS: the registers move after the store, RCX with REP.
std::optional<Store> string_store(const Question& q) {
    const ZydisDecodedInstruction& instruction = q.decoded.instruction;
    const bool is_port = instruction.meta.category == ZYDIS_CATEGORY_IOSTRINGOP;
    const ZydisDecodedOperand* target = q.decoded.memory_operand(
        is_port ? ZYDIS_OPERAND_ACTION_MASK_READ : ZYDIS_OPERAND_ACTION_MASK_WRITE);
    if (target == nullptr) {
        return std::nullopt;
    }
    const ZydisDecodedOperand* from =
        is_port ? target : q.decoded.memory_operand(ZYDIS_OPERAND_ACTION_MASK_READ);
    Store store{.before = q.after, .size = target->size / 8U};
    const unsigned width = instruction.address_width;
    const int64_t step = (q.after.rflags & kDirection) != 0 ? -static_cast<int64_t>(store.size)
                                                            : static_cast<int64_t>(store.size);
    const int64_t elements = is_port ? q.access.count : 1;
    if (from != nullptr) {
        OperandView::advance(general(store.before, kRsi), -step * elements, width);
    }
    if (!is_port) {
        OperandView::advance(general(store.before, kRdi), -step, width);
    }
    if (q.decoded.has_rep()) {
        __u64& count = general(store.before, kRcx);
        OperandView::advance(count, elements, width);
        if ((count & OperandView::address_mask(width)) == 0) {
            return std::nullopt;  // none would have been done
        }
    }
    const auto linear = q.view.linear(store.before, q.decoded, *target, q.next);
    if (!linear) {
        return std::nullopt;
    }
    store.linear = *linear;
    if (from == nullptr) {
        set_value(store, general(q.after, 0));
        return store;
    }
    const auto source = q.view.linear(store.before, q.decoded, *from, q.next);
    if (const auto value = read_integer(q.source, source.value_or(0), store.size);
        source && value) {
        set_value(store, *value);
    }
    return store;
}

std::optional<uint64_t> pushed_value(const Question& q, const Store& store) {
    const ZydisDecodedOperand& operand = q.decoded.operands[0];
    switch (q.decoded.instruction.mnemonic) {
        case ZYDIS_MNEMONIC_PUSHF:
        case ZYDIS_MNEMONIC_PUSHFD:
        case ZYDIS_MNEMONIC_PUSHFQ:
            return q.after.rflags & ~kNotPushed;
        case ZYDIS_MNEMONIC_PUSHA:
        case ZYDIS_MNEMONIC_PUSHAD:
            return general(q.after, kRdi);  // the last one: the only one KVM reports
        default:
            break;
    }
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
        return q.view.value(store.before, operand.reg.value);
    }
    if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
        return operand.imm.value.u;
    }
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
        if (const auto linear = q.view.linear(store.before, q.decoded, operand, q.next)) {
            return read_integer(q.source, *linear, store.size);
        }
    }
    return std::nullopt;
}

std::optional<Store> push_store(const Question& q) {
    const ZydisMnemonic mnemonic = q.decoded.instruction.mnemonic;
    const unsigned step = q.decoded.stack_step();
    const bool all = mnemonic == ZYDIS_MNEMONIC_PUSHA || mnemonic == ZYDIS_MNEMONIC_PUSHAD;
    Store store{.before = q.after, .linear = q.view.stack(q.after, 0), .size = step};
    OperandView::advance(general(store.before, kRsp), static_cast<int64_t>(step) * (all ? 8 : 1),
                         q.view.stack_width());
    const ZydisDecodedOperand& operand = q.decoded.operands[0];
    if (!all && operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
        operand.reg.value >= ZYDIS_REGISTER_ES && operand.reg.value <= ZYDIS_REGISTER_GS &&
        q.access.size < step) {
        store.size = 2;  // only the selector is written, of the slot's four bytes
    }
    if (const auto value = pushed_value(q, store)) {
        set_value(store, *value);
    }
    return store;
}

std::optional<Store> pop_store(const Question& q, const ZydisDecodedOperand& target) {
    Store store{.before = q.after, .size = target.size / 8U};
    OperandView::advance(general(store.before, kRsp), -static_cast<int64_t>(q.decoded.stack_step()),
                         q.view.stack_width());
    // RSP in the address is the one after the pop (Intel SDM 2B, POP).
    const auto linear = q.view.linear(q.after, q.decoded, target, q.next);
    if (!linear) {
        return std::nullopt;
    }
    store.linear = *linear;
    if (const auto value = read_integer(q.source, q.view.stack(store.before, 0), store.size)) {
        set_value(store, *value);
    }
    return store;
}

/// A near CALL: RIP is at the target.
std::optional<Store> call_store(const Question& q) {
    const unsigned size = q.decoded.stack_step();
    Store store{.before = q.after, .linear = q.view.stack(q.after, 0), .size = size};
    OperandView::advance(general(store.before, kRsp), size, q.view.stack_width());
    set_value(store, q.next);
    const ZydisDecodedOperand& operand = q.decoded.operands[0];
    const uint64_t mask = OperandView::address_mask(q.decoded.instruction.operand_width);
    std::optional<uint64_t> target;
    if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
        target = q.next + operand.imm.value.u;
    } else if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
        target = q.view.value(store.before, operand.reg.value);
    } else if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
        const auto linear = q.view.linear(store.before, q.decoded, operand, q.next);
        target = linear ? read_integer(q.source, *linear, size) : std::nullopt;
    }
    if (!target || (*target & mask) != (q.after.rip & mask)) {
        return std::nullopt;
    }
    return store;
}

/// The value of MOV and its like; instructions it does not know leave the value unknown.
void plain_value(const Question& q, Store& store) {
    const ZydisMnemonic mnemonic = q.decoded.instruction.mnemonic;
    const ZydisDecodedOperand& from = q.decoded.operands[1];
    bool is_condition = false;
    const bool set = condition(mnemonic, q.after.rflags, is_condition);
    if (is_condition) {
        set_value(store, set ? 1 : 0);
        return;
    }
    if (mnemonic == ZYDIS_MNEMONIC_MOV || mnemonic == ZYDIS_MNEMONIC_MOVNTI) {
        if (const auto value = second_operand(q)) {
            set_value(store, *value);
        }
        return;
    }
    if (mnemonic == ZYDIS_MNEMONIC_MOVBE) {
        set_value(store, byte_swapped(second_operand(q).value_or(0), store.size));
        return;
    }
    if (q.decoded.instruction.operand_count_visible < 2 ||
        from.type != ZYDIS_OPERAND_TYPE_REGISTER ||
        ZydisRegisterGetClass(from.reg.value) != ZYDIS_REGCLASS_XMM ||
        q.decoded.instruction.meta.category != ZYDIS_CATEGORY_DATAXFER) {
        return;
    }
    std::array<uint8_t, 16> xmm{};
    if (from.reg.value > ZYDIS_REGISTER_XMM15 ||
        !q.source.read_xmm(static_cast<unsigned>(from.reg.value - ZYDIS_REGISTER_XMM0), xmm)) {
        return;
    }
    const bool upper = mnemonic == ZYDIS_MNEMONIC_MOVHPS || mnemonic == ZYDIS_MNEMONIC_MOVHPD;
    store.known = std::min<unsigned>(store.size, upper ? 8 : 16);
    std::memcpy(store.value.data(), xmm.data() + (upper ? 8 : 0), store.known);
}

std::optional<Store> general_store(const Question& q) {
    const ZydisDecodedOperand* target = q.decoded.memory_operand(ZYDIS_OPERAND_ACTION_MASK_WRITE);
    if (target == nullptr || target->size == 0 ||
        target->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN) {
        return std::nullopt;  // ENTER, far CALL, INT: not undone
    }
    if (q.decoded.instruction.mnemonic == ZYDIS_MNEMONIC_POP) {
        return pop_store(q, *target);
    }
    Store store{.before = q.after, .size = target->size / 8U};
    const auto linear = q.view.linear(q.after, q.decoded, *target, q.next);
    if (!linear) {
        return std::nullopt;
    }
    store.linear = *linear;
    if ((target->actions & ZYDIS_OPERAND_ACTION_MASK_READ) == 0) {
        plain_value(q, store);
        return store;
    }
    return read_modify_write(q, store) ? std::optional(store) : std::nullopt;
}

}  // namespace

void set_value(Store& store, uint64_t value) {
    store.known = std::min(store.size, 8U);
    std::memcpy(store.value.data(), &value, store.known);
}

std::optional<uint64_t> read_integer(InstructionSource& source, uint64_t linear, unsigned size) {
    uint64_t value = 0;
    if (size > sizeof(value) || source.read(linear, &value, size) != size) {
        return std::nullopt;
    }
    return value;
}

std::optional<uint64_t> second_operand(const Question& q) {
    const ZydisDecodedOperand& operand = q.decoded.operands[1];
    if (q.decoded.instruction.operand_count_visible < 2) {
        return std::nullopt;
    }
    if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
        return operand.imm.value.u;
    }
    return operand.type == ZYDIS_OPERAND_TYPE_REGISTER ? q.view.value(q.after, operand.reg.value)
                                                       : std::nullopt;
}

std::optional<Store> store_of(const OperandView& view, const Decoded& decoded,
                              const kvm_regs& after, uint64_t start, uint64_t next,
                              const GuestAccess& access, InstructionSource& source) {
    const Question question{view, decoded, after, next, access, source};
    const ZydisInstructionCategory category = decoded.instruction.meta.category;
    const bool is_port = access.space == GuestAccess::Space::kPort;
    std::optional<Store> store;
    if (is_port != (category == ZYDIS_CATEGORY_IOSTRINGOP)) {
        return std::nullopt;
    }
    if (category == ZYDIS_CATEGORY_STRINGOP || category == ZYDIS_CATEGORY_IOSTRINGOP) {
        store = string_store(question);
    } else if (category == ZYDIS_CATEGORY_PUSH) {
        store = push_store(question);
    } else if (category == ZYDIS_CATEGORY_CALL) {
        store = decoded.instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_NEAR ||
                        decoded.instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_SHORT
                    ? call_store(question)
                    : std::nullopt;
    } else {
        store = general_store(question);
    }
    if (store) {
        store->before.rip = start;
    }
    return store;
}

}  // namespace halcyon::emulator
