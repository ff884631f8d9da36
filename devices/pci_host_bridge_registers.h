/// Register map of the 82441FX PCI and memory controller (Intel 440FX PCIset data sheet, order
/// number 290549, section 3.2): its own part of configuration space.
#pragma once

#include <array>
#include <cstdint>

#include "base/types.h"
#include "devices/pci_registers.h"

namespace halcyon::pci_host_bridge {

// Identity, 3.2.1 to 3.2.6.
inline constexpr uint16_t kDeviceId = 0x1237;
inline constexpr uint8_t kRevision = 0x02;
inline constexpr uint32_t kClassCode = 0x060000;

// Offsets, table 3.
inline constexpr uint8_t kConfiguration = 0x50;     ///< PMCCFG, 16 bits
inline constexpr uint8_t kDeturbo = 0x52;           ///< DETURBO
inline constexpr uint8_t kBufferControl = 0x53;     ///< DBC
inline constexpr uint8_t kAuxiliaryControl = 0x54;  ///< AXC
inline constexpr uint8_t kDramRowType = 0x55;       ///< DRT, 16 bits
inline constexpr uint8_t kDramControl = 0x57;       ///< DRAMC
inline constexpr uint8_t kDramTiming = 0x58;        ///< DRAMT
inline constexpr uint8_t kPam = 0x59;               ///< PAM0 to PAM6
inline constexpr uint8_t kPamCount = 7;
inline constexpr uint8_t kDramRowBoundary = 0x60;  ///< DRB0 to DRB7
inline constexpr uint8_t kDramRowBoundaryCount = 8;
inline constexpr uint8_t kDramHole = 0x68;          ///< FDHC
inline constexpr uint8_t kMultiTransaction = 0x70;  ///< MTT
inline constexpr uint8_t kCpuLatency = 0x71;        ///< CLT
inline constexpr uint8_t kSmram = 0x72;             ///< SMRAM
inline constexpr uint8_t kErrorCommand = 0x90;      ///< ERRCMD
inline constexpr uint8_t kErrorStatus = 0x91;       ///< ERRSTS
inline constexpr uint8_t kTurboReset = 0x93;        ///< TRC

// A segment's attributes in PAM, 3.2.18; the odd segments (and PAM0's only one) are in the upper
// nibble.
inline constexpr uint8_t kPamReadEnable = 0x01;
inline constexpr uint8_t kPamWriteEnable = 0x02;
inline constexpr uint8_t kPamMask = 0x33;
inline constexpr uint8_t kPam0Mask = 0x30;

// SMRAM, 3.2.22.
inline constexpr uint8_t kSmramOpen = 0x40;     ///< DOPEN
inline constexpr uint8_t kSmramClosed = 0x20;   ///< DCLS
inline constexpr uint8_t kSmramLocked = 0x10;   ///< DLCK
inline constexpr uint8_t kSmramEnabled = 0x08;  ///< G_SMRAME
inline constexpr uint8_t kSmramBase = 0x02;     ///< C_BASE_SEG, fixed: A0000h

/// How many segments PAM describes.
inline constexpr unsigned kSegmentCount = 13;

/// The memory of a segment: 0 is the BIOS's 64 KiB, 1 to 12 are the 16 KiB steps below it (table
/// 9).
[[nodiscard]] constexpr GpaRange segment_range(unsigned segment) {
    return segment == 0 ? GpaRange{Gpa(0xF0000), 64_KiB}
                        : GpaRange{Gpa(0xC0000 + (segment - 1) * 16_KiB), 16_KiB};
}

}  // namespace halcyon::pci_host_bridge
