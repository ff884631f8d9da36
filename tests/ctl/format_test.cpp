#include "ctl/format.h"

#include <stdlib.h>
#include <time.h>

#include <gtest/gtest.h>

#include "ctl/ctl_options.h"
#include "ctl/info.h"
#include "ctl/shell_words.h"

namespace halcyon {
namespace {

std::string formatted(const char* json) {
    return format_value(Json::parse(json));
}

TEST(CtlFormat, NothingForAnEmptyValue) {
    EXPECT_EQ(formatted("{}"), "");
    EXPECT_EQ(formatted("[]"), "");
    EXPECT_EQ(formatted("\"\""), "");
}

TEST(CtlFormat, AnObjectIsALineForEachMember) {
    EXPECT_EQ(formatted(R"({"b": true, "a": 1, "c": "x", "d": null, "e": ""})"),
              "a: 1\nb: true\nc: x\nd: null\ne: \"\"\n");
}

TEST(CtlFormat, WhatIsInsideIsIndented) {
    EXPECT_EQ(formatted(R"({"a": {"b": {"c": 1}}, "d": [1, 2], "e": [{"f": 1, "g": 2}]})"),
              "a:\n  b:\n    c: 1\nd: 1, 2\ne:\n  - f: 1\n    g: 2\n");
}

TEST(CtlFormat, AListOfPlainValuesIsOneALine) {
    EXPECT_EQ(formatted(R"(["a", 2])"), "a\n2\n");
}

TEST(CtlFormat, AListOfListsHasDashes) {
    EXPECT_EQ(formatted("[[1, [2]], {}]"), "- - 1\n  - - 2\n- \n");
}

TEST(CtlFormat, AStringIsPrintedAsItIsWithANewline) {
    EXPECT_EQ(formatted(R"("a\nb")"), "a\nb\n");
    EXPECT_EQ(formatted(R"("a\n")"), "a\n");
}

TEST(CtlFormat, ControlCharactersDoNotReachTheTerminal) {
    EXPECT_EQ(formatted(R"("\u001b[2J\u0007é\u009b")"), "\\x1b[2J\\x07é\\x9b\n");
    EXPECT_EQ(formatted(R"({"a\u001b": "b\nc\t"})"), "a\\x1b: b\\nc\\t\n");
}

TEST(CtlFormat, BytesThatAreNoUtf8DoNotReachTheTerminal) {
    EXPECT_EQ(printable("a\x9b\xff\xc3", false), "a\\x9b\\xff\\xc3");
}

TEST(CtlFormat, AnEventIsALine) {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
    EXPECT_EQ(format_event(Json::parse(R"({"event": "SHUTDOWN", "data": {"guest": false,
                  "reason": "host", "more": {"a": 1}},
                  "timestamp": {"seconds": 1, "microseconds": 42}})")),
              "1970-01-01 00:00:01.000042 SHUTDOWN guest=false more={\"a\": 1} reason=host\n");
}

TEST(CtlFormat, AnEventOfWrongShapeIsALineToo) {
    EXPECT_EQ(format_event(Json::parse(R"({"event": "X", "timestamp": 3, "data": 4})")), "- X\n");
    EXPECT_EQ(format_event(Json::parse(
                  R"({"event": "X", "timestamp": {"seconds": 1e300, "microseconds": 1}})")),
              "- X\n");
}

TEST(CtlFormat, BytesHaveTheLargestUnitThatDividesThem) {
    EXPECT_EQ(format_bytes(0), "0 B");
    EXPECT_EQ(format_bytes(1025), "1025 B");
    EXPECT_EQ(format_bytes(512ULL << 20), "512 MiB");
    EXPECT_EQ(format_bytes(3ULL << 50), "3072 TiB");
}

TEST(CtlInfo, TellsWhatIsKnown) {
    EXPECT_EQ(format_info(Json::parse(R"({
                  "query-name": {"name": "web"},
                  "query-uuid": {"UUID": "00000000-0000-0000-0000-000000000000"},
                  "query-status": {"status": "running"}, "query-cpus-fast": [{}, {}],
                  "query-memory-size-summary": {"base-memory": 16777216},
                  "query-accelerators": {"enabled": "soft"}})")),
              "name:        web\nstate:       running\nvCPUs:       2\nmemory:      16 MiB\n"
              "accelerator: soft\n");
}

TEST(CtlInfo, OfTheServersThatTellLess) {
    EXPECT_EQ(format_info(Json::parse(R"({"query-kvm": {"enabled": true},
                  "version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}})")),
              "accelerator: kvm\nserver:      QEMU 7.2.0\n");
    EXPECT_EQ(format_info(Json(7)), "");
}

TEST(CtlWords, AreSplitAndUnquoted) {
    const auto words = split_shell_words(R"(a  'b c' "d\"e" f\ g '' h'i'"j")");
    ASSERT_TRUE(words);
    EXPECT_EQ(*words, (std::vector<std::string>{"a", "b c", "d\"e", "f g", "", "hij"}));
}

TEST(CtlWords, AnOpenQuoteIsRefused) {
    EXPECT_FALSE(split_shell_words("a 'b"));
    EXPECT_FALSE(split_shell_words("a \\"));
}

TEST(CtlOptions, SecondsMayHaveAFraction) {
    EXPECT_EQ(parse_seconds("1.5")->count(), 1500);
    EXPECT_EQ(parse_seconds("0")->count(), 0);
    for (const char* text : {"", "x", "-1", "1s", "inf", "nan", "1e9"}) {
        EXPECT_FALSE(parse_seconds(text)) << text;
    }
}

}  // namespace
}  // namespace halcyon
