#include "tools/mshv-emulator/undo_decode.h"

#include "tools/mshv-emulator/undo.h"

namespace halcyon::emulator {

namespace {

constexpr uint64_t kCr0ProtectedMode = 1U << 0;
constexpr uint64_t kRflagsVirtual8086 = 1U << 17;
constexpr uint64_t kEferLongModeActive = 1U << 10;

ZydisMachineMode mode_of(const kvm_regs& regs, const kvm_sregs& sregs) {
    if ((sregs.cr0 & kCr0ProtectedMode) == 0 || (regs.rflags & kRflagsVirtual8086) != 0) {
        return ZYDIS_MACHINE_MODE_REAL_16;
    }
    if ((sregs.efer & kEferLongModeActive) != 0 && sregs.cs.l != 0) {
        return ZYDIS_MACHINE_MODE_LONG_64;
    }
    return sregs.cs.db != 0 ? ZYDIS_MACHINE_MODE_LEGACY_32 : ZYDIS_MACHINE_MODE_LEGACY_16;
}

/// BT, BTC, BTR, BTS with a register count bits from the operand's address.
bool has_bit_offset(ZydisMnemonic mnemonic) {
    return mnemonic == ZYDIS_MNEMONIC_BT || mnemonic == ZYDIS_MNEMONIC_BTC ||
           mnemonic == ZYDIS_MNEMONIC_BTR || mnemonic == ZYDIS_MNEMONIC_BTS;
}

int64_t sign_extended(uint64_t value, unsigned bits) {
    if (bits >= 64) {
        return static_cast<int64_t>(value);
    }
    const uint64_t sign = uint64_t{1} << (bits - 1);
    return static_cast<int64_t>(((value & ((sign << 1) - 1)) ^ sign) - sign);
}

}  // namespace

__u64& general(kvm_regs& regs, unsigned encoding) {
    __u64* const order[16] = {&regs.rax, &regs.rcx, &regs.rdx, &regs.rbx, &regs.rsp, &regs.rbp,
                              &regs.rsi, &regs.rdi, &regs.r8,  &regs.r9,  &regs.r10, &regs.r11,
                              &regs.r12, &regs.r13, &regs.r14, &regs.r15};
    return *order[encoding & 15U];
}

uint64_t general(const kvm_regs& regs, unsigned encoding) {
    return general(const_cast<kvm_regs&>(regs), encoding);
}

uint64_t code_address(const kvm_regs& regs, const kvm_sregs& sregs) {
    return OperandView(regs, sregs).code(regs.rip);
}

const ZydisDecodedOperand* Decoded::memory_operand(ZydisOperandActions actions) const {
    for (size_t i = 0; i < instruction.operand_count; ++i) {
        const ZydisDecodedOperand& operand = operands[i];
        if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.type == ZYDIS_MEMOP_TYPE_MEM &&
            (operand.actions & actions) != 0) {
            return &operand;
        }
    }
    return nullptr;
}

bool Decoded::has_rep() const {
    return (instruction.attributes &
            (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPZ |
             ZYDIS_ATTRIB_HAS_REPNE | ZYDIS_ATTRIB_HAS_REPNZ)) != 0;
}

OperandView::OperandView(const kvm_regs& regs, const kvm_sregs& sregs)
    : sregs_(&sregs), mode_(mode_of(regs, sregs)), decoder_{} {
    const bool wide = mode_ == ZYDIS_MACHINE_MODE_LONG_64;
    const bool narrow =
        mode_ == ZYDIS_MACHINE_MODE_REAL_16 || mode_ == ZYDIS_MACHINE_MODE_LEGACY_16;
    ZydisDecoderInit(&decoder_, mode_,
                     wide     ? ZYDIS_STACK_WIDTH_64
                     : narrow ? ZYDIS_STACK_WIDTH_16
                              : ZYDIS_STACK_WIDTH_32);
}

bool OperandView::decode(const uint8_t* bytes, size_t size, Decoded& result) const {
    return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder_, bytes, size, &result.instruction,
                                               result.operands.data()));
}

size_t OperandView::length(const uint8_t* bytes, size_t size) const {
    ZydisDecodedInstruction instruction;
    return ZYAN_SUCCESS(
               ZydisDecoderDecodeInstruction(&decoder_, nullptr, bytes, size, &instruction))
               ? instruction.length
               : 0;
}

uint64_t OperandView::address_mask(unsigned width) {
    return width >= 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1;
}

unsigned OperandView::stack_width() const {
    if (is_long()) {
        return 64;
    }
    return sregs_->ss.db != 0 ? 32 : 16;
}

