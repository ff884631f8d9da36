#include "machine/io_bus.h"

#include <array>
#include <thread>

#include <gtest/gtest.h>

namespace halcyon {
namespace {

/// Answers reads with its tag plus the offset, and keeps what was written.
class Block : public IoHandler {
public:
    explicit Block(uint8_t tag) : tag_(tag) {}
    [[nodiscard]] std::string_view name() const override { return "block"; }
    void read(uint64_t offset, std::span<std::byte> data) override {
        for (size_t i = 0; i < data.size(); ++i) {
            data[i] = std::byte(tag_ + offset + i);
        }
    }
    void write(uint64_t offset, std::span<const std::byte> data) override {
        writes.emplace_back(offset, load_le(data), data.size());
    }
    std::vector<std::tuple<uint64_t, uint64_t, size_t>> writes;

private:
    uint8_t tag_;
};

uint64_t read(const IoBus& bus, uint64_t address, size_t width) {
    std::array<std::byte, 8> data{};
    bus.read(address, std::span(data).first(width));
    return load_le(std::span(data).first(width));
}

void write(const IoBus& bus, uint64_t address, uint64_t value, size_t width) {
    std::array<std::byte, 8> data{};
    store_le(std::span(data).first(width), value);
    bus.write(address, std::span(data).first(width));
}

TEST(IoBus, AccessGoesToTheBlockWithItsOffset) {
    IoBus bus("port");
    Block a(0x10);
    Block b(0x20);
    ASSERT_TRUE(bus.add(0x60, 1, a));
    ASSERT_TRUE(bus.add(0x64, 4, b));
    EXPECT_EQ(read(bus, 0x60, 1), 0x10u);
    EXPECT_EQ(read(bus, 0x66, 1), 0x22u);
    write(bus, 0x64, 0x11223344, 4);
    ASSERT_EQ(b.writes.size(), 1u);
    EXPECT_EQ(b.writes[0], std::make_tuple(0ul, 0x11223344ul, 4ul));
}

TEST(IoBus, UnclaimedReadsAreAllOnesAndWritesVanish) {
    IoBus bus("port");
    Block a(0);
    ASSERT_TRUE(bus.add(0x60, 1, a));
    EXPECT_EQ(read(bus, 0x5f, 1), 0xffu);
    EXPECT_EQ(read(bus, 0x61, 4), 0xffffffffu);
    EXPECT_EQ(read(bus, 0xfffffffffffffff8, 8), 0xffffffffffffffffu);
    write(bus, 0x61, 1, 1);
    EXPECT_TRUE(a.writes.empty());
}

TEST(IoBus, StraddlingAccessIsSplitIntoBytes) {
    IoBus bus("port");
    Block a(0x10);
    Block b(0x20);
    ASSERT_TRUE(bus.add(0x70, 2, a));
    ASSERT_TRUE(bus.add(0x72, 1, b));
    EXPECT_EQ(read(bus, 0x71, 4), 0xffff2011u);
    write(bus, 0x71, 0xddccbbaa, 4);
    EXPECT_EQ(a.writes.at(0), std::make_tuple(1ul, 0xaaul, 1ul));
    EXPECT_EQ(b.writes.at(0), std::make_tuple(0ul, 0xbbul, 1ul));
}

TEST(IoBus, OverlapIsRefusedAndNamesBoth) {
    IoBus bus("port");
    Block a(0);
    Block b(0);
    ASSERT_TRUE(bus.add(0x10, 4, a));
    for (const auto& [start, size] :
         {std::pair(0x10ul, 4ul), {0x0ful, 2ul}, {0x13ul, 1ul}, {0x0ul, 0x100ul}}) {
        auto result = bus.add(start, size, b);
        ASSERT_FALSE(result);
        EXPECT_NE(result.error().message().find("is taken by block"), std::string::npos);
    }
    EXPECT_TRUE(bus.add(0x14, 1, b));
    EXPECT_TRUE(bus.add(0x0f, 1, b));
}

TEST(IoBus, RemovedBlockAnswersNoMore) {
    IoBus bus("port");
    Block a(0x10);
    ASSERT_TRUE(bus.add(0x10, 4, a));
    bus.remove(0x11);
    EXPECT_EQ(read(bus, 0x10, 1), 0x10u);
    bus.remove(0x10);
    EXPECT_EQ(read(bus, 0x10, 1), 0xffu);
    EXPECT_TRUE(bus.add(0x10, 4, a));
}

/// A device that moves another block from inside its own register, as PIIX4 does with the ACPI
/// block.
class Mover : public IoHandler {
public:
    Mover(IoBus& bus, IoHandler& moved) : bus_(bus), moved_(moved) {}
    [[nodiscard]] std::string_view name() const override { return "mover"; }
    void read(uint64_t, std::span<std::byte>) override {}
    void write(uint64_t, std::span<const std::byte> data) override {
        bus_.remove(where_);
        where_ = load_le(data);
        EXPECT_TRUE(bus_.add(where_, 4, moved_));
    }

private:
    IoBus& bus_;
    IoHandler& moved_;
    uint64_t where_ = 0;
};

TEST(IoBus, DeviceMayMoveABlockFromInsideAnAccess) {
    IoBus bus("port");
    Block block(0x40);
    Mover mover(bus, block);
    ASSERT_TRUE(bus.add(0xcf8, 4, mover));
    write(bus, 0xcf8, 0x600, 4);
    EXPECT_EQ(read(bus, 0x600, 1), 0x40u);
    write(bus, 0xcf8, 0x700, 4);
    EXPECT_EQ(read(bus, 0x600, 1), 0xffu);
    EXPECT_EQ(read(bus, 0x701, 1), 0x41u);
}

TEST(IoBus, ReadersAndAMoverAtOnce) {
    IoBus bus("port");
    Block fixed(0x10);
    Block moved(0x40);
    ASSERT_TRUE(bus.add(0x10, 1, fixed));
    std::atomic<bool> end{false};
    std::thread reader([&] {
        while (!end) {
            EXPECT_EQ(read(bus, 0x10, 1), 0x10u);
            const uint64_t value = read(bus, 0x600, 1);
            EXPECT_TRUE(value == 0x40 || value == 0xff);
        }
    });
    for (int i = 0; i < 2000; ++i) {
        ASSERT_TRUE(bus.add(0x600, 4, moved));
        bus.remove(0x600);
    }
    end = true;
    reader.join();
}

}  // namespace
}  // namespace halcyon
