#include "protocol/json.h"

#include <cstdint>
#include <limits>

#include <gtest/gtest.h>

namespace halcyon {
namespace {

TEST(ToWire, WritesIntegersExactly) {
    EXPECT_EQ(to_wire(std::numeric_limits<int64_t>::min()), "-9223372036854775808");
    EXPECT_EQ(to_wire(std::numeric_limits<int64_t>::max()), "9223372036854775807");
    EXPECT_EQ(to_wire(std::numeric_limits<uint64_t>::max()), "18446744073709551615");
    EXPECT_EQ(to_wire(0), "0");
}

TEST(ToWire, WritesDoublesWithSeventeenDigits) {
    EXPECT_EQ(to_wire(0.1), "0.10000000000000001");
    EXPECT_EQ(to_wire(1.0), "1");
    EXPECT_EQ(to_wire(1e100), "1e+100");
    EXPECT_EQ(to_wire(-0.5), "-0.5");
}

TEST(ToWire, DoublesSurviveARoundTrip) {
    for (const double value : {0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308, 123456789.125}) {
        EXPECT_EQ(Json::parse(to_wire(value)).get<double>(), value);
    }
}

TEST(ToWire, NeverWritesInfinityOrNaN) {
    EXPECT_EQ(to_wire(std::numeric_limits<double>::infinity()), "null");
    EXPECT_EQ(to_wire(std::numeric_limits<double>::quiet_NaN()), "null");
}

TEST(ToWire, WritesLiteralsAndContainers) {
    EXPECT_EQ(to_wire(nullptr), "null");
    EXPECT_EQ(to_wire(true), "true");
    EXPECT_EQ(to_wire(Json::parse(R"({"b":[1,{}],"a":[]})")), R"({"a": [], "b": [1, {}]})");
}

TEST(ToWire, EscapesWhatIsNotPrintableAscii) {
    EXPECT_EQ(to_wire("\"\\/\b\f\n\r\t\x01\x1f\x7f~"), R"("\"\\/\b\f\n\r\t\u0001\u001F\u007F~")");
    EXPECT_EQ(to_wire("\xc3\xa9\xe2\x82\xac"), R"("\u00E9\u20AC")");
    EXPECT_EQ(to_wire(std::string("\0", 1)), R"("\u0000")");
}

TEST(ToWire, WritesSurrogatePairsAboveTheBasicPlane) {
    EXPECT_EQ(to_wire("\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf"), R"("\uD83D\uDE00\uDBFF\uDFFF")");
}

TEST(ToWire, ReplacesWhatIsNotUtf8) {
    EXPECT_EQ(to_wire("a\xff"), R"("a\uFFFD")");
    EXPECT_EQ(to_wire("\xc3"), R"("\uFFFD")");              // cut off
    EXPECT_EQ(to_wire("\xc3z"), R"("\uFFFDz")");            // not continued
    EXPECT_EQ(to_wire("\xc0\xaf"), R"("\uFFFD")");          // overlong
    EXPECT_EQ(to_wire("\xed\xa0\x80"), R"("\uFFFD")");      // a surrogate
    EXPECT_EQ(to_wire("\xf4\x90\x80\x80"), R"("\uFFFD")");  // above U+10FFFF
    EXPECT_EQ(to_wire("\x80\x80"), R"("\uFFFD\uFFFD")");    // continuations of nothing
}

TEST(ToWire, EscapesKeysToo) {
    EXPECT_EQ(to_wire(Json{{"\xc3\xa9\"", 1}}), R"({"\u00E9\"": 1})");
}

TEST(ToWirePretty, PutsEachMemberOnALine) {
    EXPECT_EQ(to_wire_pretty(Json::parse(R"({"a":[1,2],"b":{},"c":[]})")),
              "{\r\n"
              "    \"a\": [\r\n"
              "        1,\r\n"
              "        2\r\n"
              "    ],\r\n"
              "    \"b\": {},\r\n"
              "    \"c\": []\r\n"
              "}");
}

}  // namespace
}  // namespace halcyon
