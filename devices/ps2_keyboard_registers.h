/// Commands and replies of a PS/2 keyboard (IBM PS/2 Hardware Interface Technical Reference,
/// "Keyboards (101- and 102-key)").
#pragma once

#include <cstddef>
#include <cstdint>

namespace halcyon::ps2_keyboard {

// Commands.
inline constexpr uint8_t kSetLeds = 0xED;  ///< and a byte
inline constexpr uint8_t kEcho = 0xEE;
inline constexpr uint8_t kScancodeSet = 0xF0;  ///< and a byte: 0 asks, 1 to 3 select
inline constexpr uint8_t kIdentify = 0xF2;
inline constexpr uint8_t kSetRate = 0xF3;  ///< and a byte
inline constexpr uint8_t kEnable = 0xF4;
inline constexpr uint8_t kDisable = 0xF5;  ///< and restores the defaults
inline constexpr uint8_t kSetDefaults = 0xF6;
inline constexpr uint8_t kAllTypematic = 0xF7;  // F7 to FD matter in scan code set 3
inline constexpr uint8_t kAllMakeBreak = 0xF8;
inline constexpr uint8_t kAllMake = 0xF9;
inline constexpr uint8_t kAllTypematicMakeBreak = 0xFA;
inline constexpr uint8_t kKeyTypematic = 0xFB;  ///< and keys, up to the next command
inline constexpr uint8_t kKeyMakeBreak = 0xFC;  ///< likewise
inline constexpr uint8_t kKeyMake = 0xFD;       ///< likewise
inline constexpr uint8_t kResend = 0xFE;
inline constexpr uint8_t kReset = 0xFF;

// Replies.
inline constexpr uint8_t kAcknowledge = 0xFA;
inline constexpr uint8_t kRefuse = 0xFE;  ///< "send that again"
inline constexpr uint8_t kSelfTestPassed = 0xAA;
inline constexpr uint8_t kId1 = 0xAB;
inline constexpr uint8_t kId2 = 0x83;

// Scan codes.
inline constexpr uint8_t kBreakPrefix = 0xF0;     ///< sets 2 and 3
inline constexpr uint8_t kExtendedPrefix = 0xE0;  ///< sets 1 and 2
inline constexpr uint8_t kPausePrefix = 0xE1;     ///< sets 1 and 2
inline constexpr uint8_t kBreakBit = 0x80;        ///< set 1
inline constexpr uint8_t kOverrun = 0x00;         ///< sets 2 and 3
inline constexpr uint8_t kOverrunSet1 = 0xFF;

/// Scan code bytes the keyboard holds before it reports an overrun.
inline constexpr size_t kBufferSize = 16;

}  // namespace halcyon::ps2_keyboard
