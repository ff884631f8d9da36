/// Register map of the power management block of the Intel PIIX4 (data sheet 290562, "Power
/// Management I/O Space Registers"), of QEMU's GPE0 block beside it, and of the APM ports.
#pragma once

#include <cstdint>

namespace halcyon::acpi_pm {

/// Ticks of the PM timer (ACPI 6.4, 4.8.3.3), and its status bit: set when bit 23 changes.
inline constexpr uint64_t kTimerHz = 3'579'545;
inline constexpr unsigned kTimerBits = 24;
inline constexpr unsigned kTimerStatusShift = kTimerBits - 1;

/// The PM block: its size in port space and its registers, as offsets from PMBA.
inline constexpr unsigned kBlockSize = 64;
inline constexpr unsigned kPm1Status = 0x00;
inline constexpr unsigned kPm1Enable = 0x02;
inline constexpr unsigned kPm1Control = 0x04;
inline constexpr unsigned kTimer = 0x08;
inline constexpr unsigned kGpStatus = 0x0C;
inline constexpr unsigned kGpEnable = 0x0E;
inline constexpr unsigned kProcessorControl = 0x10;
inline constexpr unsigned kGlobalStatus = 0x18;
inline constexpr unsigned kDeviceStatus = 0x1C;
inline constexpr unsigned kGlobalEnable = 0x20;
inline constexpr unsigned kGlobalControl = 0x28;
inline constexpr unsigned kDeviceControl = 0x2C;
inline constexpr unsigned kGpOutput = 0x34;

/// PM1 status and enable.
inline constexpr uint16_t kTimerBit = 1u << 0;
inline constexpr uint16_t kBusMasterBit = 1u << 4;
inline constexpr uint16_t kGlobalBit = 1u << 5;
inline constexpr uint16_t kPowerButtonBit = 1u << 8;
inline constexpr uint16_t kRtcBit = 1u << 10;
inline constexpr uint16_t kPowerButtonOverrideBit = 1u << 11;
inline constexpr uint16_t kResumeBit = 1u << 15;
inline constexpr uint16_t kPm1EnableMask = kTimerBit | kGlobalBit | kPowerButtonBit | kRtcBit;
inline constexpr uint16_t kPm1StatusMask =
    kPm1EnableMask | kBusMasterBit | kPowerButtonOverrideBit | kResumeBit;

/// PM1 control. GBL_RLS (bit 2) and SUS_EN read 0.
inline constexpr uint16_t kSciEnable = 1u << 0;
inline constexpr uint16_t kBusMasterReload = 1u << 1;
inline constexpr unsigned kSleepTypeShift = 10;
inline constexpr uint16_t kSleepTypeMask = 7u << kSleepTypeShift;
inline constexpr uint16_t kSleepEnable = 1u << 13;

/// Global control: BIOS_RLS raises GBL_STS, and reads 0.
inline constexpr uint8_t kBiosRelease = 1u << 1;

/// Global output after reset.
inline constexpr uint32_t kGpOutputReset = 0x7FFF'BFFF;

/// GPE0: 16 status bits, then their enable bits.
inline constexpr unsigned kGpeBlockSize = 4;
inline constexpr unsigned kGpeEvents = 16;

/// The APM ports B2h and B3h, and the commands for the former that the FADT of QEMU's PCs names.
inline constexpr unsigned kApmControl = 0;
inline constexpr unsigned kApmStatus = 1;
inline constexpr uint8_t kAcpiEnableCommand = 0xF1;
inline constexpr uint8_t kAcpiDisableCommand = 0xF0;

}  // namespace halcyon::acpi_pm
