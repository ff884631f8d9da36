#include "accel/soft/soft_local_apic.h"

#include <gtest/gtest.h>

namespace halcyon {
namespace {

constexpr uint32_t kTpr = 0x80;
constexpr uint32_t kPpr = 0xa0;
constexpr uint32_t kEoi = 0xb0;
constexpr uint32_t kLdr = 0xd0;
constexpr uint32_t kDfr = 0xe0;
constexpr uint32_t kSvr = 0xf0;
constexpr uint32_t kIrr = 0x200;
constexpr uint32_t kEsr = 0x280;
constexpr uint32_t kIcrLow = 0x300;
constexpr uint32_t kIcrHigh = 0x310;
constexpr uint32_t kLvtTimer = 0x320;
constexpr uint32_t kLvtLint0 = 0x350;
constexpr uint32_t kLvtLint1 = 0x360;
constexpr uint32_t kInitialCount = 0x380;
constexpr uint32_t kCurrentCount = 0x390;
constexpr uint32_t kDivide = 0x3e0;

class SoftLocalApicTest : public ::testing::Test {
protected:
    SoftLocalApic::Effects write(uint32_t offset, uint32_t value) {
        return apic_.write(offset, 4, value, now_);
    }
    uint32_t read(uint32_t offset) { return apic_.read(offset, 4, now_); }
    void enable() { write(kSvr, 0x1ff); }

