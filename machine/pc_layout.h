/// Where the devices of a PC are: the ports and interrupts that firmware and guests expect, as in
/// QEMU's "pc" machine.
#pragma once

#include <array>
#include <cstdint>

namespace halcyon::pc {

// ISA interrupts.
inline constexpr unsigned kIsaIrqs = 16;
inline constexpr unsigned kTimerIrq = 0;
inline constexpr unsigned kKeyboardIrq = 1;
inline constexpr unsigned kRtcIrq = 8;
inline constexpr unsigned kSciIrq = 9;
inline constexpr unsigned kMouseIrq = 12;

// Ports.
inline constexpr uint16_t kMasterPicPort = 0x20;
inline constexpr uint16_t kTimerPort = 0x40;
inline constexpr uint16_t kRtcPort = 0x70;
inline constexpr uint16_t kSlavePicPort = 0xa0;
inline constexpr uint16_t kDebugconPort = 0x402;
inline constexpr uint16_t kElcrPort = 0x4d0;
inline constexpr uint16_t kFwCfgPort = 0x510;
inline constexpr uint16_t kGpe0Port = 0xafe0;

// Memory.
inline constexpr uint64_t kIoapicBase = 0xfec00000;
inline constexpr uint64_t kIoapicSize = 0x1000;

struct SerialPort {
    uint16_t base;
    unsigned irq;
};
/// COM1 to COM4.
inline constexpr std::array<SerialPort, 4> kSerialPorts{
    {{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}}};

}  // namespace halcyon::pc
