#include <string>

#include <gtest/gtest.h>

#include "daemon/hmp/expression.h"

namespace halcyon::hmp {
namespace {

std::optional<int64_t> find(std::string_view name) {
    if (name == "eax") {
        return 100;
    }
    return name == "cs.base" ? std::optional<int64_t>(0xf0000) : std::nullopt;
}

/// The value and what is left, or the error.
std::string evaluate(std::string_view text) {
    const Result<int64_t> value = read_expression(text, find);
    return value ? std::to_string(*value) + (text.empty() ? "" : " left: " + std::string(text))
                 : value.error().message();
}

TEST(HmpExpression, NumbersHaveTheirPrefixes) {
    EXPECT_EQ(evaluate("12"), "12");
    EXPECT_EQ(evaluate("0x1F"), "31");
    EXPECT_EQ(evaluate("017"), "15");
    EXPECT_EQ(evaluate("0"), "0");
    EXPECT_EQ(evaluate("'A'"), "65");
    EXPECT_EQ(evaluate("0xffffffffffffffff"), "-1");
    EXPECT_EQ(evaluate("99999999999999999999"), "number too large");
}

TEST(HmpExpression, BindsAsQemuDoes) {
    EXPECT_EQ(evaluate("1+2*3"), "7");
    EXPECT_EQ(evaluate("(1+2)*3"), "9");
    EXPECT_EQ(evaluate("1+2&2"), "3") << "& binds more than +";
    EXPECT_EQ(evaluate("1|2*2"), "5");
    EXPECT_EQ(evaluate("7^1+1"), "7");
    EXPECT_EQ(evaluate("10 - 3 - 2"), "5");
    EXPECT_EQ(evaluate("17 / 5 % 2"), "1");
    EXPECT_EQ(evaluate("-~+3"), "4");
}

TEST(HmpExpression, KnowsRegisters) {
    EXPECT_EQ(evaluate("$eax + 1"), "101");
    EXPECT_EQ(evaluate("$cs.base"), "983040");
    EXPECT_EQ(evaluate("$nope"), "unknown register");
    EXPECT_EQ(evaluate("$"), "unknown register");
}

TEST(HmpExpression, StopsAtWhatIsNoPart) {
    EXPECT_EQ(evaluate("1 2"), "1 left: 2");
    EXPECT_EQ(evaluate("5x"), "5 left: x");
    EXPECT_EQ(evaluate("08"), "0 left: 8");
    EXPECT_EQ(evaluate("0x"), "0 left: x");
}

TEST(HmpExpression, FailsInQemusWords) {
    EXPECT_EQ(evaluate(""), "unexpected end of expression");
    EXPECT_EQ(evaluate("1+"), "unexpected end of expression");
    EXPECT_EQ(evaluate("z"), "invalid char 'z' in expression");
    EXPECT_EQ(evaluate("(1"), "')' expected");
    EXPECT_EQ(evaluate("'"), "character constant expected");
    EXPECT_EQ(evaluate("'ab"), "missing terminating ' character");
    EXPECT_EQ(evaluate("1/0"), "division by zero");
    EXPECT_EQ(evaluate("1%0"), "division by zero");
}

TEST(HmpExpression, NothingOverflows) {
    EXPECT_EQ(evaluate("0x7fffffffffffffff+1"), "-9223372036854775808");
    EXPECT_EQ(evaluate("-0x8000000000000000/-1"), "-9223372036854775808");
    EXPECT_EQ(evaluate("-0x8000000000000000%-1"), "0");
    EXPECT_EQ(evaluate("-0x8000000000000000*3"), "-9223372036854775808");
    EXPECT_EQ(evaluate(std::string(100'000, '(')), "expression nests too deep");
    EXPECT_EQ(evaluate(std::string(100'000, '-')), "expression nests too deep");
}

}  // namespace
}  // namespace halcyon::hmp
