/// Register map of the Motorola MC146818A real-time clock (data sheet ADI1000) with a PC's 128
/// bytes and century byte.
#pragma once

#include <chrono>
#include <cstdint>

namespace halcyon::rtc {

/// Offsets of the ports: 70h and 71h.
inline constexpr uint64_t kIndexPort = 0;
inline constexpr uint64_t kDataPort = 1;

/// The index port: bit 7 holds back NMI.
inline constexpr uint8_t kIndexMask = 0x7F;
inline constexpr uint8_t kNmiDisable = 0x80;

inline constexpr unsigned kSize = 128;

inline constexpr uint8_t kSeconds = 0x00;
inline constexpr uint8_t kSecondsAlarm = 0x01;
inline constexpr uint8_t kMinutes = 0x02;
inline constexpr uint8_t kMinutesAlarm = 0x03;
inline constexpr uint8_t kHours = 0x04;
inline constexpr uint8_t kHoursAlarm = 0x05;
inline constexpr uint8_t kDayOfWeek = 0x06;  ///< 1 is Sunday
inline constexpr uint8_t kDayOfMonth = 0x07;
inline constexpr uint8_t kMonth = 0x08;
inline constexpr uint8_t kYear = 0x09;
inline constexpr uint8_t kRegisterA = 0x0A;
inline constexpr uint8_t kRegisterB = 0x0B;
inline constexpr uint8_t kRegisterC = 0x0C;
inline constexpr uint8_t kRegisterD = 0x0D;
inline constexpr uint8_t kFirstRam = 0x0E;
/// Where the FADT of QEMU's PCs says that the century is.
inline constexpr uint8_t kCentury = 0x32;

/// Hours of the 12-hour mode: the afternoon.
inline constexpr uint8_t kPm = 0x80;
/// An alarm byte with both bits set matches any value.
inline constexpr uint8_t kAlarmAny = 0xC0;

/// Register A: UIP, DV2-0, RS3-0.
inline constexpr uint8_t kUip = 0x80;
inline constexpr unsigned kDividerShift = 4;
inline constexpr uint8_t kDividerMask = 0x70;
inline constexpr unsigned kDivider32kHz = 2;  ///< 0 and 1 are faster crystals, above it all stands
inline constexpr uint8_t kRateMask = 0x0F;
inline constexpr uint8_t kRegisterAInitial = 0x26;  ///< 32.768 kHz, 1024 Hz

/// Register B.
inline constexpr uint8_t kSet = 0x80;
inline constexpr uint8_t kPie = 0x40;
inline constexpr uint8_t kAie = 0x20;
inline constexpr uint8_t kUie = 0x10;
inline constexpr uint8_t kSqwe = 0x08;
inline constexpr uint8_t kBinary = 0x04;
inline constexpr uint8_t k24Hours = 0x02;

/// Register C: IRQF, and the flags at the places of their enable bits in register B.
inline constexpr uint8_t kIrqf = 0x80;
inline constexpr uint8_t kPf = 0x40;
inline constexpr uint8_t kAf = 0x20;
inline constexpr uint8_t kUf = 0x10;

/// Register D: valid RAM and time, the battery is good.
inline constexpr uint8_t kVrt = 0x80;

/// The time base of the periodic interrupt.
inline constexpr uint64_t kHz = 32768;

/// UIP rises tBUC (244 us) before the update cycle and falls at its end, tUC (1984 us) later.
inline constexpr std::chrono::nanoseconds kUpdateInProgress = std::chrono::microseconds(244 + 1984);
/// "The first update cycle begins one-half second" after the divider's reset ends.
inline constexpr std::chrono::nanoseconds kAfterDividerReset = std::chrono::milliseconds(500);

}  // namespace halcyon::rtc
