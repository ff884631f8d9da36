/// Register map of the Intel 8259A (data sheet 231468) as the PIIX4 (data sheet 290562, "Interrupt
/// Controller Registers") puts two of them into a PC.
#pragma once

#include <cstdint>

namespace halcyon::i8259 {

/// The chip's address line A0: offset 0 takes ICW1, OCW2 and OCW3, offset 1 takes ICW2-4 and OCW1.
inline constexpr uint64_t kCommand = 0;
inline constexpr uint64_t kData = 1;

/// ICW1: told from the OCWs by bit 4. LTIM (bit 3) and ADI (bit 2) have no effect: the PIIX4 takes
/// the trigger mode from ELCR, and the call interval belongs to the 8080.
inline constexpr uint8_t kIcw1Select = 0x10;
inline constexpr uint8_t kIcw1NeedsIcw4 = 0x01;
inline constexpr uint8_t kIcw1Single = 0x02;

/// ICW2: the upper five bits of the vector.
inline constexpr uint8_t kIcw2VectorMask = 0xF8;

/// ICW3 of a slave: its number in the low three bits.
inline constexpr uint8_t kIcw3SlaveIdMask = 0x07;

/// ICW4. Bit 0 (8086 mode) is taken as set, as the PIIX4 demands; BUF and M/S (bits 3 and 2) are
/// about pins that this chip does not have.
inline constexpr uint8_t kIcw4AutoEoi = 0x02;
inline constexpr uint8_t kIcw4SpecialFullyNested = 0x10;

/// OCW3: told from OCW2 by bit 3.
inline constexpr uint8_t kOcw3Select = 0x08;
inline constexpr uint8_t kOcw3EnableSpecialMask = 0x40;
inline constexpr uint8_t kOcw3SpecialMask = 0x20;
inline constexpr uint8_t kOcw3Poll = 0x04;
inline constexpr uint8_t kOcw3ReadRegister = 0x02;
inline constexpr uint8_t kOcw3ReadIsr = 0x01;

/// OCW2: the command in bits 7-5 (R, SL, EOI), the level in bits 2-0.
inline constexpr uint8_t kOcw2LevelMask = 0x07;
inline constexpr unsigned kOcw2CommandShift = 5;
enum class Ocw2 : uint8_t {
    kRotateInAutoEoiClear = 0,
    kNonSpecificEoi = 1,
    kNoOperation = 2,
    kSpecificEoi = 3,
    kRotateInAutoEoiSet = 4,
    kRotateOnNonSpecificEoi = 5,
    kSetPriority = 6,
    kRotateOnSpecificEoi = 7,
};

/// The byte read in poll mode: bit 7 says that there is a request, bits 2-0 say which.
inline constexpr uint8_t kPollRequest = 0x80;

/// The level that a chip reports when a request went away before it was acknowledged.
inline constexpr unsigned kSpuriousLevel = 7;

/// The master's input that the slave's INT drives, and the number the slave must have in ICW3.
inline constexpr unsigned kCascadeLevel = 2;

/// ELCR1 and ELCR2 (PIIX4: 4D0h, 4D1h): a set bit makes the input level triggered. IRQ 0, 1, 2, 8
/// and 13 are always edge triggered.
inline constexpr uint8_t kElcrMasterMask = 0xF8;
inline constexpr uint8_t kElcrSlaveMask = 0xDE;

}  // namespace halcyon::i8259
