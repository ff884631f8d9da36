#include "devices/fw_cfg.h"

#include <endian.h>

#include <string>

#include <gtest/gtest.h>

#include "base/types.h"
#include "tests/devices/io_access.h"

namespace halcyon {
namespace {

using namespace fw_cfg;

std::vector<std::byte> text_bytes(std::string_view text) {
    const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
    return {bytes.begin(), bytes.end()};
}

/// A device beside 64 KiB of RAM.
class FwCfgTest : public testing::Test {
protected:
    static constexpr uint64_t kRamSize = 64_KiB;
    static constexpr uint64_t kRequest = 0x1000;
    static constexpr uint64_t kBuffer = 0x2000;

    void SetUp() override { ASSERT_TRUE(memory_.add({Gpa(0), kRamSize}, "ram")); }

    void select(uint16_t key) { out16(device_, kSelector, key); }
    std::string read_string(size_t length) {
        std::string text;
        while (text.size() < length) {
            text += static_cast<char>(in8(device_, kData));
        }
        return text;
    }
    /// Starts a DMA request at kRequest; its control word afterwards.
    uint32_t dma(uint32_t control, uint32_t length, uint64_t address = kBuffer) {
        const DmaRequest request{htobe32(control), htobe32(length), htobe64(address)};
        EXPECT_TRUE(memory_.write_object(Gpa(kRequest), request));
        out32(device_, kDma + 4, htobe32(kRequest));
        return be32toh(*memory_.read_object<uint32_t>(Gpa(kRequest)));
    }
    std::string memory_string(uint64_t address, size_t length) {
        std::string text(length, '?');
        EXPECT_TRUE(memory_.read(Gpa(address), std::as_writable_bytes(std::span(text))));
        return text;
    }
    static uint32_t select_bits(uint16_t key) {
        return kDmaSelect | static_cast<uint32_t>(key) << 16;
    }

