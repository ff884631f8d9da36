#include "machine/pc_memory.h"

#include <gtest/gtest.h>

#include "tests/machine/fake_accelerator.h"

namespace halcyon {
namespace {

constexpr uint64_t kRomSize = 256_KiB;

class PcMemoryTest : public testing::Test {
protected:
    void create(uint64_t ram_size, uint64_t rom_size = kRomSize) {
        auto rom = Mapping::anonymous(rom_size, "rom");
        ASSERT_TRUE(rom);
        for (uint64_t i = 0; i < rom_size; i += kPageSize) {
            store_le(rom->bytes().subspan(i, 8), 0xb105000000000000 + i);
        }
        auto pc = PcMemory::create(partition_, memory_, ram_size, std::move(*rom));
        ASSERT_TRUE(pc) << pc.error().message();
        pc_ = std::move(*pc);
    }
    /// The mapping that holds `address`; null when nothing is mapped there.
    const test::FakePartition::MappingEntry* at(uint64_t address) {
        for (const auto& [start, mapping] : partition_.mappings) {
            if (mapping.range.contains(Gpa(address))) {
                return &mapping;
            }
        }
        return nullptr;
    }
    uint64_t first_word(uint64_t address) {
        const auto* mapping = at(address);
        return load_le({mapping->host + (address - mapping->range.start.value()), 8});
    }
    uint64_t bus_read(uint64_t address) {
        std::array<std::byte, 4> data{};
        pc_->read(address - PcMemory::kShadowStart, data);
        return load_le(data);
    }
    void bus_write(uint64_t address, uint32_t value) {
        std::array<std::byte, 4> data{};
        store_le(data, value);
        pc_->write(address - PcMemory::kShadowStart, data);
    }

