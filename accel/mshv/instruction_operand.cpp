// Execution: operands in registers, the stack, branches, and what switches vectors off.
#include "accel/mshv/instruction_execution.h"

namespace halcyon::mshv::executor {

namespace {

/// A general register or a part of one.
struct RegisterPart {
    unsigned index = 0;
    unsigned size = 0;  ///< 0: not a general register
    unsigned shift = 0;
};

/// Zydis numbers the registers of a size in the order of their encoding; of the bytes, AH to BH
/// follow BL, and SPL follows BH.
RegisterPart part_of(ZydisRegister reg) {
    const auto within = [reg](ZydisRegister first, ZydisRegister last) {
        return reg >= first && reg <= last;
    };
    const auto from = [reg](ZydisRegister first) { return static_cast<unsigned>(reg - first); };
    if (within(ZYDIS_REGISTER_RAX, ZYDIS_REGISTER_R15)) {
        return {from(ZYDIS_REGISTER_RAX), 8};
    }
    if (within(ZYDIS_REGISTER_EAX, ZYDIS_REGISTER_R15D)) {
        return {from(ZYDIS_REGISTER_EAX), 4};
    }
    if (within(ZYDIS_REGISTER_AX, ZYDIS_REGISTER_R15W)) {
        return {from(ZYDIS_REGISTER_AX), 2};
    }
    if (within(ZYDIS_REGISTER_AL, ZYDIS_REGISTER_BL)) {
        return {from(ZYDIS_REGISTER_AL), 1};
    }
    if (within(ZYDIS_REGISTER_AH, ZYDIS_REGISTER_BH)) {
        return {from(ZYDIS_REGISTER_AH), 1, 8};
    }
    if (within(ZYDIS_REGISTER_SPL, ZYDIS_REGISTER_R15B)) {
        return {from(ZYDIS_REGISTER_SPL) + kRsp, 1};
    }
    return {};
}

bool is_segment(ZydisRegister reg) {
    return reg >= ZYDIS_REGISTER_ES && reg <= ZYDIS_REGISTER_GS;
}

Segment segment_of(ZydisRegister reg) {
    return is_segment(reg) ? static_cast<Segment>(reg - ZYDIS_REGISTER_ES) : Segment::kDs;
}

/// ModRM and SIB say that there is a displacement and no base, whatever REX.B is (Intel SDM 2A
/// table 2-5). Zydis 4.0 takes R13 for the base if REX.B is set.
bool lacks_base(const ZydisDecodedInstruction& instruction) {
    constexpr uint8_t kNoBase = 5;
    return (instruction.attributes & ZYDIS_ATTRIB_HAS_SIB) != 0 && instruction.raw.modrm.mod == 0 &&
           (instruction.raw.sib.base & 7) == kNoBase;
}

}  // namespace

ZydisRegisterClass Execution::register_class(unsigned index) const {
    return operands_[index].type == ZYDIS_OPERAND_TYPE_REGISTER
               ? ZydisRegisterGetClass(operands_[index].reg.value)
               : ZYDIS_REGCLASS_INVALID;
}

uint8_t Execution::repeat_prefix() const {
    uint8_t last = 0;
    for (unsigned i = 0; i < instruction_.raw.prefix_count; ++i) {
        const uint8_t prefix = instruction_.raw.prefixes[i].value;
        last = prefix == 0xf2 || prefix == 0xf3 ? prefix : last;
    }
    return last;
}

Segment Execution::source_segment() const {
    const ZydisInstructionAttributes attributes = instruction_.attributes;
    if ((attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS) != 0) {
        return Segment::kFs;
    }
    if ((attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS) != 0) {
        return Segment::kGs;
    }
    if ((attributes & ZYDIS_ATTRIB_HAS_SEGMENT_CS) != 0) {
        return Segment::kCs;
    }
    if ((attributes & ZYDIS_ATTRIB_HAS_SEGMENT_SS) != 0) {
        return Segment::kSs;
    }
    return (attributes & ZYDIS_ATTRIB_HAS_SEGMENT_ES) != 0 ? Segment::kEs : Segment::kDs;
}

Location Execution::location(unsigned index) const {
    const auto& memory = operands_[index].mem;
    // Bits above the address size do not reach those below: all is added up, then cut.
    auto offset = static_cast<uint64_t>(memory.disp.value);
    if (lacks_base(instruction_)) {
        offset = static_cast<uint64_t>(instruction_.raw.disp.value);
    } else if (memory.base == ZYDIS_REGISTER_RIP || memory.base == ZYDIS_REGISTER_EIP) {
        offset += registers_.rip + instruction_.length;
    } else if (memory.base != ZYDIS_REGISTER_NONE) {
        offset += registers_.gpr[part_of(memory.base).index];
    }
    if (memory.index != ZYDIS_REGISTER_NONE) {
        offset += registers_.gpr[part_of(memory.index).index] * memory.scale;
    }
    return {segment_of(memory.segment), offset & address_mask()};
}

uint64_t Execution::get(unsigned index) {
    const ZydisDecodedOperand& operand = operands_[index];
    switch (operand.type) {
        case ZYDIS_OPERAND_TYPE_REGISTER:
            return read_register(operand.reg.value);
        case ZYDIS_OPERAND_TYPE_MEMORY:
            return load(location(index), size(index));
        case ZYDIS_OPERAND_TYPE_IMMEDIATE:
            return operand.imm.value.u;
        case ZYDIS_OPERAND_TYPE_POINTER:
        case ZYDIS_OPERAND_TYPE_UNUSED:
            break;
    }
    unsupported();
    return 0;
}

uint64_t Execution::get_for_update(unsigned index) {
    if (is_memory(index)) {
        check_write(location(index), size(index));
    }
    return get(index);
}

void Execution::set(unsigned index, uint64_t value) {
    if (is_memory(index)) {
        store(location(index), size(index), value);
    } else if (operands_[index].type == ZYDIS_OPERAND_TYPE_REGISTER) {
        write_register(operands_[index].reg.value, value);
    } else {
        unsupported();
    }
}

uint64_t Execution::read_register(ZydisRegister reg) {
    if (is_segment(reg)) {
        return segment(segment_of(reg)).selector;
    }
    const RegisterPart part = part_of(reg);
    if (part.size == 0) {
        unsupported();
        return 0;
    }
    return (registers_.gpr[part.index] >> part.shift) & mask_of(part.size);
}

void Execution::write_register(ZydisRegister reg, uint64_t value) {
    const RegisterPart part = part_of(reg);
    if (is_segment(reg)) {
        load_segment(segment_of(reg), static_cast<uint16_t>(value));
    } else if (part.size == 0) {
        unsupported();
    } else if (part.shift != 0) {
        uint64_t& whole = registers_.gpr[part.index];
        whole = (whole & ~(mask_of(1) << part.shift)) | ((value & mask_of(1)) << part.shift);
    } else {
        set_gpr(part.index, part.size, value);
    }
}

void Execution::set_gpr(unsigned index, unsigned size, uint64_t value) {
    uint64_t& whole = registers_.gpr[index];
    whole = size >= 4 ? value & mask_of(size) : (whole & ~mask_of(size)) | (value & mask_of(size));
}

/// Without descriptors the selector makes the base; limit and rights stay.
void Execution::load_segment(Segment which, uint16_t selector) {
    if (!mode_.real && !mode_.virtual8086) {
        unsupported();
    } else if (!stopped_) {
        segment(which).selector = selector;
        segment(which).base = uint64_t{selector} << 4;
    }
}

void Execution::push(unsigned size, uint64_t value) {
    const uint64_t pointer = (gpr(kRsp) - size) & mode_.stack_mask;
    store({Segment::kSs, pointer}, size, value);
    registers_.gpr[kRsp] = (gpr(kRsp) & ~mode_.stack_mask) | pointer;
}

uint64_t Execution::pop(unsigned size) {
    const uint64_t pointer = gpr(kRsp) & mode_.stack_mask;
    const uint64_t value = load({Segment::kSs, pointer}, size);
    registers_.gpr[kRsp] = (gpr(kRsp) & ~mode_.stack_mask) | ((pointer + size) & mode_.stack_mask);
    return value;
}

uint64_t Execution::next_rip() const {
    return linear_after(registers_.rip, instruction_.length);
}

void Execution::branch(uint64_t target, unsigned size) {
    const uint64_t rip = target & mask_of(size);
    if (mode_.long64 ? !canonical(rip) : rip > registers_.cs.limit) {
        raise(Vector::kProtection);
    }
    target_ = rip;
}

void Execution::require_vectors() {
    if ((registers_.cr0 & kCr0Emulation) != 0 || (registers_.cr4 & kCr4SaveExtended) == 0) {
        raise(Vector::kUndefinedOpcode);
    } else if ((registers_.cr0 & kCr0TaskSwitched) != 0) {
        raise(Vector::kNoDevice);
    }
}

void Execution::require_mmx() {
    if (bus_.mmx() == nullptr) {
        unsupported();
    } else if ((registers_.cr0 & kCr0Emulation) != 0) {
        raise(Vector::kUndefinedOpcode);
    } else if ((registers_.cr0 & kCr0TaskSwitched) != 0) {
        raise(Vector::kNoDevice);
    }
}

}  // namespace halcyon::mshv::executor
