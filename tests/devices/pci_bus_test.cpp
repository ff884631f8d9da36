#include "devices/pci_bus.h"

#include <map>
#include <thread>

#include <gtest/gtest.h>

#include "devices/post_code.h"
#include "tests/devices/pci_access.h"

namespace halcyon {
namespace {

using namespace pci;

/// A function that can interrupt, with one register and an error bit.
class Plain final : public PciFunction {
public:
    explicit Plain(uint16_t device, uint8_t pin = 1)
        : PciFunction("plain", {.vendor = 0x1234, .device = device, .interrupt_pin = pin}) {
        define(0x40, 4, 0x44332211, 0xFFFFFFFF);
        define_write_one_to_clear(0x44, 1, 0x81);
    }
    void interrupt(bool level) {
        const std::lock_guard lock(mutex());
        set_interrupt_locked(level);
    }
    void fail() {
        const std::lock_guard lock(mutex());
        put(0x44, 1, 0x81);
    }
};

class PciBusTest : public testing::Test {
protected:
    std::map<unsigned, bool> lines_;
    int changes_ = 0;
    PciBus bus_{[this](unsigned line, bool level) {
        lines_[line] = level;
        ++changes_;
    }};
};

TEST_F(PciBusTest, AddressRegisterKeepsItsDefinedBits) {
    out32(bus_.address_port(), 0, 0xFFFFFFFF);
    EXPECT_EQ(in32(bus_.address_port()), 0x80FFFFFCu);
    out32(bus_.address_port(), 0, 0x80000000);
    EXPECT_EQ(in32(bus_.address_port()), 0x80000000u);
    bus_.reset();
    EXPECT_EQ(in32(bus_.address_port()), 0u);
}

TEST_F(PciBusTest, NarrowAccessesDoNotReachTheAddressRegister) {
    out32(bus_.address_port(), 0, 0x80001234);
    out8(bus_.address_port(), 0, 0xFF);
    out16(bus_.address_port(), 2, 0);
    EXPECT_EQ(in32(bus_.address_port()), 0x80001234u);
    EXPECT_EQ(in8(bus_.address_port(), 0), 0xFF);
    EXPECT_EQ(in16(bus_.address_port(), 2), 0xFFFF);
}

TEST_F(PciBusTest, NarrowAccessesReachWhatIsBehindTheAddressRegister) {
    PostCode behind;
    bus_.pass_through(1, behind);
    out8(bus_.address_port(), 1, 0x06);
    EXPECT_EQ(behind.last(), 0x06);
    EXPECT_EQ(in8(bus_.address_port(), 1), 0x06);
    EXPECT_EQ(in16(bus_.address_port(), 0), 0x06FF);
    out32(bus_.address_port(), 0, 0x80000000);
    EXPECT_EQ(behind.last(), 0x06) << "a dword is CONFIG_ADDRESS";
}

TEST_F(PciBusTest, EmptySlotsReadAsAllOnes) {
    PciConfig empty(bus_, 5);
    EXPECT_EQ(empty.read32(kVendorId), 0xFFFFFFFFu);
    EXPECT_EQ(empty.read16(kVendorId), 0xFFFF);
    EXPECT_EQ(empty.read8(kHeaderType), 0xFF);
    empty.write32(kVendorId, 0);
}

TEST_F(PciBusTest, OtherBusesAndADisabledAddressReadAsAllOnes) {
    Plain function(1);
    ASSERT_TRUE(bus_.attach(0, 0, function));
    out32(bus_.address_port(), 0, 0x80000000);
    EXPECT_EQ(in32(bus_.data_port()), 0x00011234u);
    out32(bus_.address_port(), 0, 0x80010000);
    EXPECT_EQ(in32(bus_.data_port()), 0xFFFFFFFFu);
    out32(bus_.address_port(), 0, 0x00000000);
    EXPECT_EQ(in32(bus_.data_port()), 0xFFFFFFFFu);
    out32(bus_.data_port(), 0, 0);
}

TEST_F(PciBusTest, DataPortTakesBytesWordsAndDwords) {
    Plain function(1);
    ASSERT_TRUE(bus_.attach(2, 0, function));
    PciConfig config(bus_, 2);
    EXPECT_EQ(config.read8(0x41), 0x22);
    EXPECT_EQ(config.read16(0x42), 0x4433);
    config.write8(0x43, 0xAA);
    config.write16(0x40, 0xBBCC);
    EXPECT_EQ(config.read32(0x40), 0xAA33BBCCu);
    config.write32(0x40, 0x01020304);
    EXPECT_EQ(config.read32(0x40), 0x01020304u);
}

TEST_F(PciBusTest, WriteOneToClearBitsIgnoreZeros) {
    Plain function(1);
    ASSERT_TRUE(bus_.attach(2, 0, function));
    PciConfig config(bus_, 2);
    function.fail();
    config.write8(0x44, 0);
    EXPECT_EQ(config.read8(0x44), 0x81);
    config.write8(0x44, 0x80);
    EXPECT_EQ(config.read8(0x44), 0x01);
}

TEST_F(PciBusTest, SeveralFunctionsMarkFunctionZero) {
    Plain zero(1), three(2);
    ASSERT_TRUE(bus_.attach(1, 3, three));
    EXPECT_EQ(PciConfig(bus_, 1, 3).read32(kVendorId), 0xFFFFFFFFu)
        << "no device without function 0";
    ASSERT_TRUE(bus_.attach(1, 0, zero));
    EXPECT_EQ(PciConfig(bus_, 1, 0).read8(kHeaderType), 0x80);
    EXPECT_EQ(PciConfig(bus_, 1, 3).read16(kDeviceId), 2);
    zero.reset();
    EXPECT_EQ(PciConfig(bus_, 1, 0).read8(kHeaderType), 0x80);
}

TEST_F(PciBusTest, SlotsAreListedByDeviceAndFunction) {
    EXPECT_TRUE(bus_.slots().empty());
    Plain zero(1), three(2), other(3);
    ASSERT_TRUE(bus_.attach(31, 3, three));
    ASSERT_TRUE(bus_.attach(31, 0, zero));
    ASSERT_TRUE(bus_.attach(2, 0, other));
    const std::vector<PciSlot> slots = bus_.slots();
    ASSERT_EQ(slots.size(), 3u);
    EXPECT_EQ(slots[0].occupant, &other);
    EXPECT_EQ(slots[1].occupant, &zero);
    EXPECT_EQ(slots[2].device, 31u);
    EXPECT_EQ(slots[2].function, 3u);
    EXPECT_EQ(slots[2].occupant, &three);
}

TEST_F(PciBusTest, SlotsThatAreTakenOrDoNotExistAreRefused) {
    Plain one(1), other(2);
    ASSERT_TRUE(bus_.attach(1, 0, one));
    EXPECT_FALSE(bus_.attach(1, 0, other));
    EXPECT_FALSE(bus_.attach(32, 0, other));
    EXPECT_FALSE(bus_.attach(0, 8, other));
}

TEST_F(PciBusTest, PinsTurnByOneLineFromSlotToSlot) {
    const struct {
        unsigned device;
        uint8_t pin;
        unsigned line;
    } kWires[] = {{1, 1, 0}, {2, 1, 1}, {3, 1, 2}, {4, 1, 3}, {5, 1, 0}, {5, 4, 3}, {0, 1, 3}};
    for (const auto& [device, pin, line] : kWires) {
        std::map<unsigned, bool> lines;
        PciBus bus([&](unsigned which, bool level) { lines[which] = level; });
        Plain function(1, pin);
        ASSERT_TRUE(bus.attach(device, 0, function));
        function.interrupt(true);
        EXPECT_EQ(lines, (std::map<unsigned, bool>{{line, true}})) << device << " " << int{pin};
    }
}

TEST_F(PciBusTest, SharedLineStaysHighUntilTheLastReleasesIt) {
    Plain one(1), other(2);
    ASSERT_TRUE(bus_.attach(1, 0, one));
    ASSERT_TRUE(bus_.attach(5, 0, other));
    one.interrupt(true);
    other.interrupt(true);
    one.interrupt(false);
    EXPECT_TRUE(lines_[0]);
    EXPECT_EQ(changes_, 1);
    other.interrupt(false);
    EXPECT_FALSE(lines_[0]);
}

TEST_F(PciBusTest, PortsAndInterruptsMayBeUsedAtOnce) {
    Plain one(1), other(2);
    ASSERT_TRUE(bus_.attach(1, 0, one));
    ASSERT_TRUE(bus_.attach(2, 0, other));
    std::thread guest([this] {
        PciConfig config(bus_, 1);
        for (int i = 0; i < 1000; ++i) {
            config.write16(kCommand, i % 2 == 0 ? kCommandInterruptDisable : 0);
        }
    });
    for (int i = 0; i < 1000; ++i) {
        one.interrupt(i % 2 == 0);
        other.interrupt(i % 2 == 0);
    }
    guest.join();
    EXPECT_FALSE(lines_[1]);
}

}  // namespace
}  // namespace halcyon
