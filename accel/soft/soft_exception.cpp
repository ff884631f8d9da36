// SoftCpu: faults, and delivery through the interrupt vector table or the IDT (Intel SDM 3A
// chapter 6, 20.1.4 for real mode).
#include <utility>

#include "accel/soft/soft_cpu.h"

namespace halcyon {

namespace {

constexpr bool contributory(uint8_t vector) {
    return vector == 0 || (vector >= 10 && vector <= 13);
}

}  // namespace

void SoftCpu::fault(uint8_t vector) {
    if (!fault_.set) {
        fault_ = {.set = true, .vector = vector, .has_error = false, .error = 0};
    }
}

void SoftCpu::fault(uint8_t vector, uint32_t error) {
    if (!fault_.set) {
        fault_ = {.set = true, .vector = vector, .has_error = true, .error = error};
    }
}

/// Delivers a fault, and what its delivery faults with, up to the triple fault.
void SoftCpu::deliver_fault(Fault fault) {
    while (!deliver(fault.vector, Source::kFault, &fault)) {
        if ((local_ & kExitWanted) != 0) {
            return;
        }
        const Fault second = std::exchange(fault_, {});
        if (fault.vector == kDoubleFault) {
            return stop_with(Exit::kTripleFault);
        }
        if (contributory(fault.vector) && contributory(second.vector)) {
            fault = {.set = true, .vector = kDoubleFault, .has_error = true, .error = 0};
        } else {
            fault = second;
        }
    }
}

/// Delivers one event. When that faults, `fault_` says how, and when the target is unsupported,
/// `exit_` does; the registers are as before then.
bool SoftCpu::deliver(uint8_t vector, Source source, const Fault* fault) {
    const Snapshot before{cpu().gen, cpu().spc};
    const SegmentState stack{cpu().seg[kSs], limit_[kSs]};
    const SegmentState code{cpu().seg[kCs], limit_[kCs]};
    if (protected_mode()) {
        deliver_protected(vector, source, fault);
    } else {
        deliver_real(vector);
    }
    if (!fault_.set && (local_ & kExitWanted) == 0) {
        return true;
    }
    cpu().gen = before.general;
    cpu().spc = before.special;
    install_segment(kSs, stack.segment.sel, stack.segment.base, stack.limit, stack.segment.acc);
    install_segment(kCs, code.segment.sel, code.segment.base, code.limit, code.segment.acc);
    return false;
}

void SoftCpu::deliver_real(uint8_t vector) {
    const uint32_t at = vector * 4U;
    if (at + 3 > cpu().idt.limit) {
        return fault(kProtection, at | 2);
    }
    const uint32_t target = load_linear(cpu().idt.base + at, 4);
    push(2, flags());
    push(2, cpu().seg[kCs].sel);
    push(2, ip());
    if (faulted()) {
        return;
    }
    flags() &= ~static_cast<uint32_t>(kInterrupt | kTrap | kAlignment | kResume);
    load_segment(kCs, static_cast<uint16_t>(target >> 16));
    ip() = target & 0xffff;
}

void SoftCpu::deliver_protected(uint8_t vector, Source source, const Fault* fault_info) {
    constexpr unsigned kTaskGate = 5;
    const uint32_t external = source == Source::kSoftware ? 0 : 1;
    const uint32_t at = vector * 8U;
    const uint32_t error = at | 2 | external;
    if (at + 7 > cpu().idt.limit) {
        return fault(kProtection, error);
    }
    Descriptor gate;
    gate.low = load_linear(cpu().idt.base + at, 4);
    gate.high = load_linear(cpu().idt.base + at + 4, 4);
    const unsigned type = gate.type();
    const bool known = type == kTaskGate || (type & 0x16) == 6;  // 6 7 E F
    if (!known || (source == Source::kSoftware && gate.privilege() < privilege())) {
        return fault(kProtection, error);
    }
    if (!gate.present()) {
        return fault(kNotPresent, error);
    }
    if (type == kTaskGate) {
        return unsupported("has a task gate for an interrupt");
    }
    deliver_through(gate, external, fault_info);
}

void SoftCpu::deliver_through(const Descriptor& gate, uint32_t external, const Fault* fault_info) {
    const auto selector = static_cast<uint16_t>(gate.low >> 16);
    const uint32_t error = (selector & ~3U) | external;
    Descriptor code;
    if ((selector & ~3U) == 0) {
        return fault(kProtection, external);
    }
    if (!read_descriptor(selector, &code) || !code.is_code() || code.privilege() > privilege()) {
        return fault(kProtection, error);
    }
    if (!code.present()) {
        return fault(kNotPresent, error);
    }
    const bool wide = (gate.type() & 8) != 0;
    const unsigned size = wide ? 4 : 2;
    const uint32_t target = (gate.low & 0xffff) | (wide ? gate.high & 0xffff0000 : 0);
    if (target > code.limit()) {
        return fault(kProtection, external);
    }
    unsigned level = privilege();
    if (!code.is_conforming() && code.privilege() < level) {
        level = code.privilege();
        const uint32_t old_selector = cpu().seg[kSs].sel;
        const uint32_t old_pointer = gpr(4);
        if (!load_inner_stack(level, external)) {
            return;
        }
        push(size, old_selector);
        push(size, old_pointer);
    }
    // A fault saves RF set, so that its instruction is not caught by a breakpoint again.
    push(size, flags() | (fault_info != nullptr ? kResume : 0));
    push(size, cpu().seg[kCs].sel);
    push(size, ip());
    if (fault_info != nullptr && fault_info->has_error) {
        push(size, fault_info->error);
    }
    if (faulted()) {
        return;
    }
    load_code_segment(selector, code, level);
    ip() = target;
    uint32_t cleared = kTrap | kNestedTask | kResume | kVirtual8086;
    cleared |= (gate.type() & 1) == 0 ? kInterrupt : 0U;  // a trap gate leaves IF
    flags() &= ~cleared;
}

/// The stack of an inner privilege level from the task state segment (Intel SDM 3A 6.12.1, 7.2.1).
bool SoftCpu::load_inner_stack(unsigned level, uint32_t external) {
    const sel_t& task = cpu().tr;
    const bool wide = (task.acc & 8) != 0;
    const uint32_t at = wide ? level * 8 + 4 : level * 4 + 2;
    const uint32_t last = at + (wide ? 5 : 3);
    if ((task.acc & 0x80) == 0 || last > task.limit) {
        fault(kInvalidTss, (task.sel & ~3U) | external);
        return false;
    }
    const uint32_t pointer = load_linear(task.base + at, wide ? 4 : 2);
    const auto selector = static_cast<uint16_t>(load_linear(task.base + at + (wide ? 4 : 2), 2));
    const uint32_t error = (selector & ~3U) | external;
    Descriptor stack;
    if ((selector & ~3U) == 0 || !read_descriptor(selector, &stack) || (selector & 3U) != level ||
        stack.privilege() != level || !stack.is_writable_data()) {
        fault(kInvalidTss, error);
        return false;
    }
    if (!stack.present()) {
        fault(kStackFault, error);
        return false;
    }
    mark_accessed(&stack);
    install_segment(kSs, selector, stack.base(), stack.limit(), stack.access());
    set_stack_pointer(pointer);
    return true;
}

void SoftCpu::interrupt(uint8_t vector) {
    take_snapshot();
    if (!deliver(vector, Source::kExternal, nullptr) && (local_ & kExitWanted) == 0) {
        deliver_fault(std::exchange(fault_, {}));
    }
}

void SoftCpu::nmi() {
    interrupt(kNmiVector);
    nmi_blocked_ = true;
}

/// The single-step trap after an instruction that began with TF set (Intel SDM 3B 17.3.1.4).
void SoftCpu::debug_trap() {
    constexpr uint32_t kSingleStep = 1U << 14;
    cpu().drx[6] |= kSingleStep;
    interrupt(kDebug);
}

}  // namespace halcyon
