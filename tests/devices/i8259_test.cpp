#include "devices/i8259.h"

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "devices/i8259_registers.h"

namespace halcyon {
namespace {

using namespace i8259;

uint8_t in(IoHandler& ports, uint64_t offset) {
    std::byte byte{};
    ports.read(offset, {&byte, 1});
    return std::to_integer<uint8_t>(byte);
}

void out(IoHandler& ports, uint64_t offset, uint8_t value) {
    const std::byte byte{value};
    ports.write(offset, {&byte, 1});
}

constexpr uint8_t kReadIrr = 0x0A;
constexpr uint8_t kReadIsr = 0x0B;
constexpr uint8_t kPollCommand = 0x0C;
constexpr uint8_t kEoi = 0x20;
constexpr uint8_t kSpecificEoi = 0x60;

/// A pair programmed as a PC BIOS does: vectors 08h and 70h, all unmasked.
class I8259 : public testing::Test {
protected:
    I8259() { program(0x01); }

    void program(uint8_t master_icw4, uint8_t slave_icw4 = 0x01) {
        out(pic.master(), kCommand, 0x11);
        out(pic.master(), kData, 0x08);
        out(pic.master(), kData, 0x04);
        out(pic.master(), kData, master_icw4);
        out(pic.slave(), kCommand, 0x11);
        out(pic.slave(), kData, 0x70);
        out(pic.slave(), kData, 0x02);
        out(pic.slave(), kData, slave_icw4);
    }
    void raise(unsigned irq) { pic.input(irq).set(true); }
    void lower(unsigned irq) { pic.input(irq).set(false); }
    void pulse(unsigned irq) {
        lower(irq);
        raise(irq);
    }
    uint8_t irr(IoHandler& chip) {
        out(chip, kCommand, kReadIrr);
        return in(chip, kCommand);
    }
    uint8_t isr(IoHandler& chip) {
        out(chip, kCommand, kReadIsr);
        return in(chip, kCommand);
    }

