#include "tools/mshv-emulator/xsave_format.h"

#include <algorithm>
#include <cstring>

namespace halcyon::emulator {

namespace {

// The header behind the legacy area (Intel SDM 1 13.4.2).
constexpr uint64_t kXstateBv = 512;
constexpr uint64_t kXcompBv = 520;
constexpr uint64_t kExtendedArea = 576;
constexpr uint64_t kCompacted = uint64_t{1} << 63;
/// x87 and SSE, which the legacy area has.
constexpr uint64_t kLegacyStates = 3;

uint64_t get(const std::vector<uint8_t>& area, uint64_t offset) {
    uint64_t value = 0;
    if (offset + sizeof(value) <= area.size()) {
        std::memcpy(&value, area.data() + offset, sizeof(value));
    }
    return value;
}

void put(std::vector<uint8_t>& area, uint64_t offset, uint64_t value) {
    if (offset + sizeof(value) <= area.size()) {
        std::memcpy(area.data() + offset, &value, sizeof(value));
    }
}

bool fits(const std::vector<uint8_t>& area, uint64_t offset, uint64_t size) {
    return offset <= area.size() && size <= area.size() - offset;
}

uint64_t align(const XsaveComponent& component, uint64_t offset) {
    return component.aligned ? (offset + 63) / 64 * 64 : offset;
}

}  // namespace

std::vector<XsaveComponent> xsave_components(const CpuidEntries& leaves) {
    std::vector<XsaveComponent> components;
    const kvm_cpuid_entry2* main = find_leaf(leaves, 0xd, 0);
    const uint64_t states =
        main == nullptr ? kLegacyStates : main->eax | static_cast<uint64_t>(main->edx) << 32;
    for (unsigned number = 2; number < 63; ++number) {
        const kvm_cpuid_entry2* leaf = find_leaf(leaves, 0xd, number);
        if ((states >> number & 1) != 0 && leaf != nullptr) {
            components.push_back({.number = number,
                                  .size = leaf->eax,
                                  .standard_offset = leaf->ebx,
                                  .aligned = (leaf->ecx & 2) != 0});
        }
    }
    return components;
}

void compact_xsave(const CpuidEntries& leaves, const std::vector<uint8_t>& standard,
                   std::vector<uint8_t>& compacted) {
    std::fill(compacted.begin(), compacted.end(), uint8_t{0});
    std::copy_n(standard.begin(), std::min({standard.size(), compacted.size(), size_t{kXstateBv}}),
                compacted.begin());
    const uint64_t present = get(standard, kXstateBv);
    uint64_t states = kLegacyStates;
    uint64_t offset = kExtendedArea;
    for (const XsaveComponent& component : xsave_components(leaves)) {
        offset = align(component, offset);
        if (!fits(compacted, offset, component.size)) {
            break;
        }
        states |= uint64_t{1} << component.number;
        if ((present >> component.number & 1) != 0 &&
            fits(standard, component.standard_offset, component.size)) {
            std::memcpy(compacted.data() + offset, standard.data() + component.standard_offset,
                        component.size);
        }
        offset += component.size;
    }
    put(compacted, kXstateBv, (present & states) | kLegacyStates);
    put(compacted, kXcompBv, states | kCompacted);
}

bool expand_xsave(const CpuidEntries& leaves, const std::vector<uint8_t>& compacted,
                  std::vector<uint8_t>& standard) {
    const uint64_t layout = get(compacted, kXcompBv);
    const uint64_t present = get(compacted, kXstateBv);
    if ((layout & kCompacted) == 0 || (present & ~layout) != 0 ||
        compacted.size() < kExtendedArea || standard.size() < kExtendedArea) {
        return false;
    }
    std::copy_n(compacted.begin(), kXstateBv, standard.begin());
    uint64_t unknown = layout & ~(kCompacted | kLegacyStates);
    uint64_t offset = kExtendedArea;
    for (const XsaveComponent& component : xsave_components(leaves)) {
        const uint64_t bit = uint64_t{1} << component.number;
        if ((layout & bit) == 0) {
            continue;
        }
        unknown &= ~bit;
        offset = align(component, offset);
        if (!fits(compacted, offset, component.size) ||
            !fits(standard, component.standard_offset, component.size)) {
            return false;
        }
        std::memcpy(standard.data() + component.standard_offset, compacted.data() + offset,
                    component.size);
        offset += component.size;
    }
    std::fill_n(standard.begin() + kXstateBv, kExtendedArea - kXstateBv, uint8_t{0});
    put(standard, kXstateBv, present);
    return unknown == 0;
}

}  // namespace halcyon::emulator