void OperandView::advance(__u64& value, int64_t delta, unsigned width) {
    const uint64_t mask = address_mask(width);
    value = (value & ~mask) | ((value + static_cast<uint64_t>(delta)) & mask);
}

std::optional<uint64_t> OperandView::value(const kvm_regs& regs, ZydisRegister name) const {
    const auto in = [name](ZydisRegister first, ZydisRegister last) {
        return name >= first && name <= last;
    };
    if (in(ZYDIS_REGISTER_AH, ZYDIS_REGISTER_BH)) {
        return general(regs, static_cast<unsigned>(name - ZYDIS_REGISTER_AH)) >> 8 & 0xff;
    }
    if (in(ZYDIS_REGISTER_ES, ZYDIS_REGISTER_GS)) {
        const kvm_segment* const order[] = {&sregs_->es, &sregs_->cs, &sregs_->ss,
                                            &sregs_->ds, &sregs_->fs, &sregs_->gs};
        return order[name - ZYDIS_REGISTER_ES]->selector;
    }
    const unsigned width = ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, name);
    if (in(ZYDIS_REGISTER_FLAGS, ZYDIS_REGISTER_RFLAGS)) {
        return regs.rflags & address_mask(width);
    }
    const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, name);
    if (whole < ZYDIS_REGISTER_RAX || whole > ZYDIS_REGISTER_R15) {
        return std::nullopt;
    }
    return general(regs, static_cast<unsigned>(whole - ZYDIS_REGISTER_RAX)) & address_mask(width);
}

uint64_t OperandView::segment_base(ZydisRegister name) const {
    switch (name) {
        case ZYDIS_REGISTER_FS:
            return sregs_->fs.base;
        case ZYDIS_REGISTER_GS:
            return sregs_->gs.base;
        default:
            break;
    }
    if (is_long()) {
        return 0;
    }
    switch (name) {
        case ZYDIS_REGISTER_ES:
            return sregs_->es.base;
        case ZYDIS_REGISTER_CS:
            return sregs_->cs.base;
        case ZYDIS_REGISTER_SS:
            return sregs_->ss.base;
        default:
            return sregs_->ds.base;
    }
}

uint64_t OperandView::to_linear(uint64_t base, uint64_t offset) const {
    return is_long() ? base + offset : (base + offset) & 0xffffffff;
}

uint64_t OperandView::stack(const kvm_regs& regs, int64_t offset) const {
    const uint64_t mask = address_mask(stack_width());
    return to_linear(segment_base(ZYDIS_REGISTER_SS),
                     (regs.rsp + static_cast<uint64_t>(offset)) & mask);
}

uint64_t OperandView::code(uint64_t offset) const {
    return is_long() ? offset : to_linear(sregs_->cs.base, offset & 0xffffffff);
}

std::optional<uint64_t> OperandView::linear(const kvm_regs& regs, const Decoded& decoded,
                                            const ZydisDecodedOperand& operand,
                                            uint64_t next_rip) const {
    const auto part = [&](ZydisRegister name) -> std::optional<uint64_t> {
        if (name == ZYDIS_REGISTER_NONE) {
            return 0;
        }
        if (name == ZYDIS_REGISTER_RIP || name == ZYDIS_REGISTER_EIP) {
            return next_rip;
        }
        return value(regs, name);
    };
    const auto base = part(operand.mem.base);
    const auto index = part(operand.mem.index);
    if (!base || !index) {
        return std::nullopt;
    }
    uint64_t offset =
        *base + *index * operand.mem.scale + static_cast<uint64_t>(operand.mem.disp.value);
    const ZydisDecodedOperand& second = decoded.operands[1];
    if (has_bit_offset(decoded.instruction.mnemonic) && operand.id == 0 &&
        second.type == ZYDIS_OPERAND_TYPE_REGISTER) {
        const auto bits = value(regs, second.reg.value);
        const int64_t units = sign_extended(bits.value_or(0), operand.size) / operand.size -
                              (sign_extended(bits.value_or(0), operand.size) % operand.size < 0);
        offset += static_cast<uint64_t>(units * (operand.size / 8));
    }
    // The stack's own operand has no address size; others wrap in theirs.
    const bool is_stack =
        operand.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
        (operand.mem.base == ZYDIS_REGISTER_RSP || operand.mem.base == ZYDIS_REGISTER_ESP ||
         operand.mem.base == ZYDIS_REGISTER_SP);
    offset &= address_mask(is_stack ? stack_width() : decoded.instruction.address_width);
    return to_linear(segment_base(operand.mem.segment), offset);
}

}  // namespace halcyon::emulator