    std::vector<bool> edges;
    I8259Pair pic{[this](bool level) { edges.push_back(level); }};
};

TEST_F(I8259, ARequestRaisesIntrAndGivesItsVector) {
    raise(4);
    EXPECT_TRUE(pic.intr());
    EXPECT_EQ(edges, std::vector<bool>{true});
    EXPECT_EQ(pic.acknowledge(), 0x0C);
    EXPECT_FALSE(pic.intr());
    EXPECT_EQ(edges, (std::vector<bool>{true, false}));
    EXPECT_EQ(isr(pic.master()), 0x10);
}

TEST_F(I8259, Icw2GivesOnlyTheUpperFiveBits) {
    out(pic.master(), kCommand, 0x11);
    out(pic.master(), kData, 0x27);
    out(pic.master(), kData, 0x04);
    out(pic.master(), kData, 0x01);
    raise(1);
    EXPECT_EQ(pic.acknowledge(), 0x21);
}

TEST_F(I8259, Icw1WithoutIcw4ExpectsNone) {
    program(0x03);  // auto EOI, to see it go
    out(pic.master(), kCommand, 0x10);
    out(pic.master(), kData, 0x40);
    out(pic.master(), kData, 0x04);
    out(pic.master(), kData, 0xFE);  // OCW1 already
    EXPECT_EQ(in(pic.master(), kData), 0xFE);
    raise(0);
    EXPECT_EQ(pic.acknowledge(), 0x40);
    EXPECT_EQ(isr(pic.master()), 0x01);
}

TEST_F(I8259, SingleModeSkipsIcw3AndHasNoCascade) {
    out(pic.master(), kCommand, 0x13);
    out(pic.master(), kData, 0x40);
    out(pic.master(), kData, 0x01);
    out(pic.master(), kData, 0x00);
    raise(9);
    EXPECT_EQ(pic.acknowledge(), 0x42);
    EXPECT_EQ(isr(pic.slave()), 0x00);
}

TEST_F(I8259, Icw1ClearsMaskServiceEdgesModesAndPriority) {
    out(pic.master(), kData, 0xFF);
    out(pic.master(), kCommand, 0x68);  // special mask mode
    out(pic.master(), kCommand, kReadIsr);
    out(pic.master(), kCommand, 0xC3);  // lowest priority: 3
    raise(4);
    out(pic.master(), kCommand, 0x11);
    EXPECT_EQ(in(pic.master(), kData), 0x00);
    EXPECT_EQ(in(pic.master(), kCommand), 0x00);  // IRR selected, and the edge is forgotten
    program(0x01);
    EXPECT_FALSE(pic.intr()) << "a line that stays high is no new edge";
    pulse(4);
    raise(0);
    EXPECT_EQ(pic.acknowledge(), 0x08) << "IR0 is the highest again";
}

TEST_F(I8259, NoInterruptDuringInitialisation) {
    out(pic.master(), kCommand, 0x11);
    raise(1);
    EXPECT_FALSE(pic.intr());
    out(pic.master(), kData, 0x08);
    out(pic.master(), kData, 0x04);
    EXPECT_FALSE(pic.intr());
    out(pic.master(), kData, 0x01);
    EXPECT_TRUE(pic.intr());
}

TEST_F(I8259, MaskHoldsARequestBackAndKeepsIt) {
    out(pic.master(), kData, 0x02);
    EXPECT_EQ(in(pic.master(), kData), 0x02);
    raise(1);
    EXPECT_FALSE(pic.intr());
    EXPECT_EQ(irr(pic.master()), 0x02);
    out(pic.master(), kData, 0x00);
    EXPECT_TRUE(pic.intr());
}

TEST_F(I8259, AMaskDoesNotHideRequestsOfLowerPriority) {
    out(pic.master(), kData, 0x01);
    raise(0);
    raise(5);
    EXPECT_EQ(pic.acknowledge(), 0x0D);
}

TEST_F(I8259, FullyNestedModeLetsOnlyHigherPriorityInterrupt) {
    raise(4);
    pic.acknowledge();
    raise(5);
    EXPECT_FALSE(pic.intr());
    raise(3);
    EXPECT_TRUE(pic.intr());
    EXPECT_EQ(pic.acknowledge(), 0x0B);
    EXPECT_EQ(isr(pic.master()), 0x18);
    out(pic.master(), kCommand, kEoi);
    EXPECT_EQ(isr(pic.master()), 0x10);
    EXPECT_FALSE(pic.intr());
    out(pic.master(), kCommand, kEoi);
    EXPECT_EQ(pic.acknowledge(), 0x0D);
}

TEST_F(I8259, EdgeTriggeredInputGivesOneInterruptPerRise) {
    raise(3);
    pic.acknowledge();
    out(pic.master(), kCommand, kEoi);
    EXPECT_FALSE(pic.intr());
    raise(3);
    EXPECT_FALSE(pic.intr());
    pulse(3);
    EXPECT_TRUE(pic.intr());
}

TEST_F(I8259, AnEdgeDuringServiceIsKept) {
    raise(3);
    pic.acknowledge();
    pulse(3);
    EXPECT_FALSE(pic.intr());
    out(pic.master(), kCommand, kEoi);
    EXPECT_TRUE(pic.intr());
}

TEST_F(I8259, ARequestThatFallsBeforeTheAcknowledgeIsWithdrawn) {
    raise(3);
    lower(3);
    EXPECT_FALSE(pic.intr());
    EXPECT_EQ(irr(pic.master()), 0x00);
    EXPECT_EQ(pic.try_acknowledge(), std::nullopt);
}

TEST_F(I8259, AnAcknowledgeWithoutRequestIsSpuriousIrq7AndNotInService) {
    EXPECT_EQ(pic.acknowledge(), 0x0F);
    EXPECT_EQ(isr(pic.master()), 0x00);
    raise(7);
    EXPECT_TRUE(pic.intr());
    EXPECT_EQ(pic.acknowledge(), 0x0F);
    EXPECT_EQ(isr(pic.master()), 0x80);
}

TEST(I8259Chip, TheSlavesSpuriousVectorIsItsLevel7) {
    I8259Chip slave(I8259Chip::Role::kSlave);
    for (const uint8_t icw : {0x70, 0x02, 0x01}) {
        if (icw == 0x70) {
            slave.write(kCommand, 0x11);
        }
        slave.write(kData, icw);
    }
    slave.set_input(1, true);
    EXPECT_TRUE(slave.output());
    slave.set_input(1, false);
    EXPECT_EQ(slave.vector(slave.acknowledge().value_or(kSpuriousLevel)), 0x77);
    slave.write(kCommand, kReadIsr);
    EXPECT_EQ(slave.read(kCommand), 0x00);
}

TEST_F(I8259, TheSlaveGoesThroughTheMastersInput2) {
    raise(12);
    EXPECT_EQ(irr(pic.master()), 0x04);
    EXPECT_EQ(irr(pic.slave()), 0x10);
    EXPECT_EQ(pic.acknowledge(), 0x74);
    EXPECT_EQ(isr(pic.master()), 0x04);
    EXPECT_EQ(isr(pic.slave()), 0x10);
    out(pic.slave(), kCommand, kEoi);
    out(pic.master(), kCommand, kEoi);
    EXPECT_EQ(isr(pic.master()), 0x00);
    EXPECT_FALSE(pic.intr());
}

TEST_F(I8259, Input2OfThePairIsNotConnected) {
    raise(2);
    EXPECT_FALSE(pic.intr());
    EXPECT_EQ(irr(pic.master()), 0x00);
}

TEST_F(I8259, TheSlavesRequestsRankAboveIrq3AndBelowIrq1) {
    raise(3);
    raise(8);
    raise(1);
    EXPECT_EQ(pic.acknowledge(), 0x09);
    out(pic.master(), kCommand, kEoi);
    EXPECT_EQ(pic.acknowledge(), 0x70);
    out(pic.slave(), kCommand, kEoi);
    out(pic.master(), kCommand, kEoi);
    EXPECT_EQ(pic.acknowledge(), 0x0B);
}

TEST_F(I8259, ASlaveWithAnotherNumberPutsNoVectorOnTheBus) {
    out(pic.slave(), kCommand, 0x11);
    out(pic.slave(), kData, 0x70);
    out(pic.slave(), kData, 0x03);
    out(pic.slave(), kData, 0x01);
    raise(9);
    EXPECT_EQ(pic.acknowledge(), 0xFF);
    EXPECT_EQ(irr(pic.slave()), 0x02);
}

TEST_F(I8259, TheSlavesRequestSurvivesTheMastersInitialisation) {
    raise(9);
    out(pic.master(), kCommand, 0x11);
    out(pic.master(), kData, 0x08);
    out(pic.master(), kData, 0x04);
    out(pic.master(), kData, 0x01);
    EXPECT_EQ(pic.acknowledge(), 0x71);
}

TEST_F(I8259, WithoutSpecialFullyNestedModeASlaveInServiceIsLockedOut) {
    raise(12);
    pic.acknowledge();
    raise(9);
    EXPECT_FALSE(pic.intr());
}

TEST_F(I8259, SpecialFullyNestedModeLetsTheSlaveInterruptItself) {
    program(0x11);
    raise(12);
    pic.acknowledge();
    raise(9);
    EXPECT_TRUE(pic.intr());
    EXPECT_EQ(pic.acknowledge(), 0x71);
    EXPECT_EQ(isr(pic.slave()), 0x12);
    raise(3);
    EXPECT_FALSE(pic.intr()) << "lower levels stay blocked";
}

TEST_F(I8259, SpecificEoiEndsTheNamedLevel) {
    raise(4);
    pic.acknowledge();
    raise(1);
    pic.acknowledge();
    out(pic.master(), kCommand, kSpecificEoi | 4);
    EXPECT_EQ(isr(pic.master()), 0x02);
}

TEST_F(I8259, NonSpecificEoiWithNothingInServiceDoesNothing) {
    out(pic.master(), kCommand, kEoi);
    out(pic.master(), kCommand, 0xA0);
    raise(0);
    raise(1);
    EXPECT_EQ(pic.acknowledge(), 0x08);
}

TEST_F(I8259, RotateOnNonSpecificEoiMakesTheLevelTheLowest) {
    raise(4);
    pic.acknowledge();
    out(pic.master(), kCommand, 0xA0);
    pulse(4);
    raise(3);
    raise(5);
    EXPECT_EQ(pic.acknowledge(), 0x0D);
    EXPECT_EQ(pic.try_acknowledge(), std::nullopt);
    out(pic.master(), kCommand, kEoi);
    EXPECT_EQ(pic.acknowledge(), 0x0B);
    out(pic.master(), kCommand, kEoi);
    EXPECT_EQ(pic.acknowledge(), 0x0C);
}

TEST_F(I8259, RotateOnSpecificEoiEndsAndRotates) {
    raise(1);
    pic.acknowledge();
    out(pic.master(), kCommand, 0xE1);
    EXPECT_EQ(isr(pic.master()), 0x00);
    pulse(1);
    raise(7);
    EXPECT_EQ(pic.acknowledge(), 0x0F);
}

TEST_F(I8259, SetPriorityRotatesWithoutEoi) {
    out(pic.master(), kCommand, 0xC5);
    raise(5);
    raise(6);
    EXPECT_EQ(pic.acknowledge(), 0x0E);
}

TEST_F(I8259, Ocw2NoOperationChangesNothing) {
    raise(4);
    pic.acknowledge();
    out(pic.master(), kCommand, 0x44);
    EXPECT_EQ(isr(pic.master()), 0x10);
}

TEST_F(I8259, AutoEoiLeavesNothingInService) {
    program(0x03);
    raise(4);
    EXPECT_EQ(pic.acknowledge(), 0x0C);
    EXPECT_EQ(isr(pic.master()), 0x00);
    EXPECT_FALSE(pic.intr()) << "the edge is used up";
}

TEST_F(I8259, RotateInAutoEoiModeCanBeSetAndCleared) {
    program(0x03);
    out(pic.master(), kCommand, 0x80);
    raise(0);
    pic.acknowledge();
    pulse(0);
    raise(1);
    EXPECT_EQ(pic.acknowledge(), 0x09);
    out(pic.master(), kCommand, 0x00);
    EXPECT_EQ(pic.acknowledge(), 0x08);
    pulse(0);
    pulse(1);
    EXPECT_EQ(pic.acknowledge(), 0x08) << "the lowest priority stayed at 1";
}

TEST_F(I8259, SpecialMaskModeLetsLowerLevelsThroughAMaskedOneInService) {
    raise(4);
    pic.acknowledge();
    raise(6);
    out(pic.master(), kData, 0x10);
    EXPECT_FALSE(pic.intr());
    out(pic.master(), kCommand, 0x68);
    EXPECT_TRUE(pic.intr());
    EXPECT_EQ(pic.acknowledge(), 0x0E);
    out(pic.master(), kCommand, kEoi);
    EXPECT_EQ(isr(pic.master()), 0x10) << "a masked level is not ended without its name";
    out(pic.master(), kCommand, kSpecificEoi | 4);
    EXPECT_EQ(isr(pic.master()), 0x00);
}

TEST_F(I8259, SpecialMaskModeNeedsItsEnableBit) {
    raise(4);
    pic.acknowledge();
    raise(6);
    out(pic.master(), kData, 0x10);
    out(pic.master(), kCommand, 0x28);  // SMM without ESMM
    EXPECT_FALSE(pic.intr());
    out(pic.master(), kCommand, 0x68);
    EXPECT_TRUE(pic.intr());
    out(pic.master(), kCommand, 0x48);  // back to normal
    EXPECT_FALSE(pic.intr());
}

TEST_F(I8259, PollAcknowledgesByARead) {
    raise(5);
    out(pic.master(), kCommand, kPollCommand);
    EXPECT_EQ(in(pic.master(), kCommand), 0x85);
    EXPECT_FALSE(pic.intr());
    EXPECT_EQ(isr(pic.master()), 0x20);
    out(pic.master(), kCommand, kPollCommand);
    EXPECT_EQ(in(pic.master(), kData) & 0x80, 0) << "no request, from either offset";
    EXPECT_EQ(in(pic.master(), kData), 0x00) << "the poll is over after one read";
}

TEST_F(I8259, PollOfTheMasterLeavesTheSlaveToItsOwnPoll) {
    raise(9);
    out(pic.master(), kCommand, kPollCommand);
    EXPECT_EQ(in(pic.master(), kCommand), 0x82);
    out(pic.slave(), kCommand, kPollCommand);
    EXPECT_EQ(in(pic.slave(), kCommand), 0x81);
    EXPECT_EQ(isr(pic.slave()), 0x02);
}

TEST_F(I8259, TheReadRegisterChoiceStays) {
    raise(3);
    pic.acknowledge();
    out(pic.master(), kCommand, kReadIsr);
    EXPECT_EQ(in(pic.master(), kCommand), 0x08);
    EXPECT_EQ(in(pic.master(), kCommand), 0x08);
    out(pic.master(), kCommand, 0x08);  // OCW3 without RR
    EXPECT_EQ(in(pic.master(), kCommand), 0x08);
}

TEST_F(I8259, ElcrHasNoBitsForTheIsaOnlyInputs) {
    out(pic.elcr(), 0, 0xFF);
    out(pic.elcr(), 1, 0xFF);
    EXPECT_EQ(in(pic.elcr(), 0), 0xF8);
    EXPECT_EQ(in(pic.elcr(), 1), 0xDE);
}

TEST_F(I8259, ElcrIsWrittenAsAWordToo) {
    const std::byte word[2] = {std::byte{0x20}, std::byte{0x0C}};
    pic.elcr().write(0, word);
    EXPECT_EQ(in(pic.elcr(), 0), 0x20);
    EXPECT_EQ(in(pic.elcr(), 1), 0x0C);
}

TEST_F(I8259, LevelTriggeredInputAsksAgainUntilItFalls) {
    out(pic.elcr(), 1, 0x08);
    raise(11);
    EXPECT_EQ(pic.acknowledge(), 0x73);
    EXPECT_EQ(irr(pic.slave()), 0x08) << "IRR follows the level";
    EXPECT_FALSE(pic.intr());
    out(pic.slave(), kCommand, kEoi);
    out(pic.master(), kCommand, kEoi);
    EXPECT_TRUE(pic.intr());
    lower(11);
    EXPECT_FALSE(pic.intr());
}

TEST_F(I8259, ElcrSurvivesIcw1ButNotReset) {
    out(pic.elcr(), 0, 0x20);
    program(0x01);
    EXPECT_EQ(in(pic.elcr(), 0), 0x20);
    pic.reset();
    EXPECT_EQ(in(pic.elcr(), 0), 0x00);
}

TEST_F(I8259, ResetDropsIntrAndForgetsEverything) {
    raise(1);
    out(pic.slave(), kData, 0xAA);
    pic.reset();
    EXPECT_FALSE(pic.intr());
    EXPECT_EQ(edges, (std::vector<bool>{true, false}));
    EXPECT_EQ(in(pic.slave(), kData), 0x00);
    pulse(1);
    EXPECT_EQ(pic.acknowledge(), 0x01);
}

TEST(I8259Threads, EveryEdgeIsAcknowledgedOnce) {
    constexpr int kEdges = 500;
    I8259Pair pic([](bool) {});
    std::atomic<int> taken{0};
    std::thread vcpu([&] {
        while (taken.load() < kEdges) {
            if (pic.try_acknowledge()) {
                out(pic.master(), kCommand, kEoi);
                ++taken;
            } else {
                std::this_thread::yield();
            }
        }
    });
    for (int edge = 0; edge < kEdges; ++edge) {
        pic.input(4).set(true);
        while (taken.load() == edge) {
            std::this_thread::yield();
        }
        pic.input(4).set(false);
    }
    vcpu.join();
    EXPECT_EQ(taken.load(), kEdges);
    EXPECT_FALSE(pic.intr());
}

}  // namespace
}  // namespace halcyon
