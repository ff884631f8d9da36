/// Register map of the Intel 8254 (data sheet 231164) and of port 61h (PIIX4 data sheet 290562,
/// "NMI Status and Control Register").
#pragma once

#include <cstdint>

namespace halcyon::i8254 {

/// The input clock of a PC: 14.31818 MHz / 12.
inline constexpr uint64_t kHz = 1'193'182;

/// Offsets: a counter each, then the control word (write only).
inline constexpr unsigned kCounters = 3;
inline constexpr uint64_t kControlWord = 3;

/// The control word: SC1 SC0, RW1 RW0, M2 M1 M0, BCD.
inline constexpr unsigned kSelectShift = 6;
inline constexpr unsigned kSelectReadBack = 3;
inline constexpr unsigned kAccessShift = 4;
inline constexpr uint8_t kAccessMask = 0x30;
inline constexpr unsigned kModeShift = 1;
inline constexpr uint8_t kModeMask = 0x0E;
inline constexpr uint8_t kBcd = 0x01;
/// The part of the control word that the status byte gives back.
inline constexpr uint8_t kProgrammedMask = 0x3F;

/// RW1 RW0.
enum class Access : uint8_t { kLatch = 0, kLow = 1, kHigh = 2, kLowHigh = 3 };

/// The read-back command: a clear bit latches, bits 3-1 choose the counters.
inline constexpr uint8_t kReadBackNoCount = 0x20;
inline constexpr uint8_t kReadBackNoStatus = 0x10;
inline constexpr uint8_t kReadBackCounter0 = 0x02;

/// The status byte, beside the programmed part of the control word.
inline constexpr uint8_t kStatusOut = 0x80;
inline constexpr uint8_t kStatusNullCount = 0x40;

/// The counter that drives the speaker and whose gate is in port 61h.
inline constexpr unsigned kSpeakerCounter = 2;

/// Port 61h. Bits 7 and 6 report SERR# and IOCHK#, which never happen here, and read 0.
inline constexpr uint8_t kPort61Gate2 = 0x01;
inline constexpr uint8_t kPort61WritableMask = 0x0F;
inline constexpr uint8_t kPort61Refresh = 0x10;
inline constexpr uint8_t kPort61Out2 = 0x20;
/// A memory refresh every 18 input clocks (15.09 us), as counter 1 is programmed in every PC.
inline constexpr uint64_t kRefreshTicks = 18;

}  // namespace halcyon::i8254
