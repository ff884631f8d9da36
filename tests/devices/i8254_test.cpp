#include "devices/i8254.h"

#include <chrono>
#include <cstdint>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "devices/ticks.h"
#include "tests/devices/fake_clock.h"
#include "tests/devices/irq_recorder.h"

namespace halcyon {
namespace {

using namespace i8254;
using namespace std::chrono_literals;

constexpr uint8_t control(unsigned mode, Access access = Access::kLowHigh, bool bcd = false) {
    return static_cast<uint8_t>(static_cast<unsigned>(access) << kAccessShift | mode << kModeShift |
                                (bcd ? 1 : 0));
}

/// One counter, moved clock by clock; the data sheet's figures 15 to 20 are written as the CE value
/// and OUT (H or L) after each clock.
class I8254Modes : public testing::Test {
protected:
    I8254Modes() { counter.reset(0, true); }

    /// A count of one byte, as the figures use.
    void program(unsigned mode, uint8_t count) {
        counter.program(control(mode, Access::kLow));
        counter.write(count);
    }
    std::string run(unsigned clocks) {
        std::string trace;
        while (clocks-- > 0) {
            counter.advance(++tick);
            trace +=
                (trace.empty() ? "" : " ") + std::to_string(peek()) + (counter.out() ? "H" : "L");
        }
        return trace;
    }
    int peek() {
        I8254Counter copy = counter;
        const int low = copy.read();
        return low == 0xFF ? -1 : low;
    }
    uint8_t status() {
        counter.latch_status();
        return counter.read();
    }
    void trigger() {
        counter.set_gate(false);
        counter.set_gate(true);
    }

