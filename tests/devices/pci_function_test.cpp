#include "devices/pci_function.h"

#include <map>

#include <gtest/gtest.h>

#include "devices/pci_bus.h"
#include "tests/devices/pci_access.h"

namespace halcyon {
namespace {

using namespace pci;

/// A function with one of everything.
class Everything final : public PciFunction {
public:
    Everything()
        : PciFunction("everything", {.vendor = 0x1234,
                                     .device = 0x5678,
                                     .revision = 0x9A,
                                     .class_code = 0x010203,
                                     .interrupt_pin = 1}) {
        define_bar(0, {PciBar::Kind::kIo, 32, false});
        define_bar(1, {PciBar::Kind::kMemory32, 4096, false});
        define_bar(2, {PciBar::Kind::kMemory64, 1 << 20, true});
        first_ = define_capability(0x09, 6);
        second_ = define_capability(0x11, 12);
        define(first_ + 2, 2, 0x00AA, 0x0F00);
    }
    void interrupt(bool level) {
        const std::lock_guard lock(mutex());
        set_interrupt_locked(level);
    }

    size_t first_ = 0;
    size_t second_ = 0;
    std::map<unsigned, std::optional<uint64_t>> bars_;
    int bar_changes_ = 0;
    int resets_ = 0;

private:
    void on_bar_changed(unsigned index, std::optional<uint64_t> address) override {
        bars_[index] = address;
        ++bar_changes_;
    }
    void on_reset() override { ++resets_; }
};

class PciFunctionTest : public testing::Test {
protected:
    void SetUp() override { ASSERT_TRUE(bus_.attach(3, 0, function_)); }

