#include "daemon/event_loop/main_loop.h"

#include <fcntl.h>

#include <thread>
#include <vector>

#include "tests/daemon/loop_fixture.h"

namespace halcyon {
namespace {

using MainLoopTest = LoopTest;

TEST_F(MainLoopTest, RunsPostedTasksInOrder) {
    std::vector<int> order;
    for (int number = 0; number < 3; ++number) {
        loop_.post([&order, number] { order.push_back(number); });
    }
    loop_.post([this] { loop_.stop(); });
    loop_.run();
    EXPECT_EQ(order, (std::vector{0, 1, 2}));
}

TEST_F(MainLoopTest, TakesTasksFromOtherThreads) {
    constexpr int kTasks = 1000;
    int count = 0;
    std::jthread other([&] {
        for (int number = 0; number < kTasks; ++number) {
            loop_.post([&] { ++count; });
        }
    });
    EXPECT_TRUE(run_until([&] { return count == kTasks; }));
}

TEST_F(MainLoopTest, CallsATimerOnceNotBeforeItsTime) {
    int calls = 0;
    const auto timer = loop_.make_timer([&] { ++calls; });
    const SteadyTime deadline = loop_.now() + std::chrono::milliseconds(5);
    timer->arm(deadline);
    EXPECT_TRUE(run_until([&] { return calls == 1; }));
    EXPECT_GE(loop_.now(), deadline);
    run_for(std::chrono::milliseconds(5));
    EXPECT_EQ(calls, 1);
}

TEST_F(MainLoopTest, ReplacesAnEarlierDeadline) {
    int calls = 0;
    const auto timer = loop_.make_timer([&] { ++calls; });
    timer->arm(loop_.now());
    timer->arm(loop_.now() + std::chrono::hours(1));
    run_for(std::chrono::milliseconds(5));
    EXPECT_EQ(calls, 0);
}

TEST_F(MainLoopTest, ForgetsACancelledOrDestroyedTimer) {
    int calls = 0;
    const auto cancelled = loop_.make_timer([&] { ++calls; });
    cancelled->arm(loop_.now());
    cancelled->cancel();
    auto destroyed = loop_.make_timer([&] { ++calls; });
    destroyed->arm(loop_.now());
    // Both may be due already when they are called off.
    loop_.post([&] { destroyed.reset(); });
    run_for(std::chrono::milliseconds(5));
    EXPECT_LE(calls, 1);  // the destroyed one may have been first
    const int before = calls;
    run_for(std::chrono::milliseconds(5));
    EXPECT_EQ(calls, before);
}

TEST_F(MainLoopTest, ArmsATimerAgainFromItsCallback) {
    int calls = 0;
    LoopTimer* self = nullptr;
    const auto timer = loop_.make_timer([&] {
        if (++calls < 3) {
            self->arm(loop_.now());
        }
    });
    self = timer.get();
    timer->arm(loop_.now());
    EXPECT_TRUE(run_until([&] { return calls == 3; }));
}

TEST_F(MainLoopTest, WatchesAPipeBothWays) {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    const UniqueFd read_end(ends[0]);
    const UniqueFd write_end(ends[1]);
    int readable = 0;
    int writable = 0;
    auto reader = loop_.watch(
        read_end.get(), [&] { ++readable; }, [] {});
    auto writer = loop_.watch(
        write_end.get(), [] {}, [&] { ++writable; });
    ASSERT_TRUE(reader);
    ASSERT_TRUE(writer);
    (*reader)->wait_readable();
    (*writer)->wait_writable();
    EXPECT_TRUE(run_until([&] { return writable == 1; }));
    EXPECT_EQ(readable, 0);
    ASSERT_EQ(write(write_end.get(), "x", 1), 1);
    EXPECT_TRUE(run_until([&] { return readable == 1; }));
    // One request, one call; unread data is seen again when asked for again.
    run_for(std::chrono::milliseconds(2));
    EXPECT_EQ(readable, 1);
    (*reader)->wait_readable();
    EXPECT_TRUE(run_until([&] { return readable == 2; }));
}

TEST_F(MainLoopTest, CallsNothingAfterAWatchIsDestroyed) {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    const UniqueFd read_end(ends[0]);
    const UniqueFd write_end(ends[1]);
    int readable = 0;
    auto reader = loop_.watch(
        read_end.get(), [&] { ++readable; }, [] {});
    ASSERT_TRUE(reader);
    (*reader)->wait_readable();
    ASSERT_EQ(write(write_end.get(), "x", 1), 1);
    reader->reset();
    run_for(std::chrono::milliseconds(2));
    EXPECT_EQ(readable, 0);
}

TEST_F(MainLoopTest, FindsARegularFileAlwaysReady) {
    const UniqueFd file(open(path("f").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    int readable = 0;
    auto watch = loop_.watch(
        file.get(), [&] { ++readable; }, [] {});
    ASSERT_TRUE(watch);
    (*watch)->wait_readable();
    EXPECT_TRUE(run_until([&] { return readable == 1; }));
}

}  // namespace
}  // namespace halcyon
