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

// The opcode maps (Intel SDM 2D, tables ), a part in each function.

void SoftCpu::execute_own_one_byte() {
    if (insn_.opcode < 0x80) {
        own_one_byte_00();
    } else if (insn_.opcode < 0xc0) {
        own_one_byte_80();
    } else if (insn_.opcode < 0xe0) {
        own_one_byte_c0();
    } else {
        own_one_byte_e0();
    }
}

void SoftCpu::own_one_byte_00() {
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
            return push_all();
        case 0x61:
            return pop_all();
        case 0x62:
            return bound();
        case 0x63:
            return adjust_privilege();
    }
    if (within(opcode, 0x70, 0x7f)) {
        jump_short(condition(opcode & 0xf));
    } else if (within(opcode, 0x6c, 0x6f)) {
        string_instruction();
    } else {
        fault(kInvalidOpcode);
    }
}

void SoftCpu::own_one_byte_80() {
    const uint8_t opcode = insn_.opcode;
    switch (opcode) {
        case 0x8e:
            return move_to_segment();
        case 0x8f:
            return pop_operand();
        case 0x90:
            return host_.spin_hint();
        case 0x9a:
            return far_direct(true);
        case 0x9b:
            return coprocessor();
        case 0x9c:
            return push_flags();
        case 0x9d:
            return pop_flags();
        case 0x9e:  // SAHF
            flags() = (flags() & ~0xffU) | (read_register(4, 1) & 0xd5) | kAlwaysOne;
            return;
        case 0x9f:  // LAHF
            return write_register(4, 1, flags() & 0xff);
    }
    if (within(opcode, 0xa4, 0xa7) || within(opcode, 0xaa, 0xaf)) {
        string_instruction();
    } else if (within(opcode, 0xa0, 0xa3)) {
        move_offset();
    } else {
        fault(kInvalidOpcode);
    }
}

void SoftCpu::own_one_byte_c0() {
    const uint8_t opcode = insn_.opcode;
    switch (opcode) {
        case 0xc2:
            return near_return(next16());
        case 0xc3:
            return near_return(0);
        case 0xc4:
            return load_far_pointer(kEs);
        case 0xc5:
            return load_far_pointer(kDs);
        case 0xc8:
            return enter();
        case 0xca:
            return far_return(next16());
        case 0xcb:
            return far_return(0);
        case 0xcc:
            return software_interrupt(kBreakpoint);
        case 0xcd:
            return software_interrupt(next8());
        case 0xce:  // INTO
            return (flags() & kOverflow) != 0 ? software_interrupt(kOverflowTrap) : void();
        case 0xcf:
            return interrupt_return();
        case 0xd4:
            return ascii_multiply();
        case 0xd5:
            return ascii_divide();
        case 0xd6:  // SALC
            return write_register(0, 1, (flags() & kCarry) != 0 ? 0xff : 0);
        case 0xd7:
            return translate_byte();
    }
    if (within(opcode, 0xc0, 0xc1) || within(opcode, 0xd0, 0xd3)) {
        shift_group();
    } else if (within(opcode, 0xd8, 0xdf)) {
        coprocessor();
    } else {
        fault(kInvalidOpcode);
    }
}

void SoftCpu::own_one_byte_e0() {
    const uint8_t opcode = insn_.opcode;
    switch (opcode) {
        case 0xe8:
            return near_direct(true);
        case 0xe9:
            return near_direct(false);
        case 0xea:
            return far_direct(false);
        case 0xeb:
            return jump_short(true);
        case 0xf1:
            return software_interrupt(kDebug);
        case 0xf4:
            return halt();
        case 0xf6:
        case 0xf7:
            return insn_.reg < 6 ? fault(kInvalidOpcode) : divide(insn_.reg == 7);
        case 0xfa:
            return change_interrupt_flag(false);
        case 0xfb:
            return change_interrupt_flag(true);
        case 0xff:
            return indirect_transfer();
    }
    if (within(opcode, 0xe0, 0xe3)) {
        loop_instruction();
    } else if (within(opcode, 0xe4, 0xe7) || within(opcode, 0xec, 0xef)) {
        port_instruction();
    } else {
        fault(kInvalidOpcode);
    }
}

void SoftCpu::execute_own_two_byte() {
    const uint8_t opcode = insn_.opcode;
    if (within(opcode, 0x80, 0x8f)) {
        jump_relative(next_operand_signed(), condition(opcode & 0xf));
    } else if (within(opcode, 0x40, 0x4f)) {
        conditional_move();
    } else if (opcode < 0x40) {
        own_two_byte_00();
    } else {
        own_two_byte_a0();
    }
}

void SoftCpu::own_two_byte_00() {
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
    }
    if (!within(opcode, 0x18, 0x1f)) {  // those are hints
        fault(kInvalidOpcode);
    }
}

void SoftCpu::own_two_byte_a0() {
    const uint8_t opcode = insn_.opcode;
    switch (opcode) {
        case 0xa0:
            return push_segment(kFs);
        case 0xa8:
            return push_segment(kGs);
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
    fault(kInvalidOpcode);
}

}  // namespace halcyon
