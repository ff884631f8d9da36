/// Register map of the south bridge's functions: the PIIX3 PCI-to-ISA bridge (Intel 82371SB data
/// sheet, order number 290550, sections 2.2 and 2.3) and the PIIX4 power management function (Intel
/// 82371AB data sheet, order number 290562, section 7.1).
#pragma once

#include <cstdint>

namespace halcyon::piix {

// The ISA bridge, function 0.
inline constexpr uint16_t kIsaDeviceId = 0x7000;
inline constexpr uint32_t kIsaClassCode = 0x060100;

// Its offsets.
inline constexpr uint8_t kIoRecoveryTimer = 0x4C;  ///< IORT
inline constexpr uint8_t kXBusChipSelect = 0x4E;   ///< XBCS, 16 bits
inline constexpr uint8_t kPirqRoute = 0x60;        ///< PIRQRCA to PIRQRCD
inline constexpr uint8_t kTopOfMemory = 0x69;      ///< TOM
inline constexpr uint8_t kMiscStatus = 0x6A;       ///< MSTAT, 16 bits
inline constexpr uint8_t kMotherboardIrq = 0x70;   ///< MBIRQ0
inline constexpr uint8_t kMotherboardDma = 0x76;   ///< MBDMA0 and MBDMA1
inline constexpr uint8_t kChipSelect = 0x78;       ///< PCSC, 16 bits
inline constexpr uint8_t kApicBase = 0x80;         ///< APICBASE
inline constexpr uint8_t kLatencyControl = 0x82;   ///< DLC
inline constexpr uint8_t kSmiControl = 0xA0;       ///< SMICNTL
inline constexpr uint8_t kSmiEnable = 0xA2;        ///< SMIEN, 16 bits
inline constexpr uint8_t kEventEnable = 0xA4;      ///< SEE, 32 bits
inline constexpr uint8_t kFastOffTimer = 0xA8;     ///< FTMR
inline constexpr uint8_t kSmiRequest = 0xAA;       ///< SMIREQ, 16 bits
inline constexpr uint8_t kClockLow = 0xAC;         ///< CTLTMR
inline constexpr uint8_t kClockHigh = 0xAE;        ///< CTHTMR

// PIRQRC, 2.2.12.
inline constexpr uint8_t kPirqDisabled = 0x80;
inline constexpr uint8_t kPirqIrqMask = 0x0F;
/// The interrupts a PIRQ may be routed to: all but 0, 1, 2, 8 and 13.
inline constexpr uint16_t kPirqRoutable = 0xDEF8;

/// Interrupts of the ISA bus.
inline constexpr unsigned kIsaIrqCount = 16;

// Reset control register RCR at port CF9h, 2.3.6.
inline constexpr uint8_t kResetTrigger = 0x04;  ///< RCPU: resets when it goes from 0 to 1
inline constexpr uint8_t kResetHard = 0x02;     ///< SRST: the whole system, not only the CPU
inline constexpr uint8_t kResetMask = kResetTrigger | kResetHard;

// The power management function, function 3.
inline constexpr uint16_t kPmDeviceId = 0x7113;
inline constexpr uint8_t kPmRevision = 0x03;
inline constexpr uint32_t kPmClassCode = 0x068000;
/// The interrupt it is wired to (SCI), which firmware finds in the interrupt line register.
inline constexpr uint8_t kPmInterrupt = 9;

// Its offsets.
inline constexpr uint8_t kPmBase = 0x40;            ///< PMBA, 32 bits
inline constexpr uint8_t kPmRegistersBegin = 0x44;  ///< CNTA to DEVRESJ, all plain registers
inline constexpr uint8_t kPmRegistersEnd = 0x80;
inline constexpr uint8_t kDeviceActivityB = 0x58;    ///< DEVACTB, 32 bits
inline constexpr uint8_t kDeviceResourceA = 0x5C;    ///< DEVRESA, 32 bits
inline constexpr uint8_t kDeviceResourceB = 0x60;    ///< DEVRESB, 32 bits
inline constexpr uint8_t kDeviceResourceC = 0x64;    ///< DEVRESC, 32 bits
inline constexpr uint8_t kPmMisc = 0x80;             ///< PMREGMISC
inline constexpr uint8_t kSmbusBase = 0x90;          ///< SMBBA, 32 bits
inline constexpr uint8_t kSmbusHostConfig = 0xD2;    ///< SMBHSTCFG
inline constexpr uint8_t kSmbusSlaveCommand = 0xD3;  ///< SMBSLVC
inline constexpr uint8_t kSmbusShadow = 0xD4;        ///< SMBSHDW1 and SMBSHDW2

/// PMBA: bits 15 to 6 are the base, bit 0 says that it is in port space.
inline constexpr uint32_t kPmBaseMask = 0xFFC0;
/// SMBBA likewise, with bits 15 to 4.
inline constexpr uint32_t kSmbusBaseMask = 0xFFF0;
/// PMREGMISC, PMIOSE: the block at PMBA is decoded.
inline constexpr uint8_t kPmIoEnable = 0x01;
/// DEVACTB, APMC_EN: a write to the APM control port makes an SMI.
inline constexpr uint32_t kApmcEnable = 1U << 25;

// Which legacy devices the chip decodes, in DEVRESA to DEVRESC (as QEMU's and SeaBIOS's ACPI tables
// read them).
inline constexpr uint32_t kKeyboardEnable = 0x10U << 24;         ///< DEVRESA
inline constexpr uint32_t kParallelEnable = 0x80U << 24;         ///< DEVRESA
inline constexpr uint32_t kMicrocontrollerEnable = 0x60U << 24;  ///< DEVRESB
inline constexpr uint32_t kSerialAEnable = 0x08U << 24;          ///< DEVRESC
inline constexpr uint32_t kSerialBEnable = 0x90U << 24;          ///< DEVRESC, with its port range

}  // namespace halcyon::piix
