/// Register map of the 16550A UART (National Semiconductor PC16550D data sheet, section 8, tables
/// II to V).
#pragma once

#include <cstddef>
#include <cstdint>

namespace halcyon::serial_16550 {

/// Ports the UART occupies.
inline constexpr uint64_t kPortCount = 8;

// Offsets; with LCR.DLAB set, the first two are the divisor latch.
inline constexpr uint64_t kData = 0;             ///< RBR (read), THR (write), or DLL
inline constexpr uint64_t kInterruptEnable = 1;  ///< IER, or DLM
inline constexpr uint64_t kInterruptId = 2;      ///< IIR (read), FCR (write)
inline constexpr uint64_t kLineControl = 3;      ///< LCR
inline constexpr uint64_t kModemControl = 4;     ///< MCR
inline constexpr uint64_t kLineStatus = 5;       ///< LSR
inline constexpr uint64_t kModemStatus = 6;      ///< MSR
inline constexpr uint64_t kScratch = 7;          ///< SCR

// Interrupt Enable Register, 8.5.
inline constexpr uint8_t kIerReceived = 0x01;
inline constexpr uint8_t kIerTransmitEmpty = 0x02;
inline constexpr uint8_t kIerLineStatus = 0x04;
inline constexpr uint8_t kIerModemStatus = 0x08;
inline constexpr uint8_t kIerMask = 0x0F;

// Interrupt Identification Register, 8.6 and table IV.
inline constexpr uint8_t kIirNone = 0x01;
inline constexpr uint8_t kIirModemStatus = 0x00;
inline constexpr uint8_t kIirTransmitEmpty = 0x02;
inline constexpr uint8_t kIirReceived = 0x04;
inline constexpr uint8_t kIirLineStatus = 0x06;
inline constexpr uint8_t kIirTimeout = 0x0C;
inline constexpr uint8_t kIirFifoEnabled = 0xC0;

// FIFO Control Register, 8.4.
inline constexpr uint8_t kFcrEnable = 0x01;
inline constexpr uint8_t kFcrResetReceiver = 0x02;
inline constexpr uint8_t kFcrResetTransmitter = 0x04;
inline constexpr uint8_t kFcrDmaMode = 0x08;
inline constexpr uint8_t kFcrTriggerMask = 0xC0;

// Line Control Register, 8.1.
inline constexpr uint8_t kLcrWordLengthMask = 0x03;  ///< 5 bits and up
inline constexpr uint8_t kLcrTwoStopBits = 0x04;
inline constexpr uint8_t kLcrParity = 0x08;
inline constexpr uint8_t kLcrBreak = 0x40;
inline constexpr uint8_t kLcrDivisorLatch = 0x80;

// Modem Control Register, 8.7.
inline constexpr uint8_t kMcrDtr = 0x01;
inline constexpr uint8_t kMcrRts = 0x02;
inline constexpr uint8_t kMcrOut1 = 0x04;
inline constexpr uint8_t kMcrOut2 = 0x08;
inline constexpr uint8_t kMcrLoopback = 0x10;
inline constexpr uint8_t kMcrMask = 0x1F;

// Line Status Register, 8.3.
inline constexpr uint8_t kLsrDataReady = 0x01;
inline constexpr uint8_t kLsrOverrun = 0x02;
inline constexpr uint8_t kLsrParity = 0x04;
inline constexpr uint8_t kLsrFraming = 0x08;
inline constexpr uint8_t kLsrBreak = 0x10;
inline constexpr uint8_t kLsrTransmitEmpty = 0x20;  ///< THRE
inline constexpr uint8_t kLsrIdle = 0x40;           ///< TEMT
inline constexpr uint8_t kLsrFifoError = 0x80;

// Modem Status Register, 8.8.
inline constexpr uint8_t kMsrDeltaCts = 0x01;
inline constexpr uint8_t kMsrDeltaDsr = 0x02;
inline constexpr uint8_t kMsrTrailingRi = 0x04;
inline constexpr uint8_t kMsrDeltaDcd = 0x08;
inline constexpr uint8_t kMsrDeltaMask = 0x0F;
inline constexpr uint8_t kMsrCts = 0x10;
inline constexpr uint8_t kMsrDsr = 0x20;
inline constexpr uint8_t kMsrRi = 0x40;
inline constexpr uint8_t kMsrDcd = 0x80;

/// Depth of each FIFO, 8.4.
inline constexpr size_t kFifoDepth = 16;
/// The crystal of a PC's UART in Hz (table III), and how many of its cycles, once divided by the
/// divisor latch, make one bit.
inline constexpr uint32_t kCrystalHz = 1'843'200;
inline constexpr uint32_t kClocksPerBit = 16;
/// The divisor latch is undefined at power-on (table I); this is 9600 baud, as in QEMU.
inline constexpr uint16_t kDefaultDivisor = 12;

}  // namespace halcyon::serial_16550
