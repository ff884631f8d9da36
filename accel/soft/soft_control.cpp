// SoftCpu: near and far transfers, software interrupts and returns, flags (Intel SDM 2, 3A 5.8).
#include "accel/soft/soft_cpu.h"

namespace halcyon {

uint32_t SoftCpu::next_ip() const {
    const uint32_t next = ip() + insn_.next;
    return code32() ? next : (ip() & 0xffff0000) | (next & 0xffff);
}

void SoftCpu::jump_near(uint32_t target) {
    if (!insn_.operand32) {
        target &= 0xffff;
    }
    if (target > limit_[kCs]) {
        return fault(kProtection, 0);
    }
    ip() = target;
    own_jumped_ = true;
}

/// Jumps `displacement` beyond the instruction if `taken`; call it when all is decoded.
void SoftCpu::jump_relative(uint32_t displacement, bool taken) {
    if (taken && !faulted()) {
        jump_near(ip() + insn_.next + displacement);
    }
}

void SoftCpu::jump_short(bool taken) {
    jump_relative(static_cast<uint32_t>(static_cast<int8_t>(next8())), taken);
}

void SoftCpu::near_direct(bool call) {
    const uint32_t displacement = next_operand_signed();
    if (call && !faulted()) {
        push(insn_.operand_size(), next_ip());
    }
    jump_relative(displacement, true);
}

/// CALL and JMP of group 5.
void SoftCpu::indirect_transfer() {
    switch (insn_.reg) {
        case 2:
        case 4: {
            const uint32_t target = read_operand(insn_.operand_size());
            if (insn_.reg == 2) {
                push(insn_.operand_size(), next_ip());
            }
            return faulted() ? void() : jump_near(target);
        }
        case 3:
        case 5:
            return far_indirect(insn_.reg == 3);
    }
    fault(kInvalidOpcode);
}

void SoftCpu::near_return(uint32_t release) {
    const uint32_t target = pop(insn_.operand_size());
    set_stack_pointer(gpr(4) + release);
    jump_near(target);
}

/// LOOPNE LOOPE LOOP JCXZ. The address size chooses the counter.
void SoftCpu::loop_instruction() {
    constexpr unsigned kCount = 1;
    const auto displacement = static_cast<uint32_t>(static_cast<int8_t>(next8()));
    const unsigned size = insn_.address32 ? 4 : 2;
    bool taken = false;
    if (insn_.opcode == 0xe3) {
        taken = read_register(kCount, size) == 0;
    } else {
        const uint32_t left = read_register(kCount, size) - 1;
        write_register(kCount, size, left);
        taken = read_register(kCount, size) != 0;
        if (insn_.opcode != 0xe2) {
            taken = taken && ((flags() & kZero) != 0) == (insn_.opcode == 0xe1);
        }
    }
    jump_relative(displacement, taken);
}

void SoftCpu::far_direct(bool call) {
    const uint32_t target = next_operand();
    const uint16_t selector = next16();
    if (!faulted()) {
        far_transfer(selector, target, call);
    }
}

void SoftCpu::far_indirect(bool call) {
    if (!insn_.memory()) {
        return fault(kInvalidOpcode);
    }
    const unsigned size = insn_.operand_size();
    const uint32_t target = load(insn_.data_segment, insn_.offset, size);
    const uint32_t selector = load(insn_.data_segment, insn_.offset + size, 2);
    if (!faulted()) {
        far_transfer(static_cast<uint16_t>(selector), target, call);
    }
}

void SoftCpu::far_transfer(uint16_t selector, uint32_t target, bool call) {
    const unsigned size = insn_.operand_size();
    Descriptor descriptor;
    if (protected_mode()) {
        const uint32_t error = selector & ~3U;
        if (error == 0 || !read_descriptor(selector, &descriptor)) {
            return fault(kProtection, error);
        }
        if ((descriptor.type() & 0x10) == 0) {
            return unsupported("used a call gate or a task switch");
        }
        const bool allowed = descriptor.is_conforming()
                                 ? descriptor.privilege() <= privilege()
                                 : descriptor.is_code() && (selector & 3) <= privilege() &&
                                       descriptor.privilege() == privilege();
        if (!allowed) {
            return fault(kProtection, error);
        }
        if (!descriptor.present()) {
            return fault(kNotPresent, error);
        }
    }
    if (target > (protected_mode() ? descriptor.limit() : limit_[kCs])) {
        return fault(kProtection, 0);
    }
    if (call) {
        push(size, cpu().seg[kCs].sel);
        push(size, next_ip());
    }
    if (faulted()) {
        return;
    }
    if (protected_mode()) {
        load_code_segment(selector, descriptor, privilege());
    } else {
        load_segment(kCs, selector);
    }
    ip() = target;
    own_jumped_ = true;
}

void SoftCpu::far_return(uint32_t release) {
    const unsigned size = insn_.operand_size();
    const uint32_t target = pop(size);
    const auto selector = static_cast<uint16_t>(pop(size));
    set_stack_pointer(gpr(4) + release);
    if (faulted()) {
        return;
    }
    if (protected_mode()) {
        return protected_return(target, selector, size, release);
    }
    if (target > limit_[kCs]) {
        return fault(kProtection, 0);
    }
    load_segment(kCs, selector);
    ip() = target;
    own_jumped_ = true;
}

void SoftCpu::interrupt_return() {
    const unsigned size = insn_.operand_size();
    if (protected_mode() && (flags() & kNestedTask) != 0) {
        return unsupported("returned from a nested task");
    }
    const uint32_t target = pop(size);
    const auto selector = static_cast<uint16_t>(pop(size));
    const uint32_t value = pop(size);
    if (faulted()) {
        return;
    }
    uint32_t writable = kArithmetic | kTrap | kDirection | kNestedTask;
    if (size == 4) {
        writable |= kResume | kAlignment | kIdentification;
    }
    if (protected_mode()) {
        if (size == 4 && (value & kVirtual8086) != 0 && privilege() == 0) {
            return unsupported("entered virtual-8086 mode");
        }
        writable |= privilege() == 0 ? kIoPrivilege : 0;
        writable |= privilege() <= (flags() & kIoPrivilege) >> 12 ? kInterrupt : 0U;
        protected_return(target, selector, size, 0);
    } else {
        writable |= kIoPrivilege | kInterrupt;
        if (target > limit_[kCs]) {
            return fault(kProtection, 0);
        }
        load_segment(kCs, selector);
        ip() = target;
        own_jumped_ = true;
    }
    if (!faulted()) {
        set_flags(value, writable);
        nmi_blocked_ = false;
        local_ |= kWindowOpens;
    }
}

/// RET far and IRET in protected mode, to the same or an outer privilege level. The stack pointer
/// is already past the return address and `release`.
void SoftCpu::protected_return(uint32_t target, uint16_t selector, unsigned size,
                               uint32_t release) {
    const uint32_t error = selector & ~3U;
    const unsigned level = selector & 3;
    Descriptor descriptor;
    if (error == 0 || !read_descriptor(selector, &descriptor) || level < privilege() ||
        !descriptor.is_code() ||
        (descriptor.is_conforming() ? descriptor.privilege() > level
                                    : descriptor.privilege() != level)) {
        return fault(kProtection, error);
    }
    if (!descriptor.present()) {
        return fault(kNotPresent, error);
    }
    if (target > descriptor.limit()) {
        return fault(kProtection, 0);
    }
    if (level > privilege()) {
        const uint32_t pointer = pop(size);
        const auto stack_selector = static_cast<uint16_t>(pop(size));
        Descriptor stack;
        const uint32_t stack_error = stack_selector & ~3U;
        if (faulted()) {
            return;
        }
        if (stack_error == 0 || !read_descriptor(stack_selector, &stack) ||
            (stack_selector & 3U) != level || !stack.is_writable_data() ||
            stack.privilege() != level) {
            return fault(kProtection, stack_error);
        }
        if (!stack.present()) {
            return fault(kStackFault, stack_error);
        }
        mark_accessed(&stack);
        install_segment(kSs, stack_selector, stack.base(), stack.limit(), stack.access());
        set_stack_pointer(pointer + release);
        load_code_segment(selector, descriptor, level);
        invalidate_outer_segments();
    } else {
        load_code_segment(selector, descriptor, level);
    }
    ip() = target;
    own_jumped_ = true;
}

void SoftCpu::software_interrupt(uint8_t vector) {
    if (faulted()) {
        return;
    }
    ip() = next_ip();  // the return address; a fault on the way puts it back
    own_jumped_ = true;
    deliver(vector, Source::kSoftware, nullptr);
}

void SoftCpu::push_flags() {
    push(insn_.operand_size(), flags() & ~(kResume | kVirtual8086));
}

void SoftCpu::pop_flags() {
    const unsigned size = insn_.operand_size();
    const uint32_t value = pop(size);
    if (faulted()) {
        return;
    }
    uint32_t writable = kArithmetic | kTrap | kDirection | kNestedTask;
    writable |= privilege() == 0 ? kIoPrivilege : 0;
    writable |= privilege() <= (flags() & kIoPrivilege) >> 12 ? kInterrupt : 0U;
    if (size == 4) {
        writable |= kAlignment | kIdentification;
    }
    set_flags(value, writable);
}

void SoftCpu::set_flags(uint32_t value, uint32_t writable) {
    const uint32_t old = flags();
    flags() = (old & ~writable) | (value & writable) | kAlwaysOne;
    if ((flags() & ~old & kInterrupt) != 0) {
        local_ |= kWindowOpens;
    }
}

/// CLI and STI. STI holds interrupts off until after the next instruction.
void SoftCpu::change_interrupt_flag(bool on) {
    if (privilege() > (flags() & kIoPrivilege) >> 12) {
        return fault(kProtection, 0);
    }
    if (!on) {
        flags() &= ~kInterrupt;
    } else if ((flags() & kInterrupt) == 0) {
        flags() |= kInterrupt;
        local_ |= kShadowStarts;
    }
}

void SoftCpu::halt() {
    if (require_supervisor()) {
        ip() = next_ip();
        own_jumped_ = true;
        stop_with(Exit::kHalt);
    }
}

}  // namespace halcyon
