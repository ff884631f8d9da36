#include "machine/guest_clock.h"

#include <gtest/gtest.h>

#include "tests/machine/test_loop.h"

namespace halcyon {
namespace {

using namespace std::chrono_literals;

class MachineClockTest : public testing::Test {
protected:
    test::TestLoop loop_;
    MachineClock clock_{loop_};
    int fired_ = 0;
    std::unique_ptr<GuestTimer> timer_ = clock_.make_timer([this] { ++fired_; });
};

TEST_F(MachineClockTest, StartsAtZeroAndStandsStill) {
    EXPECT_EQ(clock_.now(), 0ns);
    loop_.advance(1s);
    EXPECT_EQ(clock_.now(), 0ns);
}

TEST_F(MachineClockTest, RunsWithTheHostWhileRunning) {
    clock_.set_running(true);
    loop_.advance(10s);
    EXPECT_GE(clock_.now(), 10s);
    EXPECT_LT(clock_.now(), 15s);
}

TEST_F(MachineClockTest, PauseTakesNoGuestTime) {
    clock_.set_running(true);
    loop_.advance(1s);
    clock_.set_running(false);
    const GuestTime paused = clock_.now();
    loop_.advance(1000s);
    EXPECT_EQ(clock_.now(), paused);
    clock_.set_running(true);
    EXPECT_GE(clock_.now(), paused);
    EXPECT_LT(clock_.now(), paused + 10s);
}

TEST_F(MachineClockTest, TimerFiresOnceWhenItsTimeHasCome) {
    clock_.set_running(true);
    timer_->arm(100s);
    loop_.run_ready();
    EXPECT_EQ(fired_, 0);
    loop_.advance(100s);
    loop_.run_ready();
    EXPECT_EQ(fired_, 1);
    loop_.advance(100s);
    loop_.run_ready();
    EXPECT_EQ(fired_, 1);
}

TEST_F(MachineClockTest, TimerWaitsOutAPause) {
    clock_.set_running(true);
    timer_->arm(100s);
    loop_.run_ready();
    clock_.set_running(false);
    loop_.advance(1000s);
    loop_.run_ready();
    EXPECT_EQ(fired_, 0);
    clock_.set_running(true);
    loop_.run_ready();
    EXPECT_EQ(fired_, 0);
    loop_.advance(100s);
    loop_.run_ready();
    EXPECT_EQ(fired_, 1);
}

TEST_F(MachineClockTest, TimerArmedWhilePausedFiresAfterwards) {
    timer_->arm(1s);
    loop_.run_ready();
    clock_.set_running(true);
    loop_.advance(1s);
    loop_.run_ready();
    EXPECT_EQ(fired_, 1);
}

TEST_F(MachineClockTest, PastDeadlineFiresAtOnce) {
    clock_.set_running(true);
    loop_.advance(10s);
    timer_->arm(1s);
    loop_.run_ready();
    EXPECT_EQ(fired_, 1);
}

TEST_F(MachineClockTest, CancelledTimerDoesNotFire) {
    clock_.set_running(true);
    timer_->arm(1s);
    loop_.run_ready();
    timer_->cancel();
    loop_.advance(10s);
    loop_.run_ready();
    EXPECT_EQ(fired_, 0);
}

TEST_F(MachineClockTest, RearmedTimerGoesByTheLastDeadline) {
    clock_.set_running(true);
    timer_->arm(1s);
    loop_.run_ready();
    timer_->arm(100s);
    loop_.advance(10s);
    loop_.run_ready();
    EXPECT_EQ(fired_, 0);
    loop_.advance(100s);
    loop_.run_ready();
    EXPECT_EQ(fired_, 1);
}

TEST_F(MachineClockTest, DestroyedTimerLeavesNothingBehind) {
    clock_.set_running(true);
    timer_->arm(1s);
    timer_.reset();  // with its update still posted
    loop_.advance(10s);
    loop_.run_ready();
    EXPECT_EQ(fired_, 0);
}

TEST_F(MachineClockTest, TimerMayBeArmedOnAnotherThread) {
    clock_.set_running(true);
    std::thread([this] {
        for (int i = 0; i < 1000; ++i) {
            timer_->arm(0s);
        }
    }).join();
    EXPECT_TRUE(loop_.run_until([this] { return fired_ > 0; }));
}

TEST_F(MachineClockTest, TimerThatIsAlwaysDueDoesNotOccupyTheLoop) {
    clock_.set_running(true);
    int fired = 0;
    std::unique_ptr<GuestTimer> timer;
    timer = clock_.make_timer([&] {
        ++fired;
        timer->arm(clock_.now());
    });
    timer->arm(0s);
    const SteadyTime start = loop_.now();
    ASSERT_TRUE(loop_.run_until([&] { return loop_.now() - start >= 20ms; }));
    EXPECT_GE(fired, 1);
    EXPECT_LE(fired, (loop_.now() - start) / MachineClock::kShortestInterval + 1);
}

TEST_F(MachineClockTest, DeadlineStatedAgainCostsTheLoopNothing) {
    clock_.set_running(true);
    timer_->arm(100s);
    loop_.run_ready();
    timer_->arm(100s);
    EXPECT_FALSE(loop_.has_tasks());
    timer_->cancel();
    loop_.run_ready();
    timer_->cancel();
    EXPECT_FALSE(loop_.has_tasks());
}

TEST_F(MachineClockTest, DeadlineAtTheEndOfTimeDoesNotWrap) {
    clock_.set_running(true);
    timer_->arm(GuestTime::max());
    loop_.advance(1s);
    loop_.run_ready();
    EXPECT_EQ(fired_, 0);
}

}  // namespace
}  // namespace halcyon
