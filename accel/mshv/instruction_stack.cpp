// The stack and near branches: either may lie where there is no memory.
#include "accel/mshv/instruction_groups.h"

namespace halcyon::mshv::executor {

namespace {

/// RAX to RDI in the order that PUSHA pushes them.
constexpr Gpr kAll[] = {kRax, kRcx, kRdx, kRbx, kRsp, kRbp, kRsi, kRdi};

bool is_far(const Execution& execution) {
    return execution.instruction().meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
}

/// Where a near CALL or JMP goes. A displacement counts from the next instruction.
uint64_t target_of(Execution& execution) {
    const ZydisDecodedOperand& operand = execution.operand(0);
    const bool relative =
        operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE && operand.imm.is_relative != 0;
    return execution.get(0) + (relative ? execution.next_rip() : 0);
}

}  // namespace

void push(Execution& execution) {
    execution.push(execution.width(), execution.get(0));
}

/// A destination in memory that is addressed by RSP is addressed after the pop.
void pop(Execution& execution) {
    const uint64_t value = execution.pop(execution.width());
    execution.set(0, value);
}

void push_all(Execution& execution) {
    const unsigned size = execution.width();
    const uint64_t stack_pointer = execution.gpr(kRsp);
    for (const Gpr index : kAll) {
        execution.push(size, index == kRsp ? stack_pointer : execution.gpr(index));
    }
}

void pop_all(Execution& execution) {
    const unsigned size = execution.width();
    for (unsigned i = 8; i-- > 0;) {
        const uint64_t value = execution.pop(size);
        if (kAll[i] != kRsp) {
            execution.set_gpr(kAll[i], size, value);
        }
    }
}

void push_flags(Execution& execution) {
    if (execution.mode().virtual8086 &&
        (execution.rflags() & kIoPrivilegeFlags) != kIoPrivilegeFlags) {
        execution.raise(Vector::kProtection);
    }
    const uint64_t hidden = kResumeFlag | kVirtual8086Flag;
    execution.push(execution.width(), execution.rflags() & ~hidden);
}

void leave(Execution& execution) {
    const uint64_t mask = execution.mode().stack_mask;
    execution.set_gpr(kRsp, 8, (execution.gpr(kRsp) & ~mask) | (execution.gpr(kRbp) & mask));
    const uint64_t value = execution.pop(execution.width());
    execution.set_gpr(kRbp, execution.width(), value);
}

void call(Execution& execution) {
    if (is_far(execution)) {
        execution.unsupported();
        return;
    }
    const unsigned size = execution.width();
    execution.branch(target_of(execution), size);
    execution.push(size, execution.next_rip());
}

void jump(Execution& execution) {
    if (is_far(execution)) {
        execution.unsupported();
        return;
    }
    execution.branch(target_of(execution), execution.width());
}

void return_near(Execution& execution) {
    if (is_far(execution)) {
        execution.unsupported();
        return;
    }
    const unsigned size = execution.width();
    execution.branch(execution.pop(size), size);
    if (execution.operand_count() == 1) {
        const uint64_t mask = execution.mode().stack_mask;
        const uint64_t pointer = execution.gpr(kRsp) + (execution.get(0) & 0xffff);
        execution.set_gpr(kRsp, 8, (execution.gpr(kRsp) & ~mask) | (pointer & mask));
    }
}

}  // namespace halcyon::mshv::executor
