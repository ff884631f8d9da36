#include "devices/piix_pm.h"

#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/devices/pci_access.h"

namespace halcyon {
namespace {

using namespace piix;

class PiixPmTest : public testing::Test {
protected:
    void SetUp() override { ASSERT_TRUE(bus_.attach(1, 0, pm_)); }

    std::vector<std::pair<unsigned, bool>> changes_;
    PciBus bus_{[](unsigned, bool) {}};
    Piix4Pm pm_{{.serial_a = true},
                [this](uint16_t base, bool enabled) { changes_.emplace_back(base, enabled); }};
    PciConfig config_{bus_, 1};
};

TEST_F(PiixPmTest, FirmwareKnowsItByItsIdentity) {
    EXPECT_EQ(config_.read32(pci::kVendorId), 0x71138086u);
    EXPECT_EQ(config_.read32(pci::kRevision), 0x06800003u);
    EXPECT_EQ(config_.read16(pci::kInterruptLine), 0x0109);
}

TEST_F(PiixPmTest, PowerOnValuesAreThoseOfTheDataSheet) {
    EXPECT_EQ(config_.read16(pci::kCommand), 0x0000);
    EXPECT_EQ(config_.read16(pci::kStatus), 0x0280);
    EXPECT_EQ(config_.read32(kPmBase), 0x00000001u);
    EXPECT_EQ(config_.read8(kPmMisc), 0x00);
    EXPECT_EQ(config_.read32(kSmbusBase), 0x00000001u);
    EXPECT_TRUE(changes_.empty());
}

TEST_F(PiixPmTest, FirmwareMapsThePmBlock) {
    config_.write32(kPmBase, 0x0600 | 1);
    config_.write8(kPmMisc, 0x01);
    EXPECT_EQ(changes_.back(), (std::pair<unsigned, bool>(0x600, true)));
    config_.write32(kPmBase, 0xB001);
    EXPECT_EQ(changes_.back(), (std::pair<unsigned, bool>(0xB000, true)));
    config_.write8(kPmMisc, 0x00);
    EXPECT_EQ(changes_.back(), (std::pair<unsigned, bool>(0xB000, false)));
    EXPECT_EQ(changes_.size(), 4u);
}

TEST_F(PiixPmTest, PmBaseKeepsOnlyItsAddressBits) {
    config_.write32(kPmBase, 0xFFFFFFFF);
    EXPECT_EQ(config_.read32(kPmBase), 0x0000FFC1u);
    config_.write8(kPmMisc, 0xFF);
    EXPECT_EQ(config_.read8(kPmMisc), 0x01);
}

TEST_F(PiixPmTest, UnchangedBaseIsNotReported) {
    config_.write32(kPmBase, 0x0601);
    config_.write32(kPmBase, 0x0601);
    config_.write32(kDeviceActivityB, 0);
    EXPECT_EQ(changes_.size(), 1u);
}

TEST_F(PiixPmTest, SmiOnApmWritesShowsAsEnabledOnlyWithoutSmm) {
    EXPECT_EQ(config_.read32(kDeviceActivityB), kApmcEnable);
    EXPECT_EQ(config_.read8(0x5B), 0x02);
    Piix4Pm with_smm({.smm = true}, nullptr);
    ASSERT_TRUE(bus_.attach(2, 0, with_smm));
    EXPECT_EQ(PciConfig(bus_, 2).read32(kDeviceActivityB), 0u);
}

TEST_F(PiixPmTest, DeviceResourcesTellWhatTheGuestHas) {
    EXPECT_EQ(config_.read8(0x5F), 0x10);
    EXPECT_EQ(config_.read8(0x63), 0x60);
    EXPECT_EQ(config_.read8(0x67), 0x08);
    Piix4Pm more({.parallel = true, .serial_a = true, .serial_b = true}, nullptr);
    ASSERT_TRUE(bus_.attach(2, 0, more));
    EXPECT_EQ(PciConfig(bus_, 2).read8(0x5F), 0x90);
    EXPECT_EQ(PciConfig(bus_, 2).read8(0x67), 0x98);
}

TEST_F(PiixPmTest, SmbusBaseReadsAsStored) {
    config_.write32(kSmbusBase, 0x0700 | 1);
    config_.write8(kSmbusHostConfig, 0x09);
    EXPECT_EQ(config_.read32(kSmbusBase), 0x0701u);
    EXPECT_EQ(config_.read8(kSmbusHostConfig), 0x09);
}

TEST_F(PiixPmTest, ResetUnmapsThePmBlockAndRestoresTheRegisters) {
    config_.write32(kPmBase, 0x0601);
    config_.write8(kPmMisc, 0x01);
    config_.write32(kDeviceActivityB, 0);
    pm_.reset();
    EXPECT_EQ(changes_.back(), (std::pair<unsigned, bool>(0, false)));
    EXPECT_EQ(config_.read32(kDeviceActivityB), kApmcEnable);
}

}  // namespace
}  // namespace halcyon
