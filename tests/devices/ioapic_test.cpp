#include "devices/ioapic.h"

#include <atomic>
#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/devices/irq_recorder.h"

namespace halcyon {
namespace {

using namespace ioapic;

using Message = std::pair<uint64_t, uint32_t>;

constexpr uint32_t delivery(Delivery mode) {
    return static_cast<uint32_t>(mode) << kDeliveryShift;
}

class IoapicTest : public testing::Test {
protected:
    uint32_t get(uint8_t index) {
        select(index);
        std::byte data[4];
        chip.read(kWindow, data);
        return static_cast<uint32_t>(load_le(data));
    }
    void set(uint8_t index, uint32_t value) {
        select(index);
        write32(kWindow, value);
    }
    void select(uint8_t index) { write32(kIndex, index); }
    void write32(uint64_t offset, uint32_t value) {
        std::byte data[4];
        store_le(data, value);
        chip.write(offset, data);
    }
    static uint8_t low(unsigned pin) { return static_cast<uint8_t>(kRedirectionTable + 2 * pin); }
    static uint8_t high(unsigned pin) { return static_cast<uint8_t>(low(pin) + 1); }
    void raise(unsigned pin) { chip.input(pin).set(true); }
    void lower(unsigned pin) { chip.input(pin).set(false); }
    bool remote_irr(unsigned pin) { return (get(low(pin)) & kRemoteIrr) != 0; }

