/// Scan codes: how the bytes of the three sets correspond (IBM PS/2 Hardware Interface Technical
/// Reference, "Keyboards (101- and 102-key)", scan code tables).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace halcyon {

/// A stream of set 2 bytes as set 1: what a keyboard in set 1 sends, and what the keyboard
/// controller makes of a set 2 keyboard's bytes. The break prefix becomes bit 7 of the code after
/// it; everything that is no scan code (replies, the prefixes E0 and E1) passes unchanged.
class ScancodeTranslator {
public:
    /// The byte for `byte`, or nothing for a break prefix.
    [[nodiscard]] std::optional<uint8_t> translate(uint8_t byte);
    void reset() { break_pending_ = false; }

private:
    bool break_pending_ = false;
};

/// One key going down or up, as a set 3 code.
struct Set3Key {
    uint8_t code = 0;
    bool released = false;
    friend bool operator==(const Set3Key&, const Set3Key&) = default;
};

/// The keys in a sequence of set 2 bytes. The shift codes that set 2 wraps around some keys are
/// dropped: set 3 has no such thing. Bytes that are no key's code give nothing.
[[nodiscard]] std::vector<Set3Key> set3_keys(const std::vector<uint8_t>& set2);

}  // namespace halcyon