    I8254Counter counter;
    uint64_t tick = 0;
};

TEST_F(I8254Modes, Mode0RisesNPlusOneClocksAfterTheWrite) {
    counter.program(control(0, Access::kLow));
    EXPECT_FALSE(counter.out());
    counter.write(4);
    EXPECT_EQ(run(7), "4L 3L 2L 1L 0H -1H 254H");
}

TEST_F(I8254Modes, Mode0GateStopsCountingButNotLoadingOrOut) {
    counter.set_gate(false);
    program(0, 3);
    EXPECT_EQ(run(3), "3L 3L 3L");
    counter.set_gate(true);
    EXPECT_EQ(run(3), "2L 1L 0H");
    counter.set_gate(false);
    EXPECT_EQ(run(2), "0H 0H");
}

TEST_F(I8254Modes, Mode0NewCountIsLoadedAtTheNextClock) {
    program(0, 3);
    EXPECT_EQ(run(3), "3L 2L 1L");
    counter.write(2);
    EXPECT_EQ(run(3), "2L 1L 0H");
    counter.write(2);
    EXPECT_FALSE(counter.out());
}

TEST_F(I8254Modes, Mode0FirstByteOfTwoStopsCountingWithOutLow) {
    counter.program(control(0));
    counter.write(2);
    counter.write(0);
    EXPECT_EQ(run(3), "2L 1L 0H");
    counter.write(3);
    EXPECT_EQ(run(3), "0L 0L 0L");
    counter.write(0);
    EXPECT_EQ(run(4), "3L 2L 1L 0H");
}

TEST_F(I8254Modes, Mode1IsAOneShotOfNClocksFromTheTrigger) {
    program(1, 3);
    EXPECT_TRUE(counter.out());
    run(5);
    EXPECT_TRUE(counter.out()) << "not before the trigger";
    trigger();
    EXPECT_TRUE(counter.out()) << "the next clock lowers it";
    EXPECT_EQ(run(5), "3L 2L 1L 0H -1H");
    trigger();
    EXPECT_EQ(run(2), "3L 2L");
    trigger();
    EXPECT_EQ(run(4), "3L 2L 1L 0H") << "retriggered";
}

TEST_F(I8254Modes, Mode1GateLevelAndNewCountsLeaveTheShotAlone) {
    program(1, 3);
    trigger();
    EXPECT_EQ(run(1), "3L");
    counter.write(2);
    counter.set_gate(false);
    EXPECT_EQ(run(4), "2L 1L 0H -1H");
    counter.set_gate(true);
    EXPECT_EQ(run(3), "2L 1L 0H");
}

TEST_F(I8254Modes, Mode2IsLowForTheLastClockOfN) {
    program(2, 3);
    EXPECT_TRUE(counter.out());
    EXPECT_EQ(run(8), "3H 2H 1L 3H 2H 1L 3H 2H");
}

TEST_F(I8254Modes, Mode2GateLowRaisesOutAndItsRiseReloads) {
    program(2, 3);
    EXPECT_EQ(run(3), "3H 2H 1L");
    counter.set_gate(false);
    EXPECT_TRUE(counter.out());
    EXPECT_EQ(run(2), "1H 1H");
    counter.set_gate(true);
    EXPECT_EQ(run(4), "3H 2H 1L 3H");
}

TEST_F(I8254Modes, Mode2TakesANewCountAtTheEndOfThePeriod) {
    program(2, 4);
    EXPECT_EQ(run(2), "4H 3H");
    counter.write(3);
    EXPECT_EQ(run(6), "2H 1L 3H 2H 1L 3H");
}

TEST_F(I8254Modes, Mode2TakesANewCountAtATrigger) {
    program(2, 4);
    run(2);
    counter.write(3);
    trigger();
    EXPECT_EQ(run(3), "3H 2H 1L");
}

TEST_F(I8254Modes, Mode2WithTheIllegalCount1StaysLow) {
    program(2, 1);
    EXPECT_EQ(run(3), "1L 1L 1L");
    EXPECT_EQ(counter.next_rise(), std::nullopt);
}

TEST_F(I8254Modes, Mode3EvenCountIsASquareWave) {
    program(3, 4);
    EXPECT_TRUE(counter.out());
    EXPECT_EQ(run(9), "4H 2H 4L 2L 4H 2H 4L 2L 4H");
}

TEST_F(I8254Modes, Mode3OddCountIsHighOneClockLonger) {
    program(3, 5);
    EXPECT_EQ(run(11), "4H 2H 0H 4L 2L 4H 2H 0H 4L 2L 4H");
}

TEST_F(I8254Modes, Mode3GateLowRaisesOutAndItsRiseReloads) {
    program(3, 4);
    EXPECT_EQ(run(3), "4H 2H 4L");
    counter.set_gate(false);
    EXPECT_EQ(run(2), "4H 4H");
    counter.set_gate(true);
    EXPECT_EQ(run(5), "4H 2H 4L 2L 4H");
}

TEST_F(I8254Modes, Mode3TakesANewCountAtTheEndOfTheHalfCycle) {
    program(3, 4);
    EXPECT_EQ(run(1), "4H");
    counter.write(6);
    EXPECT_EQ(run(7), "2H 6L 4L 2L 6H 4H 2H");
}

TEST_F(I8254Modes, Mode3WithTheIllegalCount1StaysHigh) {
    program(3, 1);
    EXPECT_EQ(run(3), "0H 0H 0H");
    EXPECT_EQ(counter.next_rise(), std::nullopt);
}

TEST_F(I8254Modes, Mode4StrobesOnceNPlusOneClocksAfterTheWrite) {
    program(4, 3);
    EXPECT_TRUE(counter.out());
    EXPECT_EQ(run(6), "3H 2H 1H 0L -1H 254H");
    counter.advance(tick += 300);
    EXPECT_TRUE(counter.out());
    EXPECT_EQ(counter.next_rise(), std::nullopt);
}

TEST_F(I8254Modes, Mode4GateStopsCountingButNotTheStrobe) {
    program(4, 2);
    counter.set_gate(false);
    EXPECT_EQ(run(2), "2H 2H");
    counter.set_gate(true);
    EXPECT_EQ(run(2), "1H 0L");
    counter.set_gate(false);
    EXPECT_EQ(run(2), "0H 0H");
}

TEST_F(I8254Modes, Mode4NewCountIsLoadedAtTheNextClock) {
    program(4, 3);
    EXPECT_EQ(run(2), "3H 2H");
    counter.write(2);
    EXPECT_EQ(run(4), "2H 1H 0L -1H");
}

TEST_F(I8254Modes, Mode5StrobesNPlusOneClocksAfterTheTrigger) {
    program(5, 3);
    run(5);
    EXPECT_TRUE(counter.out());
    trigger();
    EXPECT_EQ(run(5), "3H 2H 1H 0L -1H");
    trigger();
    EXPECT_EQ(run(2), "3H 2H");
    trigger();
    counter.set_gate(false);
    EXPECT_EQ(run(5), "3H 2H 1H 0L -1H") << "the level of GATE has no effect";
}

TEST_F(I8254Modes, Modes6And7AreModes2And3) {
    program(6, 3);
    EXPECT_EQ(run(4), "3H 2H 1L 3H");
    EXPECT_EQ(status() & kProgrammedMask, control(6, Access::kLow));
    program(7, 4);
    EXPECT_EQ(run(4), "4H 2H 4L 2L");
}

TEST_F(I8254Modes, ZeroIsTheLargestCount) {
    counter.program(control(2));
    counter.write(0);
    counter.write(0);
    counter.advance(1);
    EXPECT_EQ(counter.next_rise(), 1u + 65536u);
    counter.program(control(2, Access::kLowHigh, true));
    counter.write(0);
    counter.write(0);
    counter.advance(2);
    EXPECT_EQ(counter.next_rise(), 2u + 10000u);
}

TEST_F(I8254Modes, BcdCountsInDecimal) {
    counter.program(control(0, Access::kLowHigh, true));
    counter.write(0x00);
    counter.write(0x10);
    counter.advance(2);
    EXPECT_EQ(counter.read(), 0x99);
    EXPECT_EQ(counter.read(), 0x09);
    counter.advance(1 + 1000 + 1);
    EXPECT_TRUE(counter.out());
    EXPECT_EQ(counter.read(), 0x99);
    EXPECT_EQ(counter.read(), 0x99);
}

TEST_F(I8254Modes, AccessesOfOneByteLeaveTheOtherZero) {
    counter.program(control(2, Access::kHigh));
    counter.write(0x12);
    counter.advance(1);
    EXPECT_EQ(counter.read(), 0x12);
    EXPECT_EQ(counter.next_rise(), 1u + 0x1200u);
    counter.program(control(2, Access::kLow));
    counter.write(0x34);
    counter.advance(2);
    EXPECT_EQ(counter.read(), 0x34);
    EXPECT_EQ(counter.read(), 0x34);
    EXPECT_EQ(counter.next_rise(), 2u + 0x34u);
}

TEST_F(I8254Modes, LatchHoldsTheCountUntilItIsRead) {
    counter.program(control(2));
    counter.write(0x00);
    counter.write(0x10);
    counter.advance(1);
    counter.latch_count();
    counter.advance(0x101);
    counter.latch_count();  // ignored
    EXPECT_EQ(counter.read(), 0x00);
    EXPECT_EQ(counter.read(), 0x10);
    EXPECT_EQ(counter.read(), 0x00);
    EXPECT_EQ(counter.read(), 0x0F) << "live again";
}

TEST_F(I8254Modes, StatusComesBeforeTheLatchedCount) {
    counter.program(control(3));
    counter.write(0x34);
    counter.write(0x12);
    counter.advance(1);
    counter.latch_count();
    counter.latch_status();
    EXPECT_EQ(counter.read(), kStatusOut | control(3));
    EXPECT_EQ(counter.read(), 0x34);
    EXPECT_EQ(counter.read(), 0x12);
}

TEST_F(I8254Modes, NullCountLastsFromTheControlWordToTheLoad) {
    counter.program(control(2, Access::kLow));
    EXPECT_NE(status() & kStatusNullCount, 0);
    counter.write(5);
    EXPECT_NE(status() & kStatusNullCount, 0);
    run(1);
    EXPECT_EQ(status() & kStatusNullCount, 0);
    counter.write(6);
    EXPECT_NE(status() & kStatusNullCount, 0);
    run(4);
    EXPECT_NE(status() & kStatusNullCount, 0);
    run(1);
    EXPECT_EQ(status() & kStatusNullCount, 0);
}

TEST_F(I8254Modes, AControlWordForgetsLatchesAndHalfWrittenCounts) {
    counter.program(control(2));
    counter.write(0x11);
    counter.latch_count();
    counter.latch_status();
    counter.program(control(2));
    counter.write(0x00);
    counter.write(0x20);
    counter.advance(1);
    EXPECT_EQ(counter.read(), 0x00);
    EXPECT_EQ(counter.read(), 0x20);
}

/// One leap of many clocks gives what as many single clocks give, in every mode, and `next_rise` is
/// where OUT rises.
TEST(I8254Counter, LeapsEqualSingleClocks) {
    std::mt19937 random(8254);
    const auto pick = [&](unsigned n) { return random() % n; };
    for (int round = 0; round < 2000; ++round) {
        I8254Counter leap;
        leap.reset(0, true);
        leap.program(control(pick(6), Access::kLowHigh, pick(2) == 1));
        uint64_t tick = 0;
        for (int step = 0; step < 8; ++step) {
            if (pick(3) == 0) {
                leap.write(static_cast<uint8_t>(pick(10)));
                leap.write(static_cast<uint8_t>(pick(8) == 0 ? 1 : 0));
            }
            if (pick(3) == 0) {
                leap.set_gate(pick(2) == 1);
            }
            I8254Counter single = leap;
            const auto predicted = leap.next_rise();
            std::optional<uint64_t> rise;
            bool out = single.out();
            const uint64_t end = tick + pick(pick(4) == 0 ? 20000 : 20);
            while (tick < end) {
                single.advance(++tick);
                if (single.out() && !out && !rise) {
                    rise = tick;
                }
                out = single.out();
            }
            leap.advance(end);
            if (rise || (predicted && *predicted <= end)) {
                ASSERT_EQ(predicted, rise) << "round " << round << " step " << step;
            }
            ASSERT_EQ(leap.out(), single.out()) << "round " << round << " step " << step;
            leap.latch_status();
            single.latch_status();
            for (int i = 0; i < 3; ++i) {
                ASSERT_EQ(leap.read(), single.read()) << "round " << round << " step " << step;
            }
        }
    }
}

class I8254Device : public testing::Test {
protected:
    void program0(unsigned mode, uint16_t count) {
        write_byte(pit.counters(), kControlWord, control(mode));
        write_byte(pit.counters(), 0, static_cast<uint8_t>(count));
        write_byte(pit.counters(), 0, static_cast<uint8_t>(count >> 8));
    }
    uint16_t read_latched(unsigned counter) {
        write_byte(pit.counters(), kControlWord, static_cast<uint8_t>(counter << kSelectShift));
        const uint8_t low = read_byte(pit.counters(), counter);
        return static_cast<uint16_t>(read_byte(pit.counters(), counter) << 8 | low);
    }
    void advance_to_tick(uint64_t tick) { clock.advance(time_of_tick(tick, kHz) - clock.now()); }