    std::vector<Message> sent;
    std::vector<IoapicRoute> routes;
    int publications = 0;
    Ioapic chip{{[this](uint64_t address, uint32_t data) { sent.emplace_back(address, data); },
                 [this](std::span<const IoapicRoute> table) {
                     routes.assign(table.begin(), table.end());
                     ++publications;
                 }}};
};

constexpr uint32_t kLevelEntry = kLevel | 0x51;
constexpr uint32_t kLevelData = kMessageLevel | kMessageAssert | 0x51;

TEST_F(IoapicTest, IdentifiesAsVersion20WithItsLastEntry) {
    EXPECT_EQ(get(kVersion), 0x0017'0020u);
    set(kVersion, 0);
    EXPECT_EQ(get(kVersion), 0x0017'0020u);
}

TEST_F(IoapicTest, TheIdHasFourBitsAndLoadsArbitration) {
    set(kId, 0xFFFF'FFFF);
    EXPECT_EQ(get(kId), 0x0F00'0000u);
    EXPECT_EQ(get(kArbitration), 0x0F00'0000u);
    set(kArbitration, 0);
    EXPECT_EQ(get(kArbitration), 0x0F00'0000u);
}

TEST_F(IoapicTest, EntriesAreMaskedAtReset) {
    for (unsigned pin = 0; pin < kPins; ++pin) {
        EXPECT_EQ(get(low(pin)), 0x0001'0000u);
        EXPECT_EQ(get(high(pin)), 0u);
        raise(pin);
    }
    EXPECT_TRUE(sent.empty());
    EXPECT_TRUE(routes.empty());
}

TEST_F(IoapicTest, EntriesKeepOnlyWhatCanBeWritten) {
    set(low(3), 0xFFFF'FFFF);
    EXPECT_EQ(get(low(3)), 0x0001'AFFFu);
    set(high(3), 0xFFFF'FFFF);
    EXPECT_EQ(get(high(3)), 0xFF00'0000u);
    EXPECT_EQ(get(low(3)), 0x0001'AFFFu);
}

TEST_F(IoapicTest, RegistersThatDoNotExistReadZero) {
    for (const uint8_t index : {0x03, 0x0F, 0x40, 0xFF}) {
        set(index, 0xFFFF'FFFF);
        EXPECT_EQ(get(index), 0u);
    }
    std::byte data[4];
    chip.read(0x20, data);
    EXPECT_EQ(load_le(data), 0u);
}

TEST_F(IoapicTest, TheIndexReadsBack) {
    select(0x12);
    std::byte data[4];
    chip.read(kIndex, data);
    EXPECT_EQ(load_le(data), 0x12u);
}

TEST_F(IoapicTest, NarrowAccessesReadTheirPartAndWriteOnlyTheIndex) {
    write_byte(chip, kIndex, kVersion);
    EXPECT_EQ(read_byte(chip, kWindow), 0x20);
    EXPECT_EQ(read_byte(chip, kWindow + 2), 0x17);
    write_byte(chip, kIndex, low(0));
    write_byte(chip, kWindow, 0x33);
    EXPECT_EQ(get(low(0)), 0x0001'0000u);
    std::byte wide[8];
    select(kVersion);
    chip.read(kWindow, wide);
    EXPECT_EQ(load_le(wide), 0x0017'0020u);
}

TEST_F(IoapicTest, AnEdgeDeliversOnceToItsDestination) {
    set(high(4), 0x0500'0000);
    set(low(4), 0x44);
    raise(4);
    EXPECT_EQ(sent, (std::vector<Message>{{0xFEE0'5000, 0x44}}));
    raise(4);
    lower(4);
    EXPECT_EQ(sent.size(), 1u);
    raise(4);
    EXPECT_EQ(sent.size(), 2u);
    EXPECT_FALSE(remote_irr(4));
}

TEST_F(IoapicTest, LogicalDestinationAndLowestPriorityAreInTheMessage) {
    set(high(4), 0xFF00'0000);
    set(low(4), kLogical | delivery(Delivery::kLowestPriority) | 0x44);
    raise(4);
    EXPECT_EQ(sent, (std::vector<Message>{{0xFEEF'F004, 0x144}}));
}

TEST_F(IoapicTest, AnEdgeOnAMaskedPinIsLost) {
    set(low(4), kMasked | 0x44);
    raise(4);
    set(low(4), 0x44);
    EXPECT_TRUE(sent.empty());
}

TEST_F(IoapicTest, ALevelDeliversOnceUntilItsEnd) {
    set(low(9), kLevelEntry);
    raise(9);
    EXPECT_EQ(sent, (std::vector<Message>{{0xFEE0'0000, kLevelData}}));
    EXPECT_TRUE(remote_irr(9));
    lower(9);
    raise(9);
    EXPECT_EQ(sent.size(), 1u);
    chip.end_of_interrupt(0x51);
    EXPECT_EQ(sent.size(), 2u) << "still asserted";
    EXPECT_TRUE(remote_irr(9));
    lower(9);
    chip.end_of_interrupt(0x51);
    EXPECT_EQ(sent.size(), 2u);
    EXPECT_FALSE(remote_irr(9));
}

TEST_F(IoapicTest, EndOfInterruptIsByVectorForAllEntriesThatShareIt) {
    set(low(9), kLevelEntry);
    set(low(10), kLevelEntry);
    set(low(11), kLevel | 0x61);
    raise(9);
    raise(10);
    raise(11);
    EXPECT_EQ(sent.size(), 3u);
    lower(9);
    chip.end_of_interrupt(0x51);
    EXPECT_FALSE(remote_irr(9));
    EXPECT_TRUE(remote_irr(10)) << "delivered again";
    EXPECT_EQ(sent.size(), 4u);
    chip.end_of_interrupt(0x77);
    EXPECT_TRUE(remote_irr(11));
    EXPECT_EQ(sent.size(), 4u);
}

TEST_F(IoapicTest, TheEoiRegisterEndsAnInterruptToo) {
    set(low(9), kLevelEntry);
    raise(9);
    lower(9);
    write32(kEoi, 0x51);
    EXPECT_FALSE(remote_irr(9));
}

TEST_F(IoapicTest, AMaskedLevelWaitsForItsUnmasking) {
    set(low(9), kMasked | kLevelEntry);
    raise(9);
    EXPECT_TRUE(sent.empty());
    set(low(9), kLevelEntry);
    EXPECT_EQ(sent.size(), 1u);
}

TEST_F(IoapicTest, MaskingInServiceKeepsRemoteIrrAndHoldsTheNextDelivery) {
    set(low(9), kLevelEntry);
    raise(9);
    set(low(9), kMasked | kLevelEntry);
    EXPECT_TRUE(remote_irr(9));
    chip.end_of_interrupt(0x51);
    EXPECT_FALSE(remote_irr(9));
    EXPECT_EQ(sent.size(), 1u);
    set(low(9), kLevelEntry);
    EXPECT_EQ(sent.size(), 2u);
}

TEST_F(IoapicTest, RemoteIrrCannotBeWritten) {
    set(low(9), kRemoteIrr | kDeliveryStatus | kLevelEntry);
    EXPECT_EQ(get(low(9)), kLevelEntry);
}

TEST_F(IoapicTest, MakingAnEntryEdgeTriggeredClearsRemoteIrr) {
    set(low(9), kLevelEntry);
    raise(9);
    lower(9);
    set(low(9), kMasked | 0x51);
    set(low(9), kMasked | kLevelEntry);
    EXPECT_FALSE(remote_irr(9));
}

TEST_F(IoapicTest, PolarityIsKeptAndDoesNotInvertTheLine) {
    set(low(9), kActiveLow | kLevelEntry);
    EXPECT_EQ(get(low(9)), kActiveLow | kLevelEntry);
    EXPECT_TRUE(sent.empty());
    raise(9);
    EXPECT_EQ(sent.size(), 1u);
}

TEST_F(IoapicTest, ModesWithEdgeSemanticsIgnoreTheTriggerBit) {
    for (const Delivery mode :
         {Delivery::kSmi, Delivery::kNmi, Delivery::kInit, Delivery::kExtInt}) {
        sent.clear();
        set(low(9), static_cast<uint32_t>(kLevel) | delivery(mode));
        raise(9);
        EXPECT_EQ(sent, (std::vector<Message>{{0xFEE0'0000, delivery(mode)}}));
        EXPECT_FALSE(remote_irr(9));
        lower(9);
        raise(9);
        EXPECT_EQ(sent.size(), 2u);
        lower(9);
    }
}

TEST_F(IoapicTest, ReservedModesDeliverNothing) {
    set(low(9), delivery(Delivery::kReserved3) | 0x51);
    raise(9);
    set(low(10), delivery(Delivery::kReserved6) | 0x51);
    raise(10);
    EXPECT_TRUE(sent.empty());
    EXPECT_TRUE(routes.empty());
}

TEST_F(IoapicTest, RoutesAreTheUnmaskedEntries) {
    set(high(4), 0x0100'0000);
    set(low(4), 0x44);
    set(low(9), kLevelEntry);
    EXPECT_EQ(routes,
              (std::vector<IoapicRoute>{{4, 0xFEE0'1000, 0x44}, {9, 0xFEE0'0000, kLevelData}}));
    set(low(4), kMasked | 0x44);
    EXPECT_EQ(routes, (std::vector<IoapicRoute>{{9, 0xFEE0'0000, kLevelData}}));
}

TEST_F(IoapicTest, RoutesArePublishedOnlyWhenTheyChange) {
    set(low(4), 0x44);
    EXPECT_EQ(publications, 1);
    set(low(4), 0x44);
    set(high(5), 0x0100'0000);
    set(low(5), kMasked | 0x45);
    EXPECT_EQ(publications, 1);
}

TEST_F(IoapicTest, AMaskedEntryStaysRoutedUntilItsInterruptHasEnded) {
    set(low(9), kLevelEntry);
    raise(9);
    set(low(9), kMasked | kLevelEntry);
    EXPECT_EQ(routes.size(), 1u);
    chip.end_of_interrupt(0x51);
    EXPECT_TRUE(routes.empty());
}

TEST_F(IoapicTest, TheRouteIsThereBeforeTheFirstDelivery) {
    size_t routed = 0;
    int delivered = 0;
    Ioapic other{{[&](uint64_t, uint32_t) {
                      EXPECT_EQ(routed, 1u);
                      ++delivered;
                  },
                  [&](std::span<const IoapicRoute> table) { routed = table.size(); }}};
    other.input(9).set(true);
    std::byte data[4];
    store_le(data, low(9));
    other.write(kIndex, data);
    store_le(data, kLevelEntry);
    other.write(kWindow, data);
    EXPECT_EQ(delivered, 1);
}

TEST_F(IoapicTest, ResetMasksEverythingAndDropsTheRoutes) {
    set(kId, 0x0200'0000);
    set(low(9), kLevelEntry);
    raise(9);
    chip.reset();
    EXPECT_EQ(get(low(9)), 0x0001'0000u);
    EXPECT_EQ(get(kId), 0u);
    EXPECT_TRUE(routes.empty());
    set(low(9), kLevelEntry);
    EXPECT_EQ(sent.size(), 2u) << "the line is still asserted";
}

TEST(IoapicThreads, NoLevelIsLostBetweenTheDeviceAndTheVcpu) {
    constexpr int kRounds = 2000;
    std::atomic<int> pending{0};
    std::atomic<bool> line{false};
    std::atomic<int> served{0};
    Ioapic chip{{[&](uint64_t, uint32_t) { ++pending; }, [](std::span<const IoapicRoute>) {}}};
    std::byte data[4];
    store_le(data, kRedirectionTable);
    chip.write(kIndex, data);
    store_le(data, kLevelEntry);
    chip.write(kWindow, data);
    std::thread vcpu([&] {
        while (served < kRounds) {
            if (pending.load() == 0) {
                std::this_thread::yield();
                continue;
            }
            --pending;
            if (line.exchange(false)) {
                chip.input(0).set(false);
                ++served;
            }
            chip.end_of_interrupt(0x51);
        }
    });
    for (int round = 0; round < kRounds; ++round) {
        line = true;
        chip.input(0).set(true);
        while (served.load() == round) {
            std::this_thread::yield();
        }
    }
    vcpu.join();
    EXPECT_EQ(served, kRounds);
}

}  // namespace
}  // namespace halcyon
