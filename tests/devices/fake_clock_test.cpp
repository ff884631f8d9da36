#include "tests/devices/fake_clock.h"

#include <chrono>
#include <vector>

#include <gtest/gtest.h>

namespace halcyon {
namespace {

using namespace std::chrono_literals;

TEST(FakeClock, FiresTimersAtTheirDeadlinesInOrder) {
    FakeClock clock;
    std::vector<GuestTime> fired;
    auto late = clock.make_timer([&] { fired.push_back(clock.now()); });
    auto early = clock.make_timer([&] { fired.push_back(clock.now()); });
    late->arm(20ns);
    early->arm(10ns);
    clock.advance(30ns);
    EXPECT_EQ(fired, (std::vector<GuestTime>{10ns, 20ns}));
    EXPECT_EQ(clock.now(), 30ns);
}

TEST(FakeClock, ATimerThatRearmsItselfFiresAgainInTheSameAdvance) {
    FakeClock clock;
    int count = 0;
    std::unique_ptr<GuestTimer> timer;
    timer = clock.make_timer([&] {
        ++count;
        timer->arm(clock.now() + 10ns);
    });
    timer->arm(10ns);
    clock.advance(35ns);
    EXPECT_EQ(count, 3);
    EXPECT_EQ(clock.next_deadline(), 40ns);
}

TEST(FakeClock, ACancelledTimerStaysSilent) {
    FakeClock clock;
    int count = 0;
    auto timer = clock.make_timer([&] { ++count; });
    timer->arm(10ns);
    timer->cancel();
    clock.advance(20ns);
    EXPECT_EQ(count, 0);
    EXPECT_EQ(clock.armed(), 0u);
}

TEST(FakeClock, LateTimersFireWhenTheClockIsAlreadyPastThem) {
    FakeClock clock;
    GuestTime fired{0};
    auto timer = clock.make_timer([&] { fired = clock.now(); });
    timer->arm(10ns);
    clock.advance_late(50ns);
    clock.run_due();
    EXPECT_EQ(fired, 50ns);
}

}  // namespace
}  // namespace halcyon
