#include "machine/memory_view.h"

#include <array>
#include <limits>

#include <gtest/gtest.h>

namespace halcyon {
namespace {

class MemoryViewTest : public testing::Test {
protected:
    MemoryViewTest() {
        for (size_t index = 0; index < bytes_.size(); ++index) {
            bytes_[index] = static_cast<std::byte>(index);
        }
    }
    [[nodiscard]] MemoryBlock block(uint64_t start, size_t offset, size_t size) const {
        return {Gpa(start), std::span(bytes_).subspan(offset, size)};
    }

    std::array<std::byte, 64> bytes_{};
};

TEST_F(MemoryViewTest, SortsAndJoinsWhatContinues) {
    const MemoryView view({block(0x1010, 16, 16), block(0x2000, 48, 8), block(0x1000, 0, 16)});
    ASSERT_EQ(view.blocks().size(), 2u);
    EXPECT_EQ(view.blocks()[0].start, Gpa(0x1000));
    EXPECT_EQ(view.blocks()[0].bytes.size(), 32u);
    EXPECT_EQ(view.size(), 40u);
}

TEST_F(MemoryViewTest, KeepsNeighboursFromDifferentPlacesApart) {
    const MemoryView view({block(0x1000, 0, 16), block(0x1010, 32, 16)});
    EXPECT_EQ(view.blocks().size(), 2u);
}

TEST_F(MemoryViewTest, ReadsAcrossBlocksAndHoles) {
    const MemoryView view({block(0x1000, 1, 2), block(0x1002, 40, 1), block(0x1004, 50, 1)});
    std::array<std::byte, 7> out{};
    out.fill(std::byte{0xAA});
    EXPECT_FALSE(view.read(0xFFF, out));
    const std::array<unsigned, 7> expected = {0, 1, 2, 40, 0, 50, 0};
    for (size_t index = 0; index < out.size(); ++index) {
        EXPECT_EQ(static_cast<unsigned>(out[index]), expected[index]) << index;
    }
    EXPECT_TRUE(view.read(0x1000, std::span(out).first(3)));
    EXPECT_EQ(view.read_integer<uint32_t>(0x1000), std::nullopt);
    EXPECT_TRUE(view.read(0xFFFF, {})) << "nothing is everywhere";
}

TEST_F(MemoryViewTest, ClipsToARangeThatMayWrap) {
    const uint64_t top = std::numeric_limits<uint64_t>::max() - 31;
    const MemoryView view({block(0x1000, 0, 16), block(top, 16, 16)});
    EXPECT_EQ(view.clipped(0x1004, 4).size(), 4u);
    EXPECT_EQ(view.clipped(0x1004, 4).blocks()[0].start, Gpa(0x1004));
    EXPECT_EQ(view.clipped(0x1008, std::numeric_limits<uint64_t>::max()).size(), 24u);
    EXPECT_EQ(view.clipped(0x1010, 16).size(), 0u);
    EXPECT_EQ(view.clipped(0x1000, 0).size(), 0u);
}

TEST_F(MemoryViewTest, AnEmptyOneHasNothing) {
    const MemoryView view;
    EXPECT_EQ(view.size(), 0u);
    EXPECT_EQ(view.read_integer<uint64_t>(0), std::nullopt);
}

}  // namespace
}  // namespace halcyon
