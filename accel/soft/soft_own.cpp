// SoftCpu: which function executes an instruction that the library does not.
#include "accel/soft/soft_cpu.h"

namespace halcyon {

namespace {

constexpr bool within(uint8_t opcode, unsigned first, unsigned last) {
    return opcode >= first && opcode <= last;
}

}  // namespace

void SoftCpu::execute_own() {
    if (insn_.opcode != 0x8f || insn_.two_byte) {  // POP counts from the popped stack pointer
        decode_operand();
    }
    if (faulted()) {
        return;
    }
    own_jumped_ = false;
    if (insn_.two_byte) {
        execute_own_two_byte();
    } else {
        execute_own_one_byte();
    }
    if (!faulted() && !own_jumped_) {
        ip() = next_ip();
    }
}

void SoftCpu::execute_own_one_byte() {
    const uint8_t opcode = insn_.opcode;
    switch (opcode) {
        case 0x06:
        case 0x0e:
        case 0x16:
        case 0x1e:
            return push_segment(opcode >> 3);
        case 0x07:
            return pop_segment(kEs);
        case 0x17:
            return pop_segment(kSs);
        case 0x1f:
            return pop_segment(kDs);
        case 0x27:
        case 0x2f:
            return decimal_adjust(opcode == 0x2f);
        case 0x37:
        case 0x3f:
            return ascii_adjust(opcode == 0x3f);
        case 0x60:
        case 0x61:
            return opcode == 0x60 ? push_all() : pop_all();
        case 0x62:
            return bound();
        case 0x63:
            return adjust_privilege();
        case 0x8e:
            return move_to_segment();
        case 0x8f:
            return pop_operand();
        case 0x90:
            return host_.spin_hint();
        case 0x9a:
        case 0xea:
            return far_direct(opcode == 0x9a);
        case 0x9b:
            return coprocessor();
        case 0x9c:
            return push_flags();
        case 0x9d:
            return pop_flags();
        case 0x9e:
            flags() = (flags() & ~0xffU) | (read_register(4, 1) & 0xd5) | kAlwaysOne;
            return;
        case 0x9f:
            return write_register(4, 1, flags() & 0xff);
        case 0xc2:
        case 0xc3:
            return near_return(opcode == 0xc2 ? next16() : 0);
        case 0xc4:
        case 0xc5:
            return load_far_pointer(opcode == 0xc4 ? kEs : kDs);
        case 0xc8:
            return enter();
        case 0xcc:
            return software_interrupt(kBreakpoint);
        case 0xcd:
            return software_interrupt(next8());
        case 0xce:
            return (flags() & kOverflow) != 0 ? software_interrupt(kOverflowTrap) : void();
        case 0xcf:
            return interrupt_return();
        case 0xd4:
            return ascii_multiply();
        case 0xd5:
            return ascii_divide();
        case 0xd6:
            return write_register(0, 1, (flags() & kCarry) != 0 ? 0xff : 0);
        case 0xd7:
            return translate_byte();
        case 0xf1:
            return software_interrupt(kDebug);
        case 0xf4:
            return halt();
        case 0xfa:
        case 0xfb:
            return change_interrupt_flag(opcode == 0xfb);
        case 0xe8:
        case 0xe9:
            return near_direct(opcode == 0xe8);
        case 0xeb:
            return jump_short(true);
        case 0xff:
            return indirect_transfer();
    }
    if (within(opcode, 0x6c, 0x6f) || within(opcode, 0xa4, 0xa7) || within(opcode, 0xaa, 0xaf)) {
        string_instruction();
    } else if (within(opcode, 0xa0, 0xa3)) {
        move_offset();
    } else if (within(opcode, 0xc0, 0xc1) || within(opcode, 0xd0, 0xd3)) {
        shift_group();
    } else if (within(opcode, 0x70, 0x7f)) {
        jump_short(condition(opcode & 0xf));
    } else if (within(opcode, 0xca, 0xcb)) {
        far_return(opcode == 0xca ? next16() : 0);
    } else if (within(opcode, 0xd8, 0xdf)) {
        coprocessor();
    } else if (within(opcode, 0xe0, 0xe3)) {
        loop_instruction();
    } else if (within(opcode, 0xe4, 0xe7) || within(opcode, 0xec, 0xef)) {
        port_instruction();
    } else if (within(opcode, 0xf6, 0xf7) && insn_.reg >= 6) {
        divide(insn_.reg == 7);
    } else {
        fault(kInvalidOpcode);
    }
}

void SoftCpu::execute_own_two_byte() {
    const uint8_t opcode = insn_.opcode;
    switch (opcode) {
        case 0x00:
            return system_group_0();
        case 0x01:
            return system_group_1();
        case 0x02:
        case 0x03:
            return load_access_rights(opcode == 0x03);
        case 0x06:  // CLTS
            return require_supervisor() ? static_cast<void>(cr0() &= ~8U) : void();
        case 0x08:
        case 0x09:  // INVD, WBINVD: there is no cache
            return static_cast<void>(require_supervisor());
        case 0x20:
        case 0x22:
            return move_control(opcode == 0x22);
        case 0x21:
        case 0x23:
            return move_debug(opcode == 0x23);
        case 0x30:
        case 0x32:
            return model_register(opcode == 0x30);
        case 0x31:
            return read_time_stamp();
        case 0xa0:
        case 0xa8:
            return push_segment(opcode == 0xa0 ? kFs : kGs);
        case 0xa1:
            return pop_segment(kFs);
        case 0xa9:
            return pop_segment(kGs);
        case 0xa2:
            return identify();
        case 0xa3:
        case 0xab:
        case 0xb3:
        case 0xbb:
            return bit_operation((opcode >> 3) & 3, false);
        case 0xba:
            return insn_.reg < 4 ? fault(kInvalidOpcode) : bit_operation(insn_.reg & 3, true);
        case 0xa4:
        case 0xa5:
            return shift_double(true, opcode == 0xa5);
        case 0xac:
        case 0xad:
            return shift_double(false, opcode == 0xad);
        case 0xae:
            return fence_group();
        case 0xb0:
        case 0xb1:
            return compare_exchange();
        case 0xb2:
            return load_far_pointer(kSs);
        case 0xb4:
            return load_far_pointer(kFs);
        case 0xb5:
            return load_far_pointer(kGs);
        case 0xbc:
        case 0xbd:
            return bit_scan(opcode == 0xbd);
        case 0xc0:
        case 0xc1:
            return exchange_add();
        case 0xc7:
            return compare_exchange_8();
    }
    if (within(opcode, 0x80, 0x8f)) {
        jump_relative(next_operand_signed(), condition(opcode & 0xf));
    } else if (within(opcode, 0x40, 0x4f)) {
        conditional_move();
    } else if (!within(opcode, 0x18, 0x1f)) {  // those are hints
        fault(kInvalidOpcode);
    }
}

}  // namespace halcyon
