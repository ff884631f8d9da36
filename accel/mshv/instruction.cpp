// The executor's entry.
#include "accel/mshv/instruction.h"

#include "accel/mshv/instruction_groups.h"

namespace halcyon::mshv {

InstructionResult execute_instruction(VcpuRegisters& registers, std::span<const std::byte> bytes,
                                      InstructionBus& bus) {
    executor::Execution execution(registers, bus);
    if (execution.decode(bytes)) {
        executor::dispatch(execution);
    }
    return execution.finish();
}

}  // namespace halcyon::mshv
