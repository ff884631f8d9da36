/// Register map of system control port A (IBM PS/2 Hardware Interface Technical Reference, "System
/// Control Port A").
#pragma once

#include <cstdint>

namespace halcyon::system_control_port {

/// Ports it occupies.
inline constexpr uint64_t kPortCount = 1;

inline constexpr uint8_t kFastReset = 0x01;  ///< resets the processor when it goes from 0 to 1
inline constexpr uint8_t kFastA20 = 0x02;
inline constexpr uint8_t kPasswordLock = 0x08;  ///< once set, it stays until a reset
inline constexpr uint8_t kDiskLight = 0xC0;
inline constexpr uint8_t kMask = kFastReset | kFastA20 | kPasswordLock | kDiskLight;

}  // namespace halcyon::system_control_port
