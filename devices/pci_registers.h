/// Register map of PCI configuration space (PCI Local Bus Specification 3.0, chapter 6) and of
/// configuration mechanism #1 (3.2.2.3.2).
#pragma once

#include <cstddef>
#include <cstdint>

namespace halcyon::pci {

/// Bytes of a function's configuration space.
inline constexpr size_t kConfigSize = 256;
inline constexpr unsigned kDeviceCount = 32;
inline constexpr unsigned kFunctionCount = 8;
/// Interrupt lines of a bus: INTA# to INTD#, or a bridge's PIRQs.
inline constexpr unsigned kInterruptCount = 4;

// Type 0 header, figure 6-1.
inline constexpr uint8_t kVendorId = 0x00;
inline constexpr uint8_t kDeviceId = 0x02;
inline constexpr uint8_t kCommand = 0x04;
inline constexpr uint8_t kStatus = 0x06;
inline constexpr uint8_t kRevision = 0x08;
inline constexpr uint8_t kClassCode = 0x09;  ///< 24 bits
inline constexpr uint8_t kCacheLineSize = 0x0C;
inline constexpr uint8_t kLatencyTimer = 0x0D;
inline constexpr uint8_t kHeaderType = 0x0E;
inline constexpr uint8_t kFirstBar = 0x10;
inline constexpr uint8_t kSubsystemVendorId = 0x2C;
inline constexpr uint8_t kSubsystemId = 0x2E;
inline constexpr uint8_t kCapabilities = 0x34;
inline constexpr uint8_t kInterruptLine = 0x3C;
inline constexpr uint8_t kInterruptPin = 0x3D;
/// Where a function's own registers and its capabilities begin.
inline constexpr uint8_t kHeaderEnd = 0x40;

inline constexpr unsigned kBarCount = 6;

// Command register, 6.2.2.
inline constexpr uint16_t kCommandIo = 0x0001;
inline constexpr uint16_t kCommandMemory = 0x0002;
inline constexpr uint16_t kCommandMaster = 0x0004;
inline constexpr uint16_t kCommandSpecialCycles = 0x0008;
inline constexpr uint16_t kCommandParity = 0x0040;
inline constexpr uint16_t kCommandSystemError = 0x0100;
inline constexpr uint16_t kCommandInterruptDisable = 0x0400;

// Status register, 6.2.3.
inline constexpr uint16_t kStatusInterrupt = 0x0008;
inline constexpr uint16_t kStatusCapabilities = 0x0010;
inline constexpr uint16_t kStatusFastBackToBack = 0x0080;
inline constexpr uint16_t kStatusMediumTiming = 0x0200;
/// Bits that a write of 1 clears: the five aborts and errors, and the master's data parity error.
inline constexpr uint16_t kStatusWriteOneToClear = 0xF900;

/// Header type, bit 7: the device has more functions than 0 (6.2.1).
inline constexpr uint8_t kHeaderMultiFunction = 0x80;

// Base address registers, 6.2.5.1.
inline constexpr uint8_t kBarIo = 0x01;
inline constexpr uint8_t kBarMemory64 = 0x04;
inline constexpr uint8_t kBarPrefetchable = 0x08;

// CONFIG_ADDRESS, figure 3-2.
inline constexpr uint32_t kAddressEnable = 0x8000'0000;
inline constexpr uint32_t kAddressMask = 0x80FF'FFFC;  ///< the rest is reserved and reads as 0

// Vendors.
inline constexpr uint16_t kVendorIntel = 0x8086;
/// The subsystem ids by which firmware knows a QEMU machine (SeaBIOS, qemu_detect).
inline constexpr uint16_t kSubsystemVendorQemu = 0x1AF4;
inline constexpr uint16_t kSubsystemQemu = 0x1100;

}  // namespace halcyon::pci
