/// Register map and commands of the PS/2 keyboard controller (IBM PS/2 Hardware Interface Technical
/// Reference, "Keyboard and Auxiliary Device Controller").
#pragma once

#include <cstddef>
#include <cstdint>

namespace halcyon::i8042 {

// Status register, read at the command port.
inline constexpr uint8_t kStatusOutputFull = 0x01;
inline constexpr uint8_t kStatusInputFull = 0x02;  ///< never: a byte is taken at once
inline constexpr uint8_t kStatusSystem = 0x04;     ///< follows the command byte's bit 2
inline constexpr uint8_t kStatusCommand = 0x08;    ///< the last write went to the command port
inline constexpr uint8_t kStatusUnlocked = 0x10;   ///< the keyboard's lock is open
inline constexpr uint8_t kStatusAuxiliary = 0x20;  ///< the output is the auxiliary device's
inline constexpr uint8_t kStatusTimeout = 0x40;    ///< the device did not answer

// Command byte: byte 0 of the controller's RAM.
inline constexpr uint8_t kKeyboardInterrupt = 0x01;
inline constexpr uint8_t kAuxiliaryInterrupt = 0x02;
inline constexpr uint8_t kSystemFlag = 0x04;
inline constexpr uint8_t kKeyboardDisabled = 0x10;
inline constexpr uint8_t kAuxiliaryDisabled = 0x20;
inline constexpr uint8_t kTranslate = 0x40;

// Output port (P2).
inline constexpr uint8_t kOutputNoReset = 0x01;
inline constexpr uint8_t kOutputA20 = 0x02;
inline constexpr uint8_t kOutputKeyboardFull = 0x10;   ///< IRQ1
inline constexpr uint8_t kOutputAuxiliaryFull = 0x20;  ///< IRQ12
/// The cables' clock and data lines, idle.
inline constexpr uint8_t kOutputLines = 0xCC;

/// Input port (P1): the keyboard's lock is open.
inline constexpr uint8_t kInputPort = 0x80;

// Test inputs: the cables' clock lines, low while an interface is disabled.
inline constexpr uint8_t kTestKeyboardClock = 0x01;
inline constexpr uint8_t kTestAuxiliaryClock = 0x02;

// Commands.
inline constexpr uint8_t kReadRam = 0x20;   ///< to 3Fh; 20h is the command byte
inline constexpr uint8_t kWriteRam = 0x60;  ///< to 7Fh, and a byte
inline constexpr uint8_t kRamSize = 0x20;
inline constexpr uint8_t kTestPassword = 0xA4;
inline constexpr uint8_t kDisableAuxiliary = 0xA7;
inline constexpr uint8_t kEnableAuxiliary = 0xA8;
inline constexpr uint8_t kTestAuxiliary = 0xA9;
inline constexpr uint8_t kSelfTest = 0xAA;
inline constexpr uint8_t kTestKeyboard = 0xAB;
inline constexpr uint8_t kDisableKeyboard = 0xAD;
inline constexpr uint8_t kEnableKeyboard = 0xAE;
inline constexpr uint8_t kReadInputPort = 0xC0;
inline constexpr uint8_t kReadOutputPort = 0xD0;
inline constexpr uint8_t kWriteOutputPort = 0xD1;       ///< and a byte
inline constexpr uint8_t kWriteKeyboardBuffer = 0xD2;   ///< and a byte
inline constexpr uint8_t kWriteAuxiliaryBuffer = 0xD3;  ///< and a byte
inline constexpr uint8_t kWriteAuxiliary = 0xD4;        ///< and a byte
inline constexpr uint8_t kDisableA20 = 0xDD;            ///< of later chips; Linux uses them
inline constexpr uint8_t kEnableA20 = 0xDF;
inline constexpr uint8_t kReadTestInputs = 0xE0;
inline constexpr uint8_t kPulseOutputPort = 0xF0;  ///< to FFh: the low bits that are 0 are pulsed

// Replies.
inline constexpr uint8_t kSelfTestPassed = 0x55;
inline constexpr uint8_t kInterfaceGood = 0x00;
inline constexpr uint8_t kNoPassword = 0xF1;
/// What the controller puts in the buffer, with kStatusTimeout, when a device does not answer.
inline constexpr uint8_t kNoAnswer = 0xFE;

}  // namespace halcyon::i8042
