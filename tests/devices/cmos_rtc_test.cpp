#include "devices/cmos_rtc.h"

#include <chrono>
#include <cstdint>
#include <ctime>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/devices/fake_clock.h"
#include "tests/devices/irq_recorder.h"

namespace halcyon {
namespace {

using namespace rtc;
using namespace std::chrono_literals;

/// A clock that starts on Saturday, 29 February 2020, 13:58:57.25 UTC.
class CmosRtcTest : public testing::Test {
protected:
    static constexpr std::chrono::sys_days kDate{std::chrono::year{2020} / 2 / 29};

    uint8_t get(uint8_t index) {
        write_byte(rtc.ports(), kIndexPort, index);
        return read_byte(rtc.ports(), kDataPort);
    }
    void put(uint8_t index, uint8_t value) {
        write_byte(rtc.ports(), kIndexPort, index);
        write_byte(rtc.ports(), kDataPort, value);
    }
    /// Century, year, month, day, weekday, hours, minutes, seconds.
    std::vector<int> time() {
        std::vector<int> bytes;
        for (const uint8_t index :
             {kCentury, kYear, kMonth, kDayOfMonth, kDayOfWeek, kHours, kMinutes, kSeconds}) {
            bytes.push_back(get(index));
        }
        return bytes;
    }
    void set_alarm(uint8_t hours, uint8_t minutes, uint8_t seconds) {
        put(kHoursAlarm, hours);
        put(kMinutesAlarm, minutes);
        put(kSecondsAlarm, seconds);
    }

