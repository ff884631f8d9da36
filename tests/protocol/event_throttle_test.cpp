#include "protocol/event_throttle.h"

#include <vector>

#include <gtest/gtest.h>

#include "tests/machine/test_loop.h"

namespace halcyon {
namespace {

class EventThrottleTest : public testing::Test {
protected:
    void emit(const char* name, int number) { throttle_.emit(Event(name, Json{{"n", number}})); }
    void pass_period() {
        loop_.advance(EventThrottle::kPeriod);
        loop_.run_ready();
    }

    test::TestLoop loop_;
    std::vector<int> seen_;
    EventThrottle throttle_{loop_,
                            [this](const Event& event) { seen_.push_back(event.data["n"]); }};
};

TEST_F(EventThrottleTest, OtherEventsAllPassAtOnce) {
    emit("STOP", 1);
    emit("STOP", 2);
    EXPECT_EQ(seen_, (std::vector{1, 2}));
}

TEST_F(EventThrottleTest, TheFirstPassesAtOnceAndTheLatestAtTheEndOfThePeriod) {
    for (const int number : {1, 2, 3}) {
        emit("RTC_CHANGE", number);
    }
    loop_.run_ready();
    EXPECT_EQ(seen_, (std::vector{1}));
    pass_period();
    EXPECT_EQ(seen_, (std::vector{1, 3}));
}

TEST_F(EventThrottleTest, AHeldEventBeginsAPeriodOfItsOwn) {
    emit("RTC_CHANGE", 1);
    emit("RTC_CHANGE", 2);
    pass_period();
    emit("RTC_CHANGE", 3);
    loop_.run_ready();
    EXPECT_EQ(seen_, (std::vector{1, 2}));
    pass_period();
    EXPECT_EQ(seen_, (std::vector{1, 2, 3}));
}

TEST_F(EventThrottleTest, AfterAQuietPeriodTheNextPassesAtOnce) {
    emit("RTC_CHANGE", 1);
    pass_period();
    emit("RTC_CHANGE", 2);
    EXPECT_EQ(seen_, (std::vector{1, 2}));
}

TEST_F(EventThrottleTest, NamesDoNotHoldEachOther) {
    emit("RTC_CHANGE", 1);
    emit("WATCHDOG", 2);
    EXPECT_EQ(seen_, (std::vector{1, 2}));
}

TEST_F(EventThrottleTest, AHeldEventKeepsTheTimeItHappened) {
    std::vector<Event> events;
    EventThrottle throttle(loop_, [&](const Event& event) { events.push_back(event); });
    throttle.emit(Event("RTC_CHANGE", 1));
    const Event second("RTC_CHANGE", 2);
    throttle.emit(second);
    pass_period();
    ASSERT_EQ(events.size(), 2u);
    EXPECT_EQ(events[1].timestamp, second.timestamp);
}

}  // namespace
}  // namespace halcyon
