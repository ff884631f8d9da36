/// The faults of FaultPlan that RUN_VP makes, counted for one VP.
#pragma once

#include <cstdint>

#include "tools/mshv-emulator/options.h"

namespace halcyon::emulator {

/// Used on the thread that holds the VP.
class VpFaults {
public:
    VpFaults(const FaultPlan& plan, uint32_t vp_index) : plan_(plan), vp_index_(vp_index) {}

    /// Counts an occasion for a fault; true, and a line in the log, when it is to be made now.
    bool due(uint32_t FaultPlan::*fault);
    /// Whether the fault is ever to be made; for occasions that cost something to notice.
    [[nodiscard]] bool is_planned(uint32_t FaultPlan::*fault) const { return plan_.*fault != 0; }

private:
    const FaultPlan& plan_;
    const uint32_t vp_index_;
    FaultPlan occasions_;
};

/// How many of an instruction's bytes a message has, of the `count` that there are.
uint8_t faulty_byte_count(VpFaults& faults, uint8_t count);

}  // namespace halcyon::emulator
