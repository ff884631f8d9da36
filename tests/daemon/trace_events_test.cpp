#include "daemon/trace/trace_events.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

namespace halcyon::trace {
namespace {

std::set<std::string> names(std::string_view pattern) {
    std::set<std::string> found;
    for (const TraceEvent* event : find_events(pattern)) {
        found.emplace(event->name());
    }
    return found;
}

TEST(TraceEvents, AreFoundByName) {
    EXPECT_EQ(names("pio_read"), (std::set<std::string>{"pio_read"}));
    EXPECT_TRUE(names("pio").empty());
    EXPECT_TRUE(names("").empty());
    EXPECT_TRUE(names("pio_rea?").empty()) << "no pattern";
}

TEST(TraceEvents, AreFoundByPattern) {
    EXPECT_EQ(names("?io_read*"), (std::set<std::string>{"pio_read"}));
    EXPECT_EQ(names("*io_read"), (std::set<std::string>{"mmio_read", "pio_read"}));
    EXPECT_EQ(names("pio_*"), (std::set<std::string>{"pio_read", "pio_write"}));
    EXPECT_EQ(names("*_*_*_*"), (std::set<std::string>{"monitor_protocol_event_emit"}));
    EXPECT_EQ(names("m*o*r*emit"), (std::set<std::string>{"monitor_protocol_event_emit"}));
    EXPECT_EQ(names("vcpu_run*"), (std::set<std::string>{"vcpu_run"}));
    EXPECT_TRUE(names("*vcpu_run?").empty());
    EXPECT_EQ(names("*").size(), find_events("*").size()) << "each name once";
}

TEST(TraceEvents, PatternsOfManyStarsTakeNoTime) {
    EXPECT_TRUE(names(std::string(100'000, '*') + "none").empty());
    std::string pattern;
    for (int i = 0; i < 10'000; ++i) {
        pattern += "*_";
    }
    EXPECT_TRUE(names(pattern).empty());
}

TEST(TraceEvents, TextsAreQuotedInAscii) {
    EXPECT_EQ(quote("a\"b\r\n"), "\"a\\\"b\\r\\n\"");
    EXPECT_EQ(quote("\xc3\xa9"), "\"\\u00e9\"");
    EXPECT_EQ(quote("\xff"), "\"\\ufffd\"");
    EXPECT_EQ(quote("\x1b[2J"), "\"\\u001b[2J\"");
}

TEST(TraceEvents, LongTextsAreCut) {
    const std::string text = quote(std::string(100'000, 'x'));
    EXPECT_LT(text.size(), 2000U);
    EXPECT_EQ(text.substr(text.size() - 5), "x\"...");
}

TEST(TraceEvents, ArgumentsAreEvaluatedOnlyWhenSwitchedOn) {
    TraceEvent event("test_event");
    int evaluated = 0;
    TRACE(event, "{}", ++evaluated);
    EXPECT_EQ(evaluated, 0);
    event.set_enabled(true);
    TRACE(event, "{}", ++evaluated);
    TRACE(event, "no arguments");
    EXPECT_EQ(evaluated, 1);
}

}  // namespace
}  // namespace halcyon::trace