    GuestMemory memory_;
    FwCfg device_{memory_};
};

TEST_F(FwCfgTest, SignatureIsSelectedAtPowerOn) {
    EXPECT_EQ(read_string(4), "QEMU");
}

TEST_F(FwCfgTest, IdTellsOfTheDmaInterface) {
    select(kKeyId);
    EXPECT_EQ(read_string(4), std::string("\x03\0\0\0", 4));
}

TEST_F(FwCfgTest, ReadingPastTheEndGivesZeros) {
    select(kKeySignature);
    EXPECT_EQ(read_string(6), std::string("QEMU\0\0", 6));
}

TEST_F(FwCfgTest, SelectingAgainStartsOver) {
    read_string(3);
    select(kKeySignature);
    EXPECT_EQ(read_string(4), "QEMU");
}

TEST_F(FwCfgTest, UnknownItemsReadAsZero) {
    select(kKeyUuid);
    EXPECT_EQ(in8(device_, kData), 0);
    select(0x3FFF);
    EXPECT_EQ(in8(device_, kData), 0);
}

TEST_F(FwCfgTest, NumbersAreLittleEndian) {
    ASSERT_TRUE(device_.add_u16(kKeyCpuCount, 0x0102));
    ASSERT_TRUE(device_.add_u32(kKeyIrq0Override, 0x01020304));
    ASSERT_TRUE(device_.add_u64(kKeyRamSize, 0x0102030405060708));
    select(kKeyCpuCount);
    EXPECT_EQ(read_string(3), std::string("\x02\x01\0", 3));
    select(kKeyIrq0Override);
    EXPECT_EQ(read_string(4), "\x04\x03\x02\x01");
    select(kKeyRamSize);
    EXPECT_EQ(read_string(8), "\x08\x07\x06\x05\x04\x03\x02\x01");
}

TEST_F(FwCfgTest, ArchitectureKeysAreASpaceOfTheirOwn) {
    ASSERT_TRUE(device_.add_bytes(kKeyUuid, text_bytes("uuid")));
    ASSERT_TRUE(device_.add_bytes(kKeyIrq0Override, text_bytes("irq0")));
    select(kKeyUuid);
    EXPECT_EQ(read_string(4), "uuid");
    select(kKeyIrq0Override);
    EXPECT_EQ(read_string(4), "irq0");
}

TEST_F(FwCfgTest, WriteChannelBitOfAKeyIsIgnored) {
    select(kKeySignature | kKeyWriteChannel);
    EXPECT_EQ(read_string(4), "QEMU");
}

TEST_F(FwCfgTest, ItemsOfTheDeviceItselfCannotBeSet) {
    EXPECT_FALSE(device_.add_u32(kKeyId, 1));
    EXPECT_FALSE(device_.add_u32(kKeySignature, 1));
    EXPECT_FALSE(device_.add_u32(kKeyFileDirectory, 1));
    EXPECT_FALSE(device_.add_u32(kKeyFirstFile, 1));
    EXPECT_FALSE(device_.add_u32(kKeyUuid | kKeyWriteChannel, 1));
}

TEST_F(FwCfgTest, DirectoryIsSortedByNameAndBigEndian) {
    ASSERT_TRUE(device_.add_file("etc/zebra", text_bytes("zz")));
    ASSERT_TRUE(device_.add_file("bootorder", text_bytes("abc")));
    select(kKeyFileDirectory);
    EXPECT_EQ(read_string(4), std::string("\0\0\0\x02", 4));
    const std::string first = read_string(64);
    EXPECT_EQ(first.substr(0, 8), std::string("\0\0\0\x03\0\x20\0\0", 8));
    EXPECT_STREQ(first.c_str() + 8, "bootorder");
    const std::string second = read_string(64);
    EXPECT_EQ(second.substr(0, 8), std::string("\0\0\0\x02\0\x21\0\0", 8));
    EXPECT_STREQ(second.c_str() + 8, "etc/zebra");
    select(0x20);
    EXPECT_EQ(read_string(3), "abc");
    select(0x21);
    EXPECT_EQ(read_string(2), "zz");
}

TEST_F(FwCfgTest, AddingItemsAfterFilesKeepsBoth) {
    ASSERT_TRUE(device_.add_file("a", text_bytes("A")));
    ASSERT_TRUE(device_.add_bytes(kKeyUuid, text_bytes("U")));
    ASSERT_TRUE(device_.add_file("b", text_bytes("B")));
    select(kKeyUuid);
    EXPECT_EQ(read_string(1), "U");
    select(0x21);
    EXPECT_EQ(read_string(1), "B");
}

TEST_F(FwCfgTest, UnusableFilesAreRefused) {
    EXPECT_FALSE(device_.add_file("", {}));
    EXPECT_FALSE(device_.add_file(std::string(56, 'n'), {}));
    EXPECT_TRUE(device_.add_file(std::string(55, 'n'), {}));
    EXPECT_FALSE(device_.add_file(std::string(55, 'n'), {}));
    for (size_t i = 1; i < kFileSlots; ++i) {
        EXPECT_TRUE(device_.add_file("file" + std::to_string(i), {}));
    }
    EXPECT_FALSE(device_.add_file("one too many", {}));
}

TEST_F(FwCfgTest, SelectorTakesOnlyWords) {
    select(kKeyId);
    out8(device_, kSelector, kKeySignature);
    out32(device_, kSelector, kKeySignature);
    EXPECT_EQ(in8(device_, kData), 3);
    EXPECT_EQ(in16(device_, kSelector), 0);
}

TEST_F(FwCfgTest, WideReadsOfTheDataPortGiveOneByteOfTheItem) {
    EXPECT_EQ(in16(device_, kData), 0xFF00 | 'Q');
    EXPECT_EQ(in8(device_, kData), 'E');
}

TEST_F(FwCfgTest, DataPortIgnoresWrites) {
    out8(device_, kData, 'X');
    EXPECT_EQ(read_string(4), "QEMU");
}

TEST_F(FwCfgTest, DmaRegisterReadsItsSignature) {
    std::string text;
    for (uint64_t i = 0; i < 8; ++i) {
        text += static_cast<char>(in8(device_, kDma + i));
    }
    EXPECT_EQ(text, "QEMU CFG");
    EXPECT_EQ(be32toh(in32(device_, kDma)), 0x51454D55u);
    EXPECT_EQ(be64toh(io_read<uint64_t>(device_, kDma)), 0x51454D5520434647u);
}

TEST_F(FwCfgTest, DmaReadsTheSelectedItemInPieces) {
    ASSERT_TRUE(device_.add_file("file", text_bytes("0123456789")));
    select(0x20);
    EXPECT_EQ(dma(kDmaRead, 4), 0u);
    EXPECT_EQ(memory_string(kBuffer, 4), "0123");
    EXPECT_EQ(dma(kDmaSkip, 2), 0u);
    EXPECT_EQ(dma(kDmaRead, 2), 0u);
    EXPECT_EQ(memory_string(kBuffer, 4), "6723");
    EXPECT_EQ(in8(device_, kData), '8') << "the data port and DMA share the position";
}

TEST_F(FwCfgTest, DmaSelectsAndReadsInOneRequest) {
    EXPECT_EQ(dma(select_bits(kKeySignature) | kDmaRead, 4), 0u);
    EXPECT_EQ(memory_string(kBuffer, 4), "QEMU");
}

TEST_F(FwCfgTest, DmaSelectAloneTransfersNothing) {
    EXPECT_EQ(dma(select_bits(kKeyId), 4), 0u);
    EXPECT_EQ(in8(device_, kData), 3);
}

TEST_F(FwCfgTest, DmaReadPastTheEndIsPaddedWithZeros) {
    ASSERT_TRUE(memory_.write(Gpa(kBuffer), text_bytes(std::string(9000, 'x'))));
    EXPECT_EQ(dma(select_bits(kKeySignature) | kDmaRead, 8999), 0u);
    EXPECT_EQ(memory_string(kBuffer, 9000), "QEMU" + std::string(8995, '\0') + "x");
}

TEST_F(FwCfgTest, DmaReadFarPastTheEndIsRefused) {
    EXPECT_EQ(dma(select_bits(kKeySignature) | kDmaRead, 0xFFFFFFFF), kDmaError);
}

TEST_F(FwCfgTest, DmaSkipStopsAtTheEnd) {
    EXPECT_EQ(dma(select_bits(kKeySignature) | kDmaSkip, 0xFFFFFFFF), 0u);
    EXPECT_EQ(dma(kDmaSkip, 0xFFFFFFFF), 0u);
    EXPECT_EQ(in8(device_, kData), 0);
}

TEST_F(FwCfgTest, DmaTakesAWhole64BitAddress) {
    const DmaRequest request{htobe32(select_bits(kKeySignature) | kDmaRead), htobe32(4),
                             htobe64(kBuffer)};
    ASSERT_TRUE(memory_.write_object(Gpa(kRequest), request));
    io_write<uint64_t>(device_, kDma, htobe64(kRequest));
    EXPECT_EQ(memory_string(kBuffer, 4), "QEMU");
}

TEST_F(FwCfgTest, DmaHighHalfIsForgottenAfterARequest) {
    out32(device_, kDma, htobe32(1));
    out32(device_, kDma + 4, htobe32(kRequest));  // 4 GiB and up: outside of RAM
    EXPECT_EQ(dma(select_bits(kKeySignature) | kDmaRead, 4), 0u);
}

TEST_F(FwCfgTest, DmaIgnoresNarrowWritesToItsRegister) {
    const DmaRequest request{htobe32(select_bits(kKeySignature) | kDmaRead), htobe32(4),
                             htobe64(kBuffer)};
    ASSERT_TRUE(memory_.write_object(Gpa(0), request));
    out16(device_, kDma + 6, 0);
    out8(device_, kDma + 7, 0);
    EXPECT_EQ(be32toh(*memory_.read_object<uint32_t>(Gpa(0))), be32toh(request.control));
}

TEST_F(FwCfgTest, DmaToAWildAddressSetsTheErrorBit) {
    EXPECT_EQ(dma(select_bits(kKeySignature) | kDmaRead, 4, kRamSize), kDmaError);
    EXPECT_EQ(dma(select_bits(kKeySignature) | kDmaRead, 4, kRamSize - 2), kDmaError);
    EXPECT_EQ(dma(select_bits(kKeySignature) | kDmaRead, 64, ~uint64_t{0} - 7), kDmaError);
    EXPECT_EQ(dma(select_bits(kKeyUuid) | kDmaRead, 64, ~uint64_t{0} - 7), kDmaError);
}

TEST_F(FwCfgTest, DmaRequestOutsideRamIsSurvived) {
    io_write<uint64_t>(device_, kDma, htobe64(~uint64_t{0}));
    io_write<uint64_t>(device_, kDma, htobe64(kRamSize));
    // A request that only starts in RAM: its control word can still take the error.
    ASSERT_TRUE(memory_.write_object<uint32_t>(Gpa(kRamSize - 4), 0));
    io_write<uint64_t>(device_, kDma, htobe64(kRamSize - 4));
    EXPECT_EQ(be32toh(*memory_.read_object<uint32_t>(Gpa(kRamSize - 4))), kDmaError);
}

TEST_F(FwCfgTest, DmaWriteToAReadOnlyItemIsAnError) {
    ASSERT_TRUE(device_.add_file("file", text_bytes("abcd")));
    EXPECT_EQ(dma(select_bits(0x20) | kDmaWrite, 4), kDmaError);
    EXPECT_EQ(dma(select_bits(kKeyUuid) | kDmaWrite, 4), kDmaError);
    select(0x20);
    EXPECT_EQ(read_string(4), "abcd");
}

TEST_F(FwCfgTest, WritableFileTakesDmaAndTellsItsOwner) {
    std::string told;
    ASSERT_TRUE(device_.add_writable_file(
        "etc/vmgenid_addr", text_bytes("________"),
        [&](size_t offset, size_t length, std::span<const std::byte> content) {
            told = std::to_string(offset) + "+" + std::to_string(length) + ":" +
                   std::string(reinterpret_cast<const char*>(content.data()), content.size());
        }));
    ASSERT_TRUE(memory_.write(Gpa(kBuffer), text_bytes("abcdefgh")));
    EXPECT_EQ(dma(select_bits(0x20) | kDmaSkip, 2), 0u);
    EXPECT_EQ(dma(kDmaWrite, 3), 0u);
    EXPECT_EQ(told, "2+3:__abc___");
    select(0x20);
    EXPECT_EQ(read_string(8), "__abc___");
}

TEST_F(FwCfgTest, WritePastTheEndOrFromAWildAddressChangesNothing) {
    ASSERT_TRUE(device_.add_writable_file("file", text_bytes("____"), nullptr));
    EXPECT_EQ(dma(select_bits(0x20) | kDmaWrite, 5), kDmaError);
    EXPECT_EQ(dma(select_bits(0x20) | kDmaWrite, 4, kRamSize - 2), kDmaError);
    select(0x20);
    EXPECT_EQ(read_string(4), "____");
}

TEST_F(FwCfgTest, ResetSelectsTheSignatureAndRestoresWritableFiles) {
    ASSERT_TRUE(device_.add_writable_file("file", text_bytes("____"), nullptr));
    ASSERT_EQ(dma(select_bits(0x20) | kDmaWrite, 4), 0u);
    out32(device_, kDma, htobe32(1));
    device_.reset();
    EXPECT_EQ(read_string(4), "QEMU");
    select(0x20);
    EXPECT_EQ(read_string(4), "____");
    EXPECT_EQ(dma(select_bits(kKeySignature) | kDmaRead, 4), 0u);
}

}  // namespace
}  // namespace halcyon
