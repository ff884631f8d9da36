#include "machine/tick_rate.h"

#include <gtest/gtest.h>
#include <x86intrin.h>

#include "accel/vcpu_counters.h"

namespace halcyon {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

void spin_for(std::chrono::nanoseconds time) {
    const Clock::time_point end = Clock::now() + time;
    while (Clock::now() < end) {
    }
}

TEST(OwnedStopwatch, CountsOnlyWhatIsInside) {
    OwnedStopwatch watch;
    EXPECT_EQ(watch.ticks(), 0u);
    const uint64_t before = ::__rdtsc();
    watch.enter();
    const uint64_t entered = ::__rdtsc();
    spin_for(100us);
    const uint64_t inside = watch.ticks();
    const uint64_t leaving = ::__rdtsc();
    watch.leave();
    const uint64_t after = ::__rdtsc();
    EXPECT_GT(inside, 0u) << "the present stay counts";
    const uint64_t total = watch.ticks();
    EXPECT_GE(total, leaving - entered);
    EXPECT_LE(total, after - before);
    spin_for(100us);
    EXPECT_EQ(watch.ticks(), total);
}

TEST(OwnedStopwatch, AddsStaysUp) {
    OwnedStopwatch watch;
    uint64_t last = 0;
    for (int stay = 0; stay < 10; ++stay) {
        watch.enter();
        spin_for(10us);
        watch.leave();
        EXPECT_GT(watch.ticks(), last);
        last = watch.ticks();
    }
}

TEST(TickRate, TellsTheTimeOfTicks) {
    TickRate rate;
    const Clock::time_point start = Clock::now();
    const uint64_t first = ::__rdtsc();
    spin_for(20ms);
    const uint64_t ticks = ::__rdtsc() - first;
    const auto passed = Clock::now() - start;
    EXPECT_LE(rate.to_time(ticks), passed * 11 / 10);
    EXPECT_GE(rate.to_time(ticks), 18ms);
}

TEST(TickRate, KeepsItsRate) {
    TickRate rate;
    const auto first = rate.to_time(1'000'000);
    spin_for(1ms);
    EXPECT_EQ(rate.to_time(1'000'000), first);
    EXPECT_EQ(rate.to_time(0), 0ns);
}

}  // namespace
}  // namespace halcyon
