/// Register map of the Intel 82093AA IOAPIC (data sheet 290566), with the EOI register that version
/// 20h adds (ICH data sheets, "EOIR").
#pragma once

#include <cstdint>

namespace halcyon::ioapic {

/// Offsets of the memory-mapped registers.
inline constexpr uint64_t kIndex = 0x00;   ///< IOREGSEL, 8 bits
inline constexpr uint64_t kWindow = 0x10;  ///< IOWIN, 32 bits
inline constexpr uint64_t kEoi = 0x40;     ///< EOIR, 8 bits, write only

/// Values of IOREGSEL.
inline constexpr uint8_t kId = 0x00;
inline constexpr uint8_t kVersion = 0x01;
inline constexpr uint8_t kArbitration = 0x02;
inline constexpr uint8_t kRedirectionTable = 0x10;  ///< two per entry, the low half first

inline constexpr unsigned kPins = 24;

/// IOAPICVER: version 20h as QEMU's IOAPIC has by default, and the number of the last entry.
inline constexpr uint32_t kVersionValue = 0x20 | (kPins - 1) << 16;

/// IOAPICID and IOAPICARB: the four bits that exist.
inline constexpr uint32_t kIdMask = 0x0F00'0000;

/// A redirection entry.
inline constexpr uint64_t kVectorMask = 0xFF;
inline constexpr unsigned kDeliveryShift = 8;
inline constexpr uint64_t kDeliveryMask = 0x700;
inline constexpr uint64_t kLogical = 1u << 11;
inline constexpr uint64_t kDeliveryStatus = 1u << 12;
inline constexpr uint64_t kActiveLow = 1u << 13;
inline constexpr uint64_t kRemoteIrr = 1u << 14;
inline constexpr uint64_t kLevel = 1u << 15;
inline constexpr uint64_t kMasked = 1u << 16;
inline constexpr unsigned kDestinationShift = 56;
/// What the guest can write: delivery status and remote IRR are read only, the rest is reserved.
inline constexpr uint64_t kEntryWritable = 0xFF00'0000'0001'AFFF;
inline constexpr uint64_t kEntryReset = kMasked;

enum class Delivery : uint8_t {
    kFixed = 0,
    kLowestPriority = 1,
    kSmi = 2,
    kReserved3 = 3,
    kNmi = 4,
    kInit = 5,
    kReserved6 = 6,
    kExtInt = 7,
};

/// The message on the bus (Intel SDM 3A, "Message Signalled Interrupts").
inline constexpr uint64_t kMessageAddress = 0xFEE0'0000;
inline constexpr unsigned kMessageDestinationShift = 12;
inline constexpr uint64_t kMessageLogical = 1u << 2;
inline constexpr uint32_t kMessageAssert = 1u << 14;
inline constexpr uint32_t kMessageLevel = 1u << 15;

}  // namespace halcyon::ioapic
