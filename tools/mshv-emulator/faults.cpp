#include "tools/mshv-emulator/faults.h"

#include <algorithm>

#include "tools/mshv-emulator/log.h"

namespace halcyon::emulator {

bool VpFaults::due(uint32_t FaultPlan::*fault) {
    const uint32_t every = plan_.*fault;
    if (every == 0 || ++(occasions_.*fault) % every != 0) {
        return false;
    }
    for (const FaultName& known : fault_names()) {
        if (known.member == fault) {
            log_line("VP %u: fault %.*s", vp_index_, static_cast<int>(known.name.size()),
                     known.name.data());
        }
    }
    return true;
}

uint8_t faulty_byte_count(VpFaults& faults, uint8_t count) {
    if (faults.due(&FaultPlan::no_instruction_bytes)) {
        return 0;
    }
    if (faults.due(&FaultPlan::few_instruction_bytes)) {
        return std::min<uint8_t>(count, 1);
    }
    return count;
}

}  // namespace halcyon::emulator