    FakeClock clock;
    IrqRecorder irq;
    std::chrono::nanoseconds host_step{0};
    CmosRtc rtc{clock, irq,
                [this] {
                    return std::chrono::system_clock::time_point(kDate + 13h + 58min + 57s + 250ms +
                                                                 clock.now() + host_step);
                },
                [this](std::chrono::seconds offset) { offsets.push_back(offset.count()); }};
    std::vector<int64_t> offsets;
};

TEST_F(CmosRtcTest, TellsByHowMuchTheGuestSetsTheClock) {
    get(kSeconds);
    put(kFirstRam + 1, 5);
    put(kSecondsAlarm, 5);
    EXPECT_TRUE(offsets.empty()) << "nothing was set";
    put(kHours, 0x15);
    put(kMinutes, 0x57);
    EXPECT_EQ(offsets, (std::vector<int64_t>{2 * 3600, 2 * 3600 - 60}));
    offsets.clear();
    put(kRegisterB, kSet | k24Hours);
    put(kHours, 0x13);
    put(kMinutes, 0x58);
    EXPECT_TRUE(offsets.empty()) << "the clock stands while it is set";
    put(kRegisterB, k24Hours);
    EXPECT_EQ(offsets, std::vector<int64_t>{0});
}

TEST_F(CmosRtcTest, StartsAsABcd24HourClockInUtc) {
    EXPECT_EQ(get(kRegisterA), 0x26);
    EXPECT_EQ(get(kRegisterB), 0x02);
    EXPECT_EQ(get(kRegisterC), 0x00);
    EXPECT_EQ(get(kRegisterD), 0x80);
    EXPECT_EQ(time(), (std::vector<int>{0x20, 0x20, 0x02, 0x29, 7, 0x13, 0x58, 0x57}));
}

TEST_F(CmosRtcTest, CountsAcrossMonths) {
    clock.advance(10h + 1min + 3s);
    EXPECT_EQ(time(), (std::vector<int>{0x20, 0x20, 0x03, 0x01, 1, 0x00, 0x00, 0x00}));
}

TEST_F(CmosRtcTest, ReadsInBinary) {
    put(kRegisterB, k24Hours | kBinary);
    EXPECT_EQ(time(), (std::vector<int>{20, 20, 2, 29, 7, 13, 58, 57}));
}

TEST_F(CmosRtcTest, TellsItsDateInAnyFormat) {
    for (const uint8_t format : {k24Hours, kBinary, uint8_t{0}}) {
        put(kRegisterB, format);
        const std::tm date = rtc.date();
        EXPECT_EQ((std::vector<int>{date.tm_year, date.tm_mon, date.tm_mday, date.tm_hour,
                                    date.tm_min, date.tm_sec}),
                  (std::vector<int>{120, 1, 29, 13, 58, 57}))
            << "format " << int{format};
    }
    put(kRegisterB, kSet);
    put(kSeconds, 0x12);
    EXPECT_EQ(rtc.date().tm_sec, 12) << "while it stands, what the guest wrote";
}

TEST_F(CmosRtcTest, ReadsIn12Hours) {
    put(kRegisterB, 0);
    EXPECT_EQ(get(kHours), 0x81);
    clock.advance(11h);
    EXPECT_EQ(get(kHours), 0x12) << "midnight";
    clock.advance(12h);
    EXPECT_EQ(get(kHours), 0x92) << "noon";
}

TEST_F(CmosRtcTest, SetStopsTheClockAndItGoesOnFromWhatWasWritten) {
    put(kRegisterB, kSet | k24Hours);
    clock.advance(10s);
    EXPECT_EQ(get(kSeconds), 0x57);
    put(kCentury, 0x19);
    put(kYear, 0x99);
    put(kMonth, 0x12);
    put(kDayOfMonth, 0x31);
    put(kDayOfWeek, 6);
    put(kHours, 0x23);
    put(kMinutes, 0x59);
    put(kSeconds, 0x59);
    EXPECT_EQ(time(), (std::vector<int>{0x19, 0x99, 0x12, 0x31, 6, 0x23, 0x59, 0x59}));
    put(kRegisterB, k24Hours);
    EXPECT_EQ(time(), (std::vector<int>{0x19, 0x99, 0x12, 0x31, 6, 0x23, 0x59, 0x59}));
    clock.advance(749ms);
    EXPECT_EQ(get(kSeconds), 0x59) << "SET does not touch the divider";
    clock.advance(1ms);
    EXPECT_EQ(time(), (std::vector<int>{0x20, 0x00, 0x01, 0x01, 7, 0x00, 0x00, 0x00}));
}

TEST_F(CmosRtcTest, IsSetIn12HoursAndBinary) {
    put(kRegisterB, kSet | kBinary);
    put(kHours, 12);
    put(kMinutes, 30);
    put(kSeconds, 0);
    put(kRegisterB, kBinary | k24Hours | kSet);
    put(kRegisterB, kBinary | kSet);
    put(kRegisterB, kBinary);
    EXPECT_EQ(get(kHours), 12);
    put(kRegisterB, kBinary | k24Hours);
    EXPECT_EQ(get(kHours), 0);
    EXPECT_EQ(get(kMinutes), 30);
    put(kRegisterB, kBinary);
    put(kHours, 0x80 | 3);
    put(kRegisterB, kBinary | k24Hours);
    EXPECT_EQ(get(kHours), 15);
}

TEST_F(CmosRtcTest, AByteCanBeSetWhileTheClockRuns) {
    put(kMinutes, 0x05);
    clock.advance(3s);
    EXPECT_EQ(time(), (std::vector<int>{0x20, 0x20, 0x02, 0x29, 7, 0x13, 0x06, 0x00}));
}

TEST_F(CmosRtcTest, TheWeekdayCountsOnFromWhatTheGuestSet) {
    put(kDayOfWeek, 3);
    EXPECT_EQ(get(kDayOfWeek), 3);
    clock.advance(24h * 5);
    EXPECT_EQ(get(kDayOfWeek), 1);
}

TEST_F(CmosRtcTest, ADateThatDoesNotExistIsCarriedOn) {
    put(kRegisterB, kSet | k24Hours);
    put(kMonth, 0x04);
    put(kDayOfMonth, 0x31);
    put(kRegisterB, k24Hours);
    EXPECT_EQ(get(kMonth), 0x05);
    EXPECT_EQ(get(kDayOfMonth), 0x01);
}

TEST_F(CmosRtcTest, AnyBytesMakeSomeTime) {
    for (const uint8_t format : {uint8_t{0}, kBinary, k24Hours}) {
        put(kRegisterB, static_cast<uint8_t>(kSet | format));
        for (uint8_t index = 0; index <= kYear; ++index) {
            put(index, 0xFF);
        }
        put(kCentury, 0xFF);
        put(kRegisterB, static_cast<uint8_t>(kUie | kAie | format));
        clock.advance(48h);
        time();
        put(kRegisterB, static_cast<uint8_t>(kSet | format));
        for (uint8_t index = 0; index <= kYear; ++index) {
            put(index, 0);
        }
        put(kCentury, 0);
        put(kRegisterB, format);
        time();
    }
    put(kRegisterB, k24Hours);
    EXPECT_LE(get(kSeconds), 0x59);
}

TEST_F(CmosRtcTest, FollowsTheHostsClockWhenTheGuestsStoodStill) {
    host_step = 1h;
    EXPECT_EQ(get(kHours), 0x14);
    EXPECT_EQ(get(kMinutes), 0x58);
}

TEST_F(CmosRtcTest, AHostClockSetBackGivesNoFlags) {
    get(kRegisterC);
    host_step = -1h;
    EXPECT_EQ(get(kRegisterC), 0);
    EXPECT_EQ(get(kHours), 0x12);
    clock.advance(1s);
    EXPECT_EQ(get(kRegisterC) & kUf, kUf);
}

TEST_F(CmosRtcTest, UipIsSetBeforeTheUpdateAndClearAfterIt) {
    clock.advance(750ms - kUpdateInProgress - 1us);
    EXPECT_EQ(get(kRegisterA), 0x26);
    clock.advance(1us);
    EXPECT_EQ(get(kRegisterA), 0xA6);
    EXPECT_EQ(get(kSeconds), 0x57);
    clock.advance(kUpdateInProgress);
    EXPECT_EQ(get(kRegisterA), 0x26);
    EXPECT_EQ(get(kSeconds), 0x58);
}

TEST_F(CmosRtcTest, UipCannotBeWrittenAndIsClearWhileSet) {
    put(kRegisterA, 0xA6);
    EXPECT_EQ(get(kRegisterA), 0x26);
    put(kRegisterB, kSet | k24Hours);
    clock.advance(749ms);
    EXPECT_EQ(get(kRegisterA), 0x26);
}

TEST_F(CmosRtcTest, TheFirstUpdateIsHalfASecondAfterTheDividersReset) {
    put(kRegisterA, 0x66);
    clock.advance(5s);
    EXPECT_EQ(get(kSeconds), 0x57);
    put(kRegisterA, 0x26);
    clock.advance(499ms);
    EXPECT_EQ(get(kSeconds), 0x57);
    clock.advance(1ms);
    EXPECT_EQ(get(kSeconds), 0x58);
}

TEST_F(CmosRtcTest, UpdateEndedInterruptsOnceASecond) {
    put(kRegisterB, kUie | k24Hours);
    clock.advance(749ms);
    EXPECT_FALSE(irq.level());
    clock.advance(1ms);
    EXPECT_TRUE(irq.level());
    EXPECT_EQ(get(kRegisterC), kIrqf | kUf | kPf);
    EXPECT_FALSE(irq.level());
    EXPECT_EQ(get(kRegisterC), 0);
    clock.advance(1s);
    EXPECT_EQ(irq.rises(), 2);
    clock.advance(10s);
    EXPECT_EQ(irq.rises(), 2) << "the line stays until register C is read";
    EXPECT_EQ(clock.armed(), 0u);
}

TEST_F(CmosRtcTest, FlagsAreSetWithoutTheirEnableBits) {
    clock.advance(1s);
    EXPECT_EQ(get(kRegisterC), kUf | kPf);
    EXPECT_EQ(irq.rises(), 0);
    EXPECT_EQ(clock.armed(), 0u);
}

TEST_F(CmosRtcTest, EnablingAFlagThatIsSetInterruptsAtOnce) {
    clock.advance(1s);
    put(kRegisterB, kUie | k24Hours);
    EXPECT_TRUE(irq.level());
    put(kRegisterB, k24Hours);
    EXPECT_FALSE(irq.level());
}

TEST_F(CmosRtcTest, SettingTheSetBitClearsUie) {
    put(kRegisterB, kSet | kUie | kAie | k24Hours);
    EXPECT_EQ(get(kRegisterB), kSet | kAie | k24Hours);
}

TEST_F(CmosRtcTest, AlarmInterruptsAtItsTime) {
    set_alarm(0x13, 0x59, 0x10);
    put(kRegisterB, kAie | k24Hours);
    clock.advance(12749ms);
    EXPECT_FALSE(irq.level());
    clock.advance(1ms);
    EXPECT_TRUE(irq.level());
    EXPECT_EQ(get(kRegisterC) & (kIrqf | kAf), kIrqf | kAf);
    EXPECT_EQ(get(kSeconds), 0x10);
    clock.advance(23h + 59min + 59s);
    EXPECT_FALSE(irq.level());
    clock.advance(1s);
    EXPECT_TRUE(irq.level()) << "again the next day";
}

TEST_F(CmosRtcTest, AlarmBytesFromC0MatchAnything) {
    set_alarm(0xC0, 0xFF, 0x05);
    put(kRegisterB, kAie | k24Hours);
    for (int minute = 0; minute < 3; ++minute) {
        clock.advance(1min);
        EXPECT_EQ(get(kRegisterC) & kAf, kAf);
    }
    EXPECT_EQ(irq.rises(), 3);
    set_alarm(0xC0, 0xC0, 0xC0);
    get(kRegisterC);
    clock.advance(1s);
    EXPECT_EQ(get(kRegisterC) & kAf, kAf) << "every second";
}

TEST_F(CmosRtcTest, AlarmComparesTheBytesOfThe12HourFormat) {
    put(kRegisterB, kAie);
    set_alarm(0x82, 0x00, 0x00);
    clock.advance(1min + 3s);
    EXPECT_TRUE(irq.level());
}

TEST_F(CmosRtcTest, AnAlarmThatCannotBeNeverComes) {
    set_alarm(0x13, 0x59, 0x77);
    put(kRegisterB, kAie | k24Hours);
    clock.advance(50h);
    EXPECT_EQ(get(kRegisterC) & kAf, 0);
    EXPECT_EQ(irq.rises(), 0);
}

TEST_F(CmosRtcTest, AnAlarmThatWasSleptThroughIsSeen) {
    set_alarm(0x14, 0x30, 0x00);
    put(kRegisterB, kAie | k24Hours);
    host_step = 2h;  // the VM was paused
    clock.advance(61s);
    EXPECT_TRUE(irq.level());
}

TEST_F(CmosRtcTest, PeriodicInterruptComesAtItsRate) {
    put(kRegisterB, kPie | k24Hours);
    int served = 0;
    for (int step = 0; step < 10000; ++step) {
        clock.advance(100us);
        served += (get(kRegisterC) & kPf) != 0 ? 1 : 0;
    }
    EXPECT_EQ(served, 1024);
    EXPECT_EQ(irq.rises(), 1024);
}

TEST_F(CmosRtcTest, PeriodicRatesAreThoseOfTheSlowCrystal) {
    const std::pair<uint8_t, std::chrono::nanoseconds> rates[] = {
        {1, 3906250ns}, {2, 7812500ns}, {3, 122070ns}, {8, 3906250ns}, {15, 500ms}};
    for (const auto& [rate, period] : rates) {
        put(kRegisterA, 0x70);  // restart the divider
        put(kRegisterA, static_cast<uint8_t>(0x20 | rate));
        get(kRegisterC);
        clock.advance(period - 1us);
        EXPECT_EQ(get(kRegisterC) & kPf, 0) << int{rate};
        clock.advance(2us);
        EXPECT_EQ(get(kRegisterC) & kPf, kPf) << int{rate};
    }
}

TEST_F(CmosRtcTest, RateZeroAndAStandingDividerGiveNoPeriodicFlag) {
    for (const uint8_t a : {0x20, 0x76}) {
        put(kRegisterA, a);
        get(kRegisterC);
        clock.advance(2s);
        EXPECT_EQ(get(kRegisterC) & kPf, 0);
    }
}

TEST_F(CmosRtcTest, ThePeriodicFlagGoesOnWhileSet) {
    put(kRegisterB, kSet | k24Hours);
    get(kRegisterC);
    clock.advance(2s);
    EXPECT_EQ(get(kRegisterC), kPf);
}

TEST_F(CmosRtcTest, RegistersCAndDCannotBeWritten) {
    put(kRegisterC, 0xFF);
    put(kRegisterD, 0x00);
    EXPECT_EQ(get(kRegisterC) & 0x0F, 0);
    EXPECT_EQ(get(kRegisterD), 0x80);
}

TEST_F(CmosRtcTest, MemoryKeepsWhatBoardAndGuestStore) {
    rtc.set(0x34, 0xAB);
    EXPECT_EQ(get(0x34), 0xAB);
    put(0x7F, 0x5A);
    EXPECT_EQ(get(0x7F), 0x5A);
    rtc.set(kRegisterB, 0xFF);
    rtc.set(kCentury, 0xFF);
    rtc.set(0x80, 0xFF);
    EXPECT_EQ(get(kRegisterB), 0x02);
    EXPECT_EQ(get(kCentury), 0x20);
}

TEST_F(CmosRtcTest, TheIndexPortHoldsBackNmiAndReadsFf) {
    write_byte(rtc.ports(), kIndexPort, 0x80 | kRegisterD);
    EXPECT_TRUE(rtc.nmi_disabled());
    EXPECT_EQ(read_byte(rtc.ports(), kDataPort), 0x80);
    EXPECT_EQ(read_byte(rtc.ports(), kIndexPort), 0xFF);
    write_byte(rtc.ports(), kIndexPort, kRegisterD);
    EXPECT_FALSE(rtc.nmi_disabled());
}

TEST_F(CmosRtcTest, ResetDisablesInterruptsAndKeepsTimeAndMemory) {
    put(kRegisterB, kSqwe | kPie | kAie | kUie | kBinary);
    put(0x40, 0x77);
    put(kMinutes, 7);
    clock.advance(1s);
    EXPECT_TRUE(irq.level());
    rtc.reset();
    EXPECT_FALSE(irq.level());
    EXPECT_EQ(get(kRegisterB), kBinary);
    EXPECT_EQ(get(kRegisterC), 0);
    EXPECT_EQ(get(0x40), 0x77);
    EXPECT_EQ(get(kMinutes), 7);
    EXPECT_EQ(clock.armed(), 0u);
}

TEST_F(CmosRtcTest, VcpusAndTheTimerMayComeTogether) {
    put(kRegisterB, kPie | kUie | k24Hours);
    std::thread vcpu([&] {
        for (int i = 0; i < 2000; ++i) {
            get(kRegisterC);
        }
    });
    for (int i = 0; i < 2000; ++i) {
        clock.advance(1ms);
    }
    vcpu.join();
    EXPECT_GE(irq.rises(), 1);
}

TEST(CmosRtcHost, TheDefaultWallClockIsTheHosts) {
    FakeClock clock;
    IrqRecorder irq;
    CmosRtc rtc(clock, irq);
    const auto years = [] {
        const auto day = std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now());
        return static_cast<int>(std::chrono::year_month_day(day).year()) % 100;
    };
    const int before = years();
    write_byte(rtc.ports(), kIndexPort, kYear);
    const int bcd = read_byte(rtc.ports(), kDataPort);
    const int year = (bcd >> 4) * 10 + (bcd & 15);
    EXPECT_TRUE(year == before || year == years());
}

}  // namespace
}  // namespace halcyon