    SoftLocalApic apic_{0};
    int64_t now_ = 1000;
};

TEST_F(SoftLocalApicTest, BootProcessorStartsInVirtualWireMode) {
    EXPECT_EQ(read(kLvtLint0), 0x700u);
    EXPECT_EQ(apic_.base(), 0xfee00900u);
    apic_.set_lint0(true);
    EXPECT_TRUE(apic_.ext_int_pending());
    apic_.set_lint0(false);
    EXPECT_FALSE(apic_.ext_int_pending());
}

TEST_F(SoftLocalApicTest, OtherProcessorsStartMasked) {
    SoftLocalApic other(3);
    EXPECT_EQ(other.read(kLvtLint0, 4, 0), 0x10000u);
    EXPECT_EQ(other.base(), 0xfee00800u);
    EXPECT_EQ(other.read(0x20, 4, 0), 0x03000000u);
}

TEST_F(SoftLocalApicTest, DisabledBySoftwareRefusesInterrupts) {
    EXPECT_FALSE(apic_.accept(0x40, false));
    enable();
    EXPECT_TRUE(apic_.accept(0x40, false));
}

TEST_F(SoftLocalApicTest, HighestVectorIsTakenFirstAndBlocksLowerOnes) {
    enable();
    apic_.accept(0x41, false);
    apic_.accept(0x82, false);
    EXPECT_EQ(apic_.acknowledge(), 0x82);
    EXPECT_FALSE(apic_.interrupt_pending());
    EXPECT_EQ(read(kPpr), 0x80u);
    EXPECT_EQ(read(kIrr + 0x20), 1u << 1);
    write(kEoi, 0);
    EXPECT_EQ(apic_.acknowledge(), 0x41);
}

TEST_F(SoftLocalApicTest, TaskPriorityHoldsInterruptsOff) {
    enable();
    write(kTpr, 0x40);
    apic_.accept(0x4f, false);
    EXPECT_FALSE(apic_.interrupt_pending());
    write(kTpr, 0x3f);
    EXPECT_TRUE(apic_.interrupt_pending());
}

TEST_F(SoftLocalApicTest, EndOfLevelTriggeredInterruptIsReportedOnce) {
    enable();
    apic_.accept(0x50, true);
    apic_.acknowledge();
    EXPECT_EQ(write(kEoi, 0).end_of_interrupt, 0x50);
    EXPECT_EQ(write(kEoi, 0).end_of_interrupt, std::nullopt);
}

TEST_F(SoftLocalApicTest, EndOfEdgeTriggeredInterruptIsNotReported) {
    enable();
    apic_.accept(0x50, false);
    apic_.acknowledge();
    EXPECT_EQ(write(kEoi, 0).end_of_interrupt, std::nullopt);
}

TEST_F(SoftLocalApicTest, PhysicalDestinationsMatchTheIdAndBroadcast) {
    EXPECT_TRUE(apic_.matches({.destination = 0}));
    EXPECT_TRUE(apic_.matches({.destination = 0xff}));
    EXPECT_FALSE(apic_.matches({.destination = 1}));
}

TEST_F(SoftLocalApicTest, LogicalDestinationsFollowTheModel) {
    write(kLdr, 0x22000000);
    EXPECT_TRUE(apic_.matches({.logical = true, .destination = 0x02}));
    EXPECT_FALSE(apic_.matches({.logical = true, .destination = 0x11}));
    write(kDfr, 0x0fffffff);  // clusters
    EXPECT_TRUE(apic_.matches({.logical = true, .destination = 0x23}));
    EXPECT_FALSE(apic_.matches({.logical = true, .destination = 0x33}));
    EXPECT_FALSE(apic_.matches({.logical = true, .destination = 0x21}));
}

TEST_F(SoftLocalApicTest, WritingTheCommandRegisterSends) {
    write(kIcrHigh, 0x05000000);
    const auto effects = write(kIcrLow, 0x000c4610);  // others, start-up, page 10h
    ASSERT_TRUE(effects.command);
    EXPECT_EQ(effects.command->shorthand, ApicCommand::Shorthand::kOthers);
    EXPECT_EQ(effects.command->message.mode, ApicMessage::kStartUp);
    EXPECT_EQ(effects.command->message.vector, 0x10);
    EXPECT_EQ(effects.command->message.destination, 5);
}

TEST_F(SoftLocalApicTest, OneShotTimerFiresOnce) {
    enable();
    write(kDivide, 0xb);  // by 1
    write(kLvtTimer, 0x60);
    write(kInitialCount, 500);
    EXPECT_EQ(apic_.timer_deadline(), now_ + 500);
    now_ += 200;
    EXPECT_EQ(read(kCurrentCount), 300u);
    apic_.poll_timer(now_);
    EXPECT_FALSE(apic_.interrupt_pending());
    now_ += 300;
    apic_.poll_timer(now_);
    EXPECT_EQ(apic_.acknowledge(), 0x60);
    EXPECT_EQ(apic_.timer_deadline(), std::nullopt);
    EXPECT_EQ(read(kCurrentCount), 0u);
}

TEST_F(SoftLocalApicTest, PeriodicTimerKeepsItsPhase) {
    enable();
    write(kDivide, 0x0);  // by 2
    write(kLvtTimer, 0x20060);
    write(kInitialCount, 100);
    now_ += 730;  // three periods and a half
    apic_.poll_timer(now_);
    EXPECT_EQ(apic_.acknowledge(), 0x60);
    EXPECT_EQ(apic_.timer_deadline(), 1000 + 800);
}

TEST_F(SoftLocalApicTest, MaskedTimerCountsButDoesNotInterrupt) {
    enable();
    write(kInitialCount, 100);
    EXPECT_EQ(apic_.timer_deadline(), std::nullopt);
    now_ += 1000;
    apic_.poll_timer(now_);
    EXPECT_FALSE(apic_.interrupt_pending());
}

TEST_F(SoftLocalApicTest, Lint0OfModeFixedInterruptsOnTheRisingEdge) {
    enable();
    write(kLvtLint0, 0x55);
    apic_.set_lint0(true);
    EXPECT_FALSE(apic_.ext_int_pending());
    EXPECT_EQ(apic_.acknowledge(), 0x55);
}

TEST_F(SoftLocalApicTest, IllegalVectorIsNotedInTheErrorStatus) {
    enable();
    EXPECT_FALSE(apic_.accept(5, false));
    EXPECT_EQ(read(kEsr), 0u);
    write(kEsr, 0);
    EXPECT_EQ(read(kEsr), 1u << 6);
}

TEST_F(SoftLocalApicTest, SoftwareDisableMasksTheLocalVectors) {
    enable();
    write(kLvtLint1, 0x400);
    write(kSvr, 0xff);
    EXPECT_EQ(read(kLvtLint1), 0x10400u);
}

TEST_F(SoftLocalApicTest, BaseMovesAndDisables) {
    EXPECT_TRUE(apic_.claims(0xfee00ff0));
    EXPECT_TRUE(apic_.set_base(0xd0000900));
    EXPECT_TRUE(apic_.claims(0xd0000000));
    EXPECT_FALSE(apic_.claims(0xfee00000));
    EXPECT_FALSE(apic_.set_base(0xfee00d00));  // x2APIC
    EXPECT_TRUE(apic_.set_base(0xfee00000));
    EXPECT_FALSE(apic_.claims(0xfee00000));
}

TEST_F(SoftLocalApicTest, OnlyAlignedDoublewordsAreWritten) {
    apic_.write(kTpr, 1, 0x20, now_);
    apic_.write(kTpr + 4, 4, 0x20, now_);
    EXPECT_EQ(read(kTpr), 0u);
}

}  // namespace
}  // namespace halcyon
