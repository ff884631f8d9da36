/// The two formats of an XSAVE area (Intel SDM 1 13.4): the standard one, KVM's, and the compacted
/// one, the hypervisor's.
#pragma once

#include <cstdint>
#include <vector>

#include "tools/mshv-emulator/cpuid.h"

namespace halcyon::emulator {

/// Where a state component is in the compacted format with all that `leaves` (CPUID Dh) show.
/// Components are as large and aligned as CPUID says.
struct XsaveComponent {
    unsigned number;
    uint64_t size;
    uint64_t standard_offset;
    bool aligned;  ///< to 64 bytes in the compacted format
};
std::vector<XsaveComponent> xsave_components(const CpuidEntries& leaves);

/// Fills `compacted`, as far as it goes, from `standard`: all components are there, initial or not.
void compact_xsave(const CpuidEntries& leaves, const std::vector<uint8_t>& standard,
                   std::vector<uint8_t>& compacted);

/// Puts into `standard` what `compacted` has. False when it is not in the compacted format, has
/// components that there are not, or is too short for them.
bool expand_xsave(const CpuidEntries& leaves, const std::vector<uint8_t>& compacted,
                  std::vector<uint8_t>& standard);

}  // namespace halcyon::emulator
