#include "machine/page_walk.h"

#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "machine/memory_view.h"

namespace halcyon {
namespace {

constexpr uint64_t kPaging = uint64_t{1} << 31;
constexpr uint64_t kPse = uint64_t{1} << 4;
constexpr uint64_t kPae = uint64_t{1} << 5;
constexpr uint64_t kLa57 = uint64_t{1} << 12;
constexpr uint64_t kLongModeActive = uint64_t{1} << 10;

/// 64 KiB at 0, for tables; paging is on, with its top table at 1000h.
class PageWalkTest : public testing::Test {
protected:
    PageWalkTest() {
        registers_.cr0 = kPaging;
        registers_.cr3 = 0x1000;
    }
    template <typename Integer>
    void put(uint64_t address, Integer value) {
        std::memcpy(bytes_.data() + address, &value, sizeof(value));
    }
    [[nodiscard]] std::optional<uint64_t> walk(uint64_t linear) const {
        const MemoryView memory({{Gpa(0), bytes_}});
        const auto found = translate_linear(
            registers_, linear, [&](Gpa address, std::span<std::byte> out) -> Result<void> {
                return memory.read(address.value(), out) ? Result<void>() : Error("no memory");
            });
        return found ? std::optional(found->value()) : std::nullopt;
    }

    std::vector<std::byte> bytes_{65536};
    VcpuRegisters registers_;
};

TEST_F(PageWalkTest, WithoutPagingAddressesArePhysical) {
    registers_.cr0 = 0;
    EXPECT_EQ(walk(0x1234567), 0x1234567u);
}

TEST_F(PageWalkTest, TwoLevels) {
    put<uint32_t>(0x1004, 0x2001);
    put<uint32_t>(0x2008, 0xABCDE001);
    EXPECT_EQ(walk(0x402123), 0xABCDE123u);
    EXPECT_EQ(walk(0x403123), std::nullopt) << "no page";
    EXPECT_EQ(walk(0x802123), std::nullopt) << "no table";
    EXPECT_EQ(walk(0x1'0040'2123), 0xABCDE123u) << "an address has 32 bits";
}

TEST_F(PageWalkTest, LargePagesOf32BitPagingNeedTheirSwitch) {
    put<uint32_t>(0x1004, 0x00C06081);  // bits 13-20 hold 3: 12 GiB and 12 MiB
    put<uint32_t>(0x1008, 0x00002081);
    EXPECT_EQ(walk(0x412345), std::nullopt);
    registers_.cr4 = kPse;
    EXPECT_EQ(walk(0x412345), 0x3'00C1'2345u);
}

TEST_F(PageWalkTest, PaeHasFourEntriesOnTop) {
    registers_.cr4 = kPae;
    registers_.cr3 = 0x1020;
    put<uint64_t>(0x1038, 0x2001);
    put<uint64_t>(0x2000, 0x3001);
    put<uint64_t>(0x3008, 0x8000'0001'2345'6001);  // bit 63 is execute-disable
    put<uint64_t>(0x2008, 0x0000'0002'0020'0081);
    EXPECT_EQ(walk(0xC0001ABC), 0x123456ABCu);
    EXPECT_EQ(walk(0xC0212345), 0x200212345u) << "2 MiB";
    EXPECT_EQ(walk(0x1ABC), std::nullopt);
}

TEST_F(PageWalkTest, FourLevelsWithPagesOfThreeSizes) {
    registers_.efer = kLongModeActive;
    registers_.cr4 = kPae;
    put<uint64_t>(0x1FF8, 0x2003);
    put<uint64_t>(0x2000, 0x3003);
    put<uint64_t>(0x2008, 0x40000083);
    put<uint64_t>(0x3000, 0x4003);
    put<uint64_t>(0x3008, 0x00A00083);
    put<uint64_t>(0x4018, 0x7003);
    EXPECT_EQ(walk(0xFFFFFF8000003456), 0x7456u);
    EXPECT_EQ(walk(0xFFFFFF8000234567), 0xA34567u);
    EXPECT_EQ(walk(0xFFFFFF8041234567), 0x41234567u);
    EXPECT_EQ(walk(0x0000FF8000003456), std::nullopt) << "not canonical";
    EXPECT_EQ(walk(0xFFFFFF0000003456), std::nullopt) << "not present";
}

TEST_F(PageWalkTest, FiveLevels) {
    registers_.efer = kLongModeActive;
    registers_.cr4 = kPae | kLa57;
    put<uint64_t>(0x1008, 0x2003);
    put<uint64_t>(0x2000, 0x3003);
    put<uint64_t>(0x3000, 0x80000083);
    EXPECT_EQ(walk(0x0001'0000'0012'3456), 0x80123456u);
    EXPECT_EQ(walk(0x0201'0000'0012'3456), std::nullopt) << "not canonical";
}

TEST_F(PageWalkTest, TablesOutsideMemoryTranslateNothing) {
    registers_.efer = kLongModeActive;
    registers_.cr3 = 0x10000;
    EXPECT_EQ(walk(0), std::nullopt);
    registers_.cr3 = 0x1000;
    put<uint64_t>(0x1000, 0x000f'ffff'ffff'f003);
    EXPECT_EQ(walk(0), std::nullopt);
}

}  // namespace
}  // namespace halcyon
