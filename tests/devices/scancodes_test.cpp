#include "devices/scancodes.h"

#include <set>

#include <gtest/gtest.h>

namespace halcyon {

void PrintTo(const Set3Key& key, std::ostream* out) {
    *out << (key.released ? "-" : "+") << int{key.code};
}

namespace {

std::vector<uint8_t> to_set1(const std::vector<uint8_t>& set2) {
    ScancodeTranslator translator;
    std::vector<uint8_t> set1;
    for (const uint8_t byte : set2) {
        if (const auto code = translator.translate(byte)) {
            set1.push_back(*code);
        }
    }
    return set1;
}

using Codes = std::vector<uint8_t>;

TEST(Scancodes, TranslatesWellKnownKeys) {
    EXPECT_EQ(to_set1({0x76}), (Codes{0x01}));              // Esc
    EXPECT_EQ(to_set1({0x1C}), (Codes{0x1E}));              // A
    EXPECT_EQ(to_set1({0x5A}), (Codes{0x1C}));              // Enter
    EXPECT_EQ(to_set1({0x07}), (Codes{0x58}));              // F12
    EXPECT_EQ(to_set1({0x83}), (Codes{0x41}));              // F7
    EXPECT_EQ(to_set1({0xE0, 0x75}), (Codes{0xE0, 0x48}));  // up
}

TEST(Scancodes, BreakPrefixBecomesBitSeven) {
    EXPECT_EQ(to_set1({0xF0, 0x1C}), (Codes{0x9E}));
    EXPECT_EQ(to_set1({0xE0, 0xF0, 0x75}), (Codes{0xE0, 0xC8}));
    EXPECT_EQ(to_set1({0xE1, 0x14, 0x77, 0xE1, 0xF0, 0x14, 0xF0, 0x77}),
              (Codes{0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5}));  // Pause
}

TEST(Scancodes, RepliesPassUnchanged) {
    for (const uint8_t reply : {0xFA, 0xFE, 0xAA, 0xAB, 0xEE, 0xFF}) {
        EXPECT_EQ(to_set1({reply}), (Codes{reply}));
    }
}

TEST(Scancodes, EveryKeyKeepsACodeOfItsOwn) {
    std::set<uint8_t> seen;
    for (unsigned code = 0x01; code < 0x80; ++code) {
        seen.insert(to_set1({static_cast<uint8_t>(code)}).at(0));
    }
    EXPECT_EQ(seen.size(), 0x7Fu);
}

TEST(Scancodes, Set3HasOneCodeForEachKey) {
    EXPECT_EQ(set3_keys({0x1C}), (std::vector<Set3Key>{{0x1C, false}}));  // A
    EXPECT_EQ(set3_keys({0xF0, 0x1C}), (std::vector<Set3Key>{{0x1C, true}}));
    EXPECT_EQ(set3_keys({0x76}), (std::vector<Set3Key>{{0x08, false}}));        // Esc
    EXPECT_EQ(set3_keys({0xE0, 0x75}), (std::vector<Set3Key>{{0x63, false}}));  // up
    EXPECT_EQ(set3_keys({0xE0, 0xF0, 0x75}), (std::vector<Set3Key>{{0x63, true}}));
    EXPECT_EQ(set3_keys({0x1C, 0xF0, 0x1C}), (std::vector<Set3Key>{{0x1C, false}, {0x1C, true}}));
}

TEST(Scancodes, Set3DropsTheShiftsAroundPrintScreen) {
    EXPECT_EQ(set3_keys({0xE0, 0x12, 0xE0, 0x7C}), (std::vector<Set3Key>{{0x57, false}}));
}

TEST(Scancodes, Set3PauseIsOneKey) {
    EXPECT_EQ(set3_keys({0xE1, 0x14, 0x77, 0xE1, 0xF0, 0x14, 0xF0, 0x77, 0x1C}),
              (std::vector<Set3Key>{{0x62, false}, {0x1C, false}}));
}

}  // namespace
}  // namespace halcyon
