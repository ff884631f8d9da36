/// What the board tells firmware: fw_cfg items and CMOS bytes, with QEMU's keys and places.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "devices/cmos_rtc.h"
#include "devices/fw_cfg.h"
#include "machine/machine_config.h"

namespace halcyon {

/// RAM below and above 4 GiB, in bytes.
struct RamLayout {
    uint64_t low = 0;
    uint64_t high = 0;
};

/// Main thread, before the guest runs. Fails only when an item does not fit.
Result<void> fill_fw_cfg(FwCfg& fw_cfg, const MachineConfig& config, RamLayout ram);
/// Memory sizes, boot order, equipment, number of vCPUs. Main thread, at creation and at each
/// reset.
void fill_cmos(CmosRtc& cmos, const MachineConfig& config, RamLayout ram);

}  // namespace halcyon
