/// The instruction at RIP, and what it is about to do.
#include <algorithm>
#include <array>

#include "tools/mshv-emulator/undo.h"
#include "tools/mshv-emulator/undo_decode.h"
#include "tools/mshv-emulator/undo_match.h"

namespace halcyon::emulator {

namespace {

/// Whether carrying it out again, with other data, leaves what is not in kvm_regs alone.
bool changes_only_general(const Decoded& decoded) {
    for (size_t i = 0; i < decoded.instruction.operand_count; ++i) {
        const ZydisDecodedOperand& operand = decoded.operands[i];
        if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER ||
            (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) == 0) {
            continue;
        }
        switch (ZydisRegisterGetClass(operand.reg.value)) {
            case ZYDIS_REGCLASS_GPR8:
            case ZYDIS_REGCLASS_GPR16:
            case ZYDIS_REGCLASS_GPR32:
            case ZYDIS_REGCLASS_GPR64:
            case ZYDIS_REGCLASS_FLAGS:
            case ZYDIS_REGCLASS_IP:
                break;
            default:
                return false;
        }
    }
    switch (decoded.instruction.meta.category) {
        case ZYDIS_CATEGORY_X87_ALU:
        case ZYDIS_CATEGORY_XSAVE:
        case ZYDIS_CATEGORY_XSAVEOPT:
        case ZYDIS_CATEGORY_SSE:
        case ZYDIS_CATEGORY_SYSTEM:
        case ZYDIS_CATEGORY_SYSRET:
        case ZYDIS_CATEGORY_RET:
            return false;
        default:
            return true;
    }
}

std::optional<FoundInstruction::Load> load_of(const Decoded& decoded) {
    const ZydisMnemonic mnemonic = decoded.instruction.mnemonic;
    const bool is_signed = mnemonic == ZYDIS_MNEMONIC_MOVSX || mnemonic == ZYDIS_MNEMONIC_MOVSXD;
    if (mnemonic != ZYDIS_MNEMONIC_MOV && mnemonic != ZYDIS_MNEMONIC_MOVZX && !is_signed) {
        return std::nullopt;
    }
    const ZydisDecodedOperand& to = decoded.operands[0];
    const ZydisDecodedOperand& from = decoded.operands[1];
    if (to.type != ZYDIS_OPERAND_TYPE_REGISTER || from.type != ZYDIS_OPERAND_TYPE_MEMORY) {
        return std::nullopt;
    }
    const bool high = to.reg.value >= ZYDIS_REGISTER_AH && to.reg.value <= ZYDIS_REGISTER_BH;
    const ZydisRegister whole =
        ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, to.reg.value);
    if (!high && (whole < ZYDIS_REGISTER_RAX || whole > ZYDIS_REGISTER_R15)) {
        return std::nullopt;
    }
    return FoundInstruction::Load{
        .gpr = static_cast<uint8_t>(high ? to.reg.value - ZYDIS_REGISTER_AH
                                         : whole - ZYDIS_REGISTER_RAX),
        .high_byte = high,
        .register_size = static_cast<uint8_t>(to.size / 8),
        .memory_size = static_cast<uint8_t>(from.size / 8),
        .is_signed = is_signed};
}

/// Of MOVS, INS, PUSH and POP: where what is read goes.
void find_destination(const OperandView& view, const Decoded& decoded, uint64_t next,
                      FoundInstruction& found) {
    const auto category = decoded.instruction.meta.category;
    const ZydisDecodedOperand* target = decoded.memory_operand(ZYDIS_OPERAND_ACTION_MASK_WRITE);
    if (target == nullptr) {
        return;
    }
    if (category == ZYDIS_CATEGORY_PUSH) {
        found.destination_size = static_cast<uint8_t>(decoded.stack_step());
        found.destination = view.stack(found.regs, -int64_t{found.destination_size});
        return;
    }
    kvm_regs at_store = found.regs;
    if (category == ZYDIS_CATEGORY_POP) {
        OperandView::advance(at_store.rsp, decoded.stack_step(), view.stack_width());
    } else if (!is_string(decoded)) {
        return;
    }
    found.destination_size = static_cast<uint8_t>(target->size / 8);
    found.destination = view.linear(at_store, decoded, *target, next);
}

}  // namespace

std::optional<FoundInstruction> instruction_at(const kvm_regs& regs, const kvm_sregs& sregs,
                                               const GuestAccess& access,
                                               InstructionSource& source) {
    const OperandView view(regs, sregs);
    std::array<uint8_t, kMaxInstructionLength> bytes{};
    const size_t there = source.read(view.code(regs.rip), bytes.data(), bytes.size());
    Decoded decoded;
    if (!view.decode(bytes.data(), there, decoded)) {
        return std::nullopt;
    }
    const uint64_t next = regs.rip + decoded.instruction.length;
    FoundInstruction found{.regs = regs, .length = decoded.instruction.length};
    found.is_string = is_string(decoded);
    found.has_rep = found.is_string && decoded.has_rep();
    found.changes_other_state = !changes_only_general(decoded);
    found.uses_vectors = uses_vectors(decoded);
    found.load = load_of(decoded);
    find_destination(view, decoded, next, found);
    if (access.space == GuestAccess::Space::kPort) {
        found.is_whole = true;
        if (access.is_write && !is_out(view, decoded, regs, access) && !found.is_string) {
            return std::nullopt;
        }
        return found;
    }
    const auto wanted =
        access.is_write ? ZYDIS_OPERAND_ACTION_MASK_WRITE : ZYDIS_OPERAND_ACTION_MASK_READ;
    for (size_t i = 0; i < decoded.instruction.operand_count && !found.linear; ++i) {
        const ZydisDecodedOperand& operand = decoded.operands[i];
        if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.type != ZYDIS_MEMOP_TYPE_MEM ||
            (operand.actions & wanted) == 0) {
            continue;
        }
        const auto linear = view.linear(regs, decoded, operand, next);
        if (linear &&
            is_part_of(access, *linear, operand.size / 8U, nullptr, 0, source, found.is_whole)) {
            found.linear = linear;
        }
    }
    return found;
}

std::optional<MemoryOperand> find_operand(const kvm_regs& regs, const kvm_sregs& sregs,
                                          InstructionSource& source,
                                          const std::function<bool(const MemoryOperand&)>& wanted) {
    const OperandView view(regs, sregs);
    std::array<uint8_t, kMaxInstructionLength> bytes{};
    const size_t there = source.read(view.code(regs.rip), bytes.data(), bytes.size());
    Decoded decoded;
    if (!view.decode(bytes.data(), there, decoded)) {
        return std::nullopt;
    }
    const uint64_t next = regs.rip + decoded.instruction.length;
    for (size_t i = 0; i < decoded.instruction.operand_count; ++i) {
        const ZydisDecodedOperand& operand = decoded.operands[i];
        if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.type != ZYDIS_MEMOP_TYPE_MEM) {
            continue;
        }
        const auto linear = view.linear(regs, decoded, operand, next);
        const auto gpa = linear ? source.translate(*linear) : std::nullopt;
        if (!gpa) {
            continue;
        }
        const bool reads = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0;
        const MemoryOperand found{.linear = *linear, .gpa = *gpa, .is_write = !reads};
        if (wanted(found)) {
            return found;
        }
    }
    return std::nullopt;
}

}  // namespace halcyon::emulator
