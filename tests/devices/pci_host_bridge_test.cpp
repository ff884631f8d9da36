#include "devices/pci_host_bridge.h"

#include <map>

#include <gtest/gtest.h>

#include "tests/devices/pci_access.h"

namespace halcyon {

void PrintTo(const PamMode& mode, std::ostream* out) {
    *out << (mode.read_ram ? "R" : "-") << (mode.write_ram ? "W" : "-");
}

namespace {

using namespace pci_host_bridge;

class PciHostBridgeTest : public testing::Test {
protected:
    void SetUp() override { ASSERT_TRUE(bus_.attach(0, 0, bridge_)); }

    std::map<unsigned, PamMode> pam_;
    int pam_changes_ = 0;
    std::vector<SmramMode> smram_;
    PciBus bus_{[](unsigned, bool) {}};
    I440fxHostBridge bridge_{{
        .pam_changed =
            [this](unsigned segment, PamMode mode) {
                pam_[segment] = mode;
                ++pam_changes_;
            },
        .smram_changed = [this](SmramMode mode) { smram_.push_back(mode); },
    }};
    PciConfig config_{bus_, 0};
};

TEST_F(PciHostBridgeTest, FirmwareKnowsItByItsIdentity) {
    EXPECT_EQ(config_.read32(pci::kVendorId), 0x12378086u);
    EXPECT_EQ(config_.read32(pci::kRevision), 0x06000002u);
    EXPECT_EQ(config_.read32(pci::kSubsystemVendorId), 0x11001AF4u);
    EXPECT_EQ(config_.read8(pci::kHeaderType), 0);
}

TEST_F(PciHostBridgeTest, PowerOnValuesAreThoseOfTheDataSheet) {
    EXPECT_EQ(config_.read16(pci::kCommand), 0x0006);
    EXPECT_EQ(config_.read16(pci::kStatus), 0x0280);
    EXPECT_EQ(config_.read8(kBufferControl), 0x80);
    EXPECT_EQ(config_.read8(kDramControl), 0x01);
    for (uint8_t i = 0; i < kPamCount; ++i) {
        EXPECT_EQ(config_.read8(static_cast<uint8_t>(kPam + i)), 0);
    }
    EXPECT_EQ(config_.read8(kDramRowBoundary + 7), 0x01);
    EXPECT_EQ(config_.read8(kMultiTransaction), 0x20);
    EXPECT_EQ(config_.read8(kCpuLatency), 0x10);
    EXPECT_EQ(config_.read8(kSmram), 0x02);
    EXPECT_EQ(pam_changes_, 0);
}

TEST_F(PciHostBridgeTest, MemoryAndMasterCannotBeSwitchedOff) {
    config_.write16(pci::kCommand, 0);
    EXPECT_EQ(config_.read16(pci::kCommand), 0x0006);
    config_.write16(pci::kCommand, 0x0107);
    EXPECT_EQ(config_.read16(pci::kCommand), 0x0106) << "there is no I/O behind it";
}

TEST_F(PciHostBridgeTest, SegmentsAreTheThirteenOfTheDataSheet) {
    EXPECT_EQ(segment_range(0), (GpaRange{Gpa(0xF0000), 0x10000}));
    EXPECT_EQ(segment_range(1), (GpaRange{Gpa(0xC0000), 0x4000}));
    EXPECT_EQ(segment_range(2), (GpaRange{Gpa(0xC4000), 0x4000}));
    EXPECT_EQ(segment_range(12), (GpaRange{Gpa(0xEC000), 0x4000}));
}

TEST_F(PciHostBridgeTest, EachSegmentHasItsOwnBits) {
    for (unsigned segment = 0; segment < kSegmentCount; ++segment) {
        const auto reg = static_cast<uint8_t>(kPam + (segment + 1) / 2);
        const unsigned shift = segment % 2 == 0 ? 4 : 0;
        pam_.clear();
        config_.write8(reg, static_cast<uint8_t>(0x01 << shift));
        EXPECT_EQ(pam_, (std::map<unsigned, PamMode>{{segment, {true, false}}}));
        pam_.clear();
        config_.write8(reg, static_cast<uint8_t>(0x02 << shift));
        EXPECT_EQ(pam_, (std::map<unsigned, PamMode>{{segment, {false, true}}}));
        EXPECT_EQ(bridge_.pam_mode(segment), (PamMode{false, true}));
        config_.write8(reg, 0);
        EXPECT_EQ(pam_[segment], PamMode{});
    }
}

TEST_F(PciHostBridgeTest, ReservedPamBitsReadAsZero) {
    config_.write32(kPam - 1, 0xFFFFFF00);
    config_.write32(kPam + 3, 0xFFFFFFFF);
    EXPECT_EQ(config_.read32(kPam - 1), 0x33333000u);
    EXPECT_EQ(config_.read32(kPam + 3), 0x33333333u);
}

TEST_F(PciHostBridgeTest, FirmwareUnlocksAndLocksAllSegmentsWithDwordWrites) {
    config_.write32(0x58, 0x33333000);
    config_.write32(0x5C, 0x33333333);
    EXPECT_EQ(pam_.size(), kSegmentCount);
    EXPECT_EQ(pam_changes_, int{kSegmentCount});
    for (const auto& [segment, mode] : pam_) {
        EXPECT_EQ(mode, (PamMode{true, true})) << segment;
    }
    config_.write32(0x58, 0x11111000);
    config_.write32(0x5C, 0x11111111);
    for (const auto& [segment, mode] : pam_) {
        EXPECT_EQ(mode, (PamMode{true, false})) << segment;
    }
}

TEST_F(PciHostBridgeTest, UnchangedSegmentsAreNotReported) {
    config_.write8(kPam, 0x30);
    config_.write8(kPam, 0x30);
    config_.write8(kDramTiming, 0x12);
    EXPECT_EQ(pam_changes_, 1);
}

TEST_F(PciHostBridgeTest, SmramModeIsReported) {
    config_.write8(kSmram, 0x4A);
    EXPECT_EQ(smram_.back(), (SmramMode{true, true}));
    config_.write8(kSmram, 0x0A);
    EXPECT_EQ(smram_.back(), (SmramMode{false, true}));
    EXPECT_EQ(smram_.size(), 2u);
    config_.write8(kSmram, 0x47);
    EXPECT_EQ(config_.read8(kSmram), 0x42) << "the base segment is fixed";
    EXPECT_EQ(smram_.back(), SmramMode{}) << "open without being enabled is nothing";
}

TEST_F(PciHostBridgeTest, LockedSmramCannotBeOpenedUntilReset) {
    config_.write8(kSmram, 0x5A);
    EXPECT_EQ(config_.read8(kSmram), 0x1A) << "locking closes it";
    config_.write8(kSmram, 0x4A);
    EXPECT_EQ(config_.read8(kSmram), 0x1A);
    EXPECT_EQ(smram_.back(), (SmramMode{false, true}));
    bridge_.reset();
    EXPECT_EQ(config_.read8(kSmram), 0x02);
    config_.write8(kSmram, 0x4A);
    EXPECT_EQ(smram_.back(), (SmramMode{true, true}));
}

TEST_F(PciHostBridgeTest, ResetSendsEverySegmentBackToPci) {
    config_.write32(0x58, 0x33333000);
    config_.write32(0x5C, 0x33333333);
    bridge_.reset();
    for (const auto& [segment, mode] : pam_) {
        EXPECT_EQ(mode, PamMode{}) << segment;
    }
    EXPECT_EQ(config_.read8(kPam), 0);
}

}  // namespace
}  // namespace halcyon