    FakeClock clock;
    IrqRecorder irq;
    I8254 pit{clock, irq};
};

TEST_F(I8254Device, IsSilentUntilProgrammed) {
    clock.advance(10s);
    EXPECT_EQ(irq.rises(), 0);
    EXPECT_EQ(clock.armed(), 0u);
}

TEST_F(I8254Device, TheControlWordReadsAsAnUndrivenBus) {
    EXPECT_EQ(read_byte(pit.counters(), kControlWord), 0xFF);
}

TEST_F(I8254Device, PeriodicModeRaisesIrq0AtExactlyItsRate) {
    program0(2, 1193);
    irq.set(false);
    const int before = irq.rises();
    clock.advance(100s);
    EXPECT_EQ(irq.rises() - before, 119'318'200 / 1193) << "no drift in 100 s";
}

TEST_F(I8254Device, SquareWaveRaisesIrq0OncePerPeriod) {
    program0(3, 0);
    const int before = irq.rises();
    clock.advance(1s);
    EXPECT_EQ(irq.rises() - before, 18);
}

TEST_F(I8254Device, OneShotRaisesIrq0AtTerminalCount) {
    program0(0, 1000);
    EXPECT_FALSE(irq.level());
    advance_to_tick(1000);
    EXPECT_FALSE(irq.level());
    advance_to_tick(1001);
    EXPECT_TRUE(irq.level());
    clock.advance(10s);
    EXPECT_EQ(irq.rises(), 1);
    EXPECT_EQ(clock.armed(), 0u);
    write_byte(pit.counters(), 0, 1);
    EXPECT_FALSE(irq.level()) << "a new count lowers OUT at once";
}

TEST_F(I8254Device, StrobeRaisesIrq0WhenItEnds) {
    program0(4, 100);
    const int before = irq.rises();
    advance_to_tick(101);
    EXPECT_EQ(irq.rises(), before);
    advance_to_tick(102);
    EXPECT_EQ(irq.rises(), before + 1);
}

TEST_F(I8254Device, ALateTimerCollapsesPeriodsAndKeepsThePhase) {
    program0(2, 1000);
    const int before = irq.rises();
    const uint64_t first = 1001;
    clock.advance_late(time_of_tick(first + 5 * 1000 + 300, kHz));
    clock.run_due();
    EXPECT_EQ(irq.rises(), before + 1);
    EXPECT_TRUE(irq.level());
    EXPECT_EQ(clock.next_deadline(), time_of_tick(first + 6 * 1000, kHz));
}

TEST_F(I8254Device, APeriodicFallDoesNotTakeTheRequestBack) {
    program0(3, 1000);
    advance_to_tick(1001 + 700);  // the low half
    EXPECT_TRUE(irq.level());
    read_latched(0);
    EXPECT_TRUE(irq.level());
}

TEST_F(I8254Device, AGuestThatSeesTheRiseFirstHasItsInterrupt) {
    program0(0, 1000);
    clock.advance_late(1s);
    write_byte(pit.counters(), kControlWord, 0xE2);  // read back the status of counter 0
    EXPECT_NE(read_byte(pit.counters(), 0) & kStatusOut, 0);
    EXPECT_TRUE(irq.level());
    EXPECT_EQ(irq.rises(), 1);
    clock.run_due();
    EXPECT_EQ(irq.rises(), 1);
}

TEST_F(I8254Device, ControlWordsMoveOutAndIrq0AtOnce) {
    program0(0, 10);
    EXPECT_FALSE(irq.level());
    write_byte(pit.counters(), kControlWord, control(2));
    EXPECT_TRUE(irq.level());
    write_byte(pit.counters(), kControlWord, control(0));
    EXPECT_FALSE(irq.level());
    EXPECT_EQ(clock.armed(), 0u);
}

TEST_F(I8254Device, CountsAreExactBetweenTicks) {
    program0(2, 50000);
    advance_to_tick(1 + 12345);
    EXPECT_EQ(read_latched(0), 50000 - 12345);
    clock.advance(838ns);
    EXPECT_EQ(read_latched(0), 50000 - 12345 - 1) << "not quite the next clock is still the same";
}

TEST_F(I8254Device, ReadBackLatchesSeveralCountersAtOnce) {
    write_byte(pit.counters(), kControlWord, 0x40 | control(2));
    write_byte(pit.counters(), 1, 0x12);
    write_byte(pit.counters(), 1, 0x00);
    program0(2, 1000);
    advance_to_tick(10);
    write_byte(pit.counters(), kControlWord, 0xC6);  // status and count of 0 and 1
    advance_to_tick(400);
    EXPECT_EQ(read_byte(pit.counters(), 0), kStatusOut | control(2));
    EXPECT_EQ(read_byte(pit.counters(), 0), (1000 - 9) & 0xFF);
    EXPECT_EQ(read_byte(pit.counters(), 0), (1000 - 9) >> 8);
    EXPECT_EQ(read_byte(pit.counters(), 1), kStatusOut | control(2));
    EXPECT_EQ(read_byte(pit.counters(), 1), 0x12 - 9);
}

TEST_F(I8254Device, AWordAccessIsTwoBytesAtTwoPorts) {
    write_byte(pit.counters(), kControlWord, control(0, Access::kLow));
    write_byte(pit.counters(), kControlWord, 0x40 | control(0, Access::kLow));
    const std::byte word[2] = {std::byte{5}, std::byte{7}};
    pit.counters().write(0, word);
    advance_to_tick(1);
    EXPECT_EQ(read_byte(pit.counters(), 0), 5);
    EXPECT_EQ(read_byte(pit.counters(), 1), 7);
}

TEST_F(I8254Device, Port61GatesCounter2AndShowsItsOutput) {
    write_byte(pit.counters(), kControlWord, 0x80 | control(0));
    write_byte(pit.counters(), 2, 100);
    write_byte(pit.counters(), 2, 0);
    advance_to_tick(500);
    EXPECT_EQ(read_byte(pit.system_control(), 0) & kPort61Out2, 0) << "the gate is low";
    write_byte(pit.system_control(), 0, kPort61Gate2);
    advance_to_tick(599);
    EXPECT_EQ(read_byte(pit.system_control(), 0) & kPort61Out2, 0);
    advance_to_tick(600);
    EXPECT_EQ(read_byte(pit.system_control(), 0) & kPort61Out2, kPort61Out2);
}

TEST_F(I8254Device, Port61KeepsItsWritableBitsOnly) {
    write_byte(pit.system_control(), 0, 0xFF);
    EXPECT_EQ(read_byte(pit.system_control(), 0) & 0xCF, 0x0F);
    write_byte(pit.system_control(), 0, 0x00);
    EXPECT_EQ(read_byte(pit.system_control(), 0) & 0xCF, 0x00);
}

TEST_F(I8254Device, Port61RefreshBitTogglesEvery18Clocks) {
    EXPECT_EQ(read_byte(pit.system_control(), 0) & kPort61Refresh, 0);
    advance_to_tick(17);
    EXPECT_EQ(read_byte(pit.system_control(), 0) & kPort61Refresh, 0);
    advance_to_tick(18);
    EXPECT_EQ(read_byte(pit.system_control(), 0) & kPort61Refresh, kPort61Refresh);
    advance_to_tick(36);
    EXPECT_EQ(read_byte(pit.system_control(), 0) & kPort61Refresh, 0);
}

TEST_F(I8254Device, ResetStopsTheCountersAndLowersIrq0) {
    program0(2, 1000);
    write_byte(pit.system_control(), 0, 0x03);
    clock.advance(10ms);
    EXPECT_TRUE(irq.level());
    pit.reset();
    EXPECT_FALSE(irq.level());
    EXPECT_EQ(clock.armed(), 0u);
    EXPECT_EQ(read_byte(pit.system_control(), 0) & 0x0F, 0);
}

TEST_F(I8254Device, VcpusAndTheTimerMayComeTogether) {
    program0(2, 100);
    advance_to_tick(1);  // the clock that loads the count
    std::thread vcpu([&] {
        for (int i = 0; i < 2000; ++i) {
            const uint16_t count = read_latched(0);
            ASSERT_GE(count, 1);
            ASSERT_LE(count, 100);
        }
    });
    for (int i = 0; i < 2000; ++i) {
        clock.advance(10us);
    }
    vcpu.join();
    EXPECT_GE(irq.rises(), 200);
}

TEST(Ticks, TheTimeOfATickIsTheFirstNanosecondOfIt) {
    for (const uint64_t hz : {uint64_t{32768}, kHz, uint64_t{3'579'545}}) {
        for (const uint64_t tick : {uint64_t{1}, uint64_t{12345}, hz, hz + 1, 1000 * hz + 7}) {
            EXPECT_EQ(ticks_at(time_of_tick(tick, hz), hz), tick);
            EXPECT_EQ(ticks_at(time_of_tick(tick, hz) - 1ns, hz), tick - 1);
        }
    }
    EXPECT_EQ(ticks_at(GuestTime{-5}, kHz), 0u);
    EXPECT_EQ(time_of_tick(~uint64_t{0}, kHz), GuestTime::max());
}

}  // namespace
}  // namespace halcyon
