// Moves between general registers and memory.
#include <algorithm>

#include "accel/mshv/instruction_groups.h"

namespace halcyon::mshv::executor {

/// MOV, MOVNTI, MOVDIRI, and MOVZX: what is read has zeros above it.
void move(Execution& execution) {
    execution.set(0, execution.get(1));
}

/// MOVSX and MOVSXD. The latter with a 16-bit destination reads 16 bits, where Zydis says 32.
void move_sign_extended(Execution& execution) {
    const unsigned size = std::min(execution.size(0), execution.size(1));
    const uint64_t value =
        execution.is_memory(1) ? execution.load(execution.location(1), size) : execution.get(1);
    execution.set(0, sign_extend(value, size));
}

void move_byte_swapped(Execution& execution) {
    const unsigned size = execution.size(0);
    execution.set(0, __builtin_bswap64(execution.get(1)) >> (64 - 8 * size));
}

/// Memory is read in any case, and a 32-bit destination extended.
void move_conditional(Execution& execution) {
    const uint64_t value = execution.get(1);
    const bool holds = condition_holds(execution.instruction().opcode, execution.rflags());
    execution.set(0, holds ? value : execution.get(0));
}

void set_conditional(Execution& execution) {
    execution.set(0, condition_holds(execution.instruction().opcode, execution.rflags()) ? 1 : 0);
}

/// CLFLUSH, CLFLUSHOPT and CLWB: no cache holds what is not memory.
void flush_line(Execution& execution) {
    execution.check_address(execution.location(0));
}

}  // namespace halcyon::mshv::executor
