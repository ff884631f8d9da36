#include "devices/piix_isa_bridge.h"

#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "tests/devices/pci_access.h"

namespace halcyon {
namespace {

using namespace piix;

class PiixIsaBridgeTest : public testing::Test {
protected:
    void SetUp() override {
        ASSERT_TRUE(bus_.attach(1, 0, bridge_));
        bus_.pass_through(1, bridge_.reset_port());
    }

    std::map<unsigned, bool> irqs_;
    std::vector<bool> resets_;
    PciBus bus_{[this](unsigned line, bool level) { bridge_.set_pirq(line, level); }};
    Piix3IsaBridge bridge_{{
        .isa_interrupt = [this](unsigned irq, bool level) { irqs_[irq] = level; },
        .reset_requested = [this](bool hard) { resets_.push_back(hard); },
    }};
    PciConfig config_{bus_, 1};
};

TEST_F(PiixIsaBridgeTest, FirmwareKnowsItByItsIdentity) {
    EXPECT_EQ(config_.read32(pci::kVendorId), 0x70008086u);
    EXPECT_EQ(config_.read32(pci::kRevision), 0x06010000u);
}

TEST_F(PiixIsaBridgeTest, PowerOnValuesAreThoseOfTheDataSheet) {
    EXPECT_EQ(config_.read16(pci::kCommand), 0x0007);
    EXPECT_EQ(config_.read16(pci::kStatus), 0x0200);
    EXPECT_EQ(config_.read8(kIoRecoveryTimer), 0x4D);
    EXPECT_EQ(config_.read16(kXBusChipSelect), 0x0003);
    EXPECT_EQ(config_.read32(kPirqRoute), 0x80808080u);
    EXPECT_EQ(config_.read8(kTopOfMemory), 0x02);
    EXPECT_EQ(config_.read8(kMotherboardIrq), 0x80);
    EXPECT_EQ(config_.read16(kChipSelect), 0x0002);
    EXPECT_EQ(config_.read8(kSmiControl), 0x08);
    EXPECT_EQ(config_.read8(kFastOffTimer), 0x0F);
}

TEST_F(PiixIsaBridgeTest, RegistersKeepTheirWritableBits) {
    config_.write16(kXBusChipSelect, 0xFFFF);
    EXPECT_EQ(config_.read16(kXBusChipSelect), 0x01FF);
    config_.write32(kPirqRoute, 0xFFFFFFFF);
    EXPECT_EQ(config_.read32(kPirqRoute), 0x8F8F8F8Fu);
    config_.write16(pci::kCommand, 0);
    EXPECT_EQ(config_.read16(pci::kCommand), 0x0007) << "I/O, memory and master are hardwired";
    bridge_.reset();
    EXPECT_EQ(config_.read32(kPirqRoute), 0x80808080u);
}

TEST_F(PiixIsaBridgeTest, RoutesPirqsToTheirInterrupts) {
    bridge_.set_pirq(0, true);
    EXPECT_TRUE(irqs_.empty()) << "routing is disabled";
    config_.write8(kPirqRoute, 10);
    EXPECT_EQ(irqs_, (std::map<unsigned, bool>{{10, true}}));
    config_.write8(kPirqRoute, 11);
    EXPECT_EQ(irqs_, (std::map<unsigned, bool>{{10, false}, {11, true}}));
    bridge_.set_pirq(0, false);
    EXPECT_FALSE(irqs_[11]);
}

TEST_F(PiixIsaBridgeTest, SharedInterruptIsHighWhileAnyPirqIs) {
    config_.write16(kPirqRoute, 0x0A0A);
    bridge_.set_pirq(0, true);
    bridge_.set_pirq(1, true);
    bridge_.set_pirq(0, false);
    EXPECT_TRUE(irqs_[10]);
    bridge_.set_pirq(1, false);
    EXPECT_FALSE(irqs_[10]);
}

TEST_F(PiixIsaBridgeTest, ReservedInterruptsAreNotDriven) {
    for (const uint8_t irq : {0, 1, 2, 8, 13}) {
        config_.write8(kPirqRoute, irq);
        bridge_.set_pirq(0, true);
        EXPECT_TRUE(irqs_.empty()) << int{irq};
        bridge_.set_pirq(0, false);
    }
}

TEST_F(PiixIsaBridgeTest, ResetDisconnectsThePirqs) {
    config_.write8(kPirqRoute, 10);
    bridge_.set_pirq(0, true);
    bridge_.reset();
    EXPECT_FALSE(irqs_[10]);
}

TEST_F(PiixIsaBridgeTest, ResetControlResetsOnARisingTrigger) {
    IoHandler& address = bus_.address_port();
    out8(address, 1, 0x02);
    EXPECT_TRUE(resets_.empty());
    EXPECT_EQ(in8(address, 1), 0x02);
    out8(address, 1, 0x06);
    EXPECT_EQ(resets_, (std::vector<bool>{true}));
    out8(address, 1, 0x06);
    EXPECT_EQ(resets_.size(), 1u) << "the trigger did not rise";
    out8(address, 1, 0x00);
    out8(address, 1, 0x04);
    EXPECT_EQ(resets_, (std::vector<bool>{true, false}));
}

TEST_F(PiixIsaBridgeTest, ResetClearsTheResetControl) {
    out8(bridge_.reset_port(), 0, 0xFE);
    EXPECT_EQ(in8(bridge_.reset_port()), 0x06);
    bridge_.reset();
    EXPECT_EQ(in8(bridge_.reset_port()), 0x00);
}

TEST_F(PiixIsaBridgeTest, ConfigurationAddressDoesNotReset) {
    out32(bus_.address_port(), 0, 0x8000FFFC);
    EXPECT_TRUE(resets_.empty());
}

}  // namespace
}  // namespace halcyon