    std::map<unsigned, bool> lines_;
    PciBus bus_{[this](unsigned line, bool level) { lines_[line] = level; }};
    Everything function_;
    PciConfig config_{bus_, 3};
};

TEST_F(PciFunctionTest, HeaderShowsTheIdentity) {
    EXPECT_EQ(config_.read32(kVendorId), 0x56781234u);
    EXPECT_EQ(config_.read32(kRevision), 0x0102039Au);
    EXPECT_EQ(config_.read8(kHeaderType), 0);
    EXPECT_EQ(config_.read32(kSubsystemVendorId), 0x11001AF4u);
    EXPECT_EQ(config_.read8(kInterruptPin), 1);
}

TEST_F(PciFunctionTest, IdentityIsReadOnly) {
    for (const uint8_t offset : {kVendorId, kRevision, kSubsystemVendorId}) {
        const uint32_t before = config_.read32(offset);
        config_.write32(offset, ~before);
        EXPECT_EQ(config_.read32(offset), before);
    }
    config_.write8(kInterruptPin, 4);
    EXPECT_EQ(config_.read8(kInterruptPin), 1);
}

TEST_F(PciFunctionTest, CommandAndInterruptLineAreWritable) {
    config_.write16(kCommand, 0xFFFF);
    EXPECT_EQ(config_.read16(kCommand), 0x0547);
    config_.write8(kInterruptLine, 11);
    EXPECT_EQ(config_.read8(kInterruptLine), 11);
}

TEST_F(PciFunctionTest, BarsTellTheirKindAndSize) {
    const uint8_t kBar0 = kFirstBar;
    EXPECT_EQ(config_.read32(kBar0), 0x00000001u);
    EXPECT_EQ(config_.read32(kBar0 + 8), 0x0000000Cu);
    for (uint8_t bar = 0; bar < kBarCount; ++bar) {
        config_.write32(static_cast<uint8_t>(kBar0 + 4 * bar), 0xFFFFFFFF);
    }
    EXPECT_EQ(config_.read32(kBar0), 0xFFFFFFE1u);
    EXPECT_EQ(config_.read32(kBar0 + 4), 0xFFFFF000u);
    EXPECT_EQ(config_.read32(kBar0 + 8), 0xFFF0000Cu);
    EXPECT_EQ(config_.read32(kBar0 + 12), 0xFFFFFFFFu);
    EXPECT_EQ(config_.read32(kBar0 + 16), 0u) << "not implemented";
}

TEST_F(PciFunctionTest, BarsAreDecodedOnlyWhileTheCommandEnablesTheirSpace) {
    config_.write32(kFirstBar, 0xC000);
    config_.write32(kFirstBar + 4, 0xFEBF0000);
    EXPECT_EQ(function_.bar_changes_, 0);
    config_.write16(kCommand, kCommandIo);
    EXPECT_EQ(function_.bars_[0], 0xC000u);
    EXPECT_FALSE(function_.bars_.contains(1));
    config_.write16(kCommand, kCommandIo | kCommandMemory);
    EXPECT_EQ(function_.bars_[1], 0xFEBF0000u);
    config_.write16(kCommand, 0);
    EXPECT_EQ(function_.bars_[0], std::nullopt);
    EXPECT_EQ(function_.bars_[1], std::nullopt);
}

TEST_F(PciFunctionTest, BarMovesAndIsNotDecodedWhileItIsSized) {
    config_.write16(kCommand, kCommandIo | kCommandMemory);
    EXPECT_EQ(function_.bar_changes_, 0) << "address 0 is not an address";
    config_.write32(kFirstBar + 4, 0xFEBF0000);
    config_.write32(kFirstBar + 4, 0xFFFFFFFF);
    EXPECT_EQ(function_.bars_[1], std::nullopt);
    config_.write32(kFirstBar + 4, 0xFEBF1234);
    EXPECT_EQ(function_.bars_[1], 0xFEBF1000u);
    config_.write32(kFirstBar, 0x12340000);
    EXPECT_FALSE(function_.bars_.contains(0)) << "above the ports of x86";
}

TEST_F(PciFunctionTest, WideBarTakesItsAddressFromTwoRegisters) {
    config_.write16(kCommand, kCommandMemory);
    config_.write32(kFirstBar + 12, 0x12);
    EXPECT_EQ(function_.bars_[2], 0x1200000000u);
    config_.write32(kFirstBar + 8, 0x34567890);
    EXPECT_EQ(function_.bars_[2], 0x1234500000u);
}

TEST_F(PciFunctionTest, RegionsTellWhereTheWindowsAre) {
    config_.write32(kFirstBar, 0xC000);
    config_.write16(kCommand, kCommandIo);
    const std::vector<PciRegion> regions = function_.regions();
    ASSERT_EQ(regions.size(), 3u);
    EXPECT_EQ(regions[0].index, 0u);
    EXPECT_EQ(regions[0].bar.size, 32u);
    EXPECT_EQ(regions[0].address, 0xC000u);
    EXPECT_EQ(regions[1].address, std::nullopt) << "memory is not decoded";
    EXPECT_EQ(regions[2].index, 2u);
    EXPECT_EQ(regions[2].bar.kind, PciBar::Kind::kMemory64);
}

TEST_F(PciFunctionTest, CapabilitiesAreLinked) {
    EXPECT_EQ(config_.read16(kStatus) & kStatusCapabilities, kStatusCapabilities);
    EXPECT_EQ(config_.read8(kCapabilities), function_.first_);
    EXPECT_EQ(function_.first_, 0x40u);
    EXPECT_EQ(config_.read8(0x40), 0x09);
    EXPECT_EQ(config_.read8(0x41), 0x48) << "dword aligned";
    EXPECT_EQ(config_.read8(0x48), 0x11);
    EXPECT_EQ(config_.read8(0x49), 0);
    config_.write16(0x42, 0xFFFF);
    EXPECT_EQ(config_.read16(0x42), 0x0FAA);
}

TEST_F(PciFunctionTest, InterruptReachesTheBusAndTheStatus) {
    function_.interrupt(true);
    EXPECT_TRUE(lines_[2]) << "slot 3, INTA#";
    EXPECT_EQ(config_.read16(kStatus) & kStatusInterrupt, kStatusInterrupt);
    function_.interrupt(false);
    EXPECT_FALSE(lines_[2]);
    EXPECT_EQ(config_.read16(kStatus) & kStatusInterrupt, 0);
}

TEST_F(PciFunctionTest, InterruptDisableGatesThePinOnly) {
    function_.interrupt(true);
    config_.write16(kCommand, kCommandInterruptDisable);
    EXPECT_FALSE(lines_[2]);
    EXPECT_EQ(config_.read16(kStatus) & kStatusInterrupt, kStatusInterrupt);
    config_.write16(kCommand, 0);
    EXPECT_TRUE(lines_[2]);
}

TEST_F(PciFunctionTest, ResetRestoresEverything) {
    config_.write16(kCommand, 0xFFFF);
    config_.write32(kFirstBar, 0xC000);
    config_.write8(kInterruptLine, 11);
    function_.interrupt(true);
    function_.reset();
    EXPECT_EQ(function_.resets_, 1);
    EXPECT_EQ(config_.read16(kCommand), 0);
    EXPECT_EQ(config_.read32(kFirstBar), 1u);
    EXPECT_EQ(config_.read8(kInterruptLine), 0);
    EXPECT_EQ(function_.bars_[0], std::nullopt);
    EXPECT_FALSE(lines_[2]);
}

}  // namespace
}  // namespace halcyon