    test::FakeHypervisor hypervisor_;
    test::FakePartition partition_{hypervisor_};
    GuestMemory memory_;
    std::unique_ptr<PcMemory> pc_;
};

TEST_F(PcMemoryTest, RamHasItsHoles) {
    create(64_MiB);
    EXPECT_EQ(at(0)->access, MemoryAccess::kReadWrite);
    EXPECT_NE(at(0x9ffff), nullptr);
    EXPECT_EQ(at(0xa0000), nullptr);
    EXPECT_EQ(at(0xc0000), nullptr);
    EXPECT_NE(at(0x100000), nullptr);
    EXPECT_NE(at(64_MiB - 1), nullptr);
    EXPECT_EQ(at(64_MiB), nullptr);
    EXPECT_EQ(at(4_GiB), nullptr);
}

TEST_F(PcMemoryTest, MoreThanThreeAndAHalfGigabytesIsSplit) {
    create(4_GiB);
    EXPECT_EQ(pc_->low_ram(), 3_GiB);
    EXPECT_EQ(pc_->high_ram(), 1_GiB);
    EXPECT_EQ(at(3_GiB), nullptr);
    EXPECT_NE(at(5_GiB - 1), nullptr);
    EXPECT_EQ(at(5_GiB), nullptr);
}

TEST_F(PcMemoryTest, UpToThreeAndAHalfGigabytesIsNot) {
    create(0xe0000000);
    EXPECT_EQ(pc_->low_ram(), 0xe0000000u);
    EXPECT_EQ(pc_->high_ram(), 0u);
}

TEST_F(PcMemoryTest, FirmwareEndsAtFourGigabytesReadOnly) {
    create(64_MiB);
    EXPECT_EQ(at(4_GiB - kRomSize)->access, MemoryAccess::kReadOnly);
    EXPECT_EQ(first_word(4_GiB - kRomSize), 0xb105000000000000u);
    EXPECT_EQ(at(4_GiB - kRomSize - 1), nullptr);
}

TEST_F(PcMemoryTest, LastPartOfTheFirmwareIsBelowOneMegabyte) {
    create(64_MiB);
    EXPECT_EQ(first_word(0xe0000), 0xb105000000000000u + kRomSize - 128_KiB);
    EXPECT_EQ(first_word(0xf0000), 0xb105000000000000u + kRomSize - 64_KiB);
    EXPECT_EQ(at(0xe0000)->access, MemoryAccess::kReadOnly);
    EXPECT_EQ(at(0xdc000), nullptr);
}

TEST_F(PcMemoryTest, SmallFirmwareFillsOnlyTheTopSegment) {
    create(64_MiB, 64_KiB);
    EXPECT_EQ(at(0xec000), nullptr);
    EXPECT_EQ(first_word(0xf0000), 0xb105000000000000u);
}

TEST_F(PcMemoryTest, SegmentInRamIsWritableMemory) {
    create(64_MiB);
    ASSERT_TRUE(memory_.write_object(Gpa(0xf0000), uint64_t{0x1234}));
    ASSERT_TRUE(pc_->set_segment(0, true, true));
    EXPECT_EQ(at(0xf0000)->access, MemoryAccess::kReadWrite);
    EXPECT_EQ(first_word(0xf0000), 0x1234u);
    EXPECT_EQ(at(0xf0000)->range.size, 64_KiB);
}

TEST_F(PcMemoryTest, SegmentReadFromRamIgnoresWrites) {
    create(64_MiB);
    ASSERT_TRUE(memory_.write_object(Gpa(0xc0000), uint32_t{0x1234}));
    ASSERT_TRUE(pc_->set_segment(1, true, false));
    EXPECT_EQ(at(0xc0000)->access, MemoryAccess::kReadOnly);
    bus_write(0xc0000, 0xdead);
    EXPECT_EQ(first_word(0xc0000) & 0xffffffff, 0x1234u);
}

TEST_F(PcMemoryTest, SegmentWrittenToRamStillReadsTheFirmware) {
    create(64_MiB);
    ASSERT_TRUE(pc_->set_segment(0, false, true));
    EXPECT_EQ(at(0xf0000)->access, MemoryAccess::kReadOnly);
    EXPECT_EQ(first_word(0xf0000), 0xb105000000000000u + kRomSize - 64_KiB);
    bus_write(0xf0000, 0xcafe);
    EXPECT_EQ(*memory_.read_object<uint32_t>(Gpa(0xf0000)), 0xcafeu);
    EXPECT_EQ(first_word(0xf0000), 0xb105000000000000u + kRomSize - 64_KiB);
}

TEST_F(PcMemoryTest, SegmentWrittenToRamWithoutRomReadsAllOnes) {
    create(64_MiB);
    ASSERT_TRUE(pc_->set_segment(4, false, true));
    EXPECT_EQ(at(0xcc000), nullptr);
    bus_write(0xcc000, 0xcafe);
    EXPECT_EQ(*memory_.read_object<uint32_t>(Gpa(0xcc000)), 0xcafeu);
    EXPECT_EQ(bus_read(0xcc000), 0xffffffffu);
}

TEST_F(PcMemoryTest, WritesToTheBusChangeNoRam) {
    create(64_MiB);
    bus_write(0xcc000, 0xcafe);
    bus_write(0xf0000, 0xcafe);
    EXPECT_EQ(*memory_.read_object<uint32_t>(Gpa(0xcc000)), 0u);
    EXPECT_EQ(*memory_.read_object<uint32_t>(Gpa(0xf0000)), 0u);
}

TEST_F(PcMemoryTest, OpenSmramIsRam) {
    create(64_MiB);
    ASSERT_TRUE(pc_->set_smram_open(true));
    EXPECT_EQ(at(0xa0000)->access, MemoryAccess::kReadWrite);
    EXPECT_NE(at(0xbffff), nullptr);
    ASSERT_TRUE(pc_->set_smram_open(false));
    EXPECT_EQ(at(0xa0000), nullptr);
}

TEST_F(PcMemoryTest, ResetPutsTheFirmwareBack) {
    create(64_MiB);
    ASSERT_TRUE(pc_->set_smram_open(true));
    ASSERT_TRUE(pc_->set_segment(0, true, true));
    ASSERT_TRUE(pc_->set_segment(1, true, true));
    ASSERT_TRUE(pc_->reset());
    EXPECT_EQ(first_word(0xf0000), 0xb105000000000000u + kRomSize - 64_KiB);
    EXPECT_EQ(at(0xc0000), nullptr);
    EXPECT_EQ(at(0xa0000), nullptr);
}

}  // namespace
}  // namespace halcyon
