#include "daemon/options/values.h"

#include <gtest/gtest.h>

#include "base/types.h"
#include "daemon/options/key_values.h"

namespace halcyon {
namespace {

struct SizeCase {
    const char* text;
    std::optional<uint64_t> expected;
};

class ParseSize : public testing::TestWithParam<SizeCase> {};

TEST_P(ParseSize, GivesBytes) {
    EXPECT_EQ(parse_size(GetParam().text, 1_MiB), GetParam().expected) << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(
    Good, ParseSize,
    testing::Values(SizeCase{"64", 64_MiB}, SizeCase{"64M", 64_MiB}, SizeCase{"64m", 64_MiB},
                    SizeCase{"4096b", 4096}, SizeCase{"4096B", 4096}, SizeCase{"16k", 16_KiB},
                    SizeCase{"2G", 2_GiB}, SizeCase{"1T", 1024_GiB},
                    SizeCase{"1P", 1024 * 1024_GiB}, SizeCase{"1E", uint64_t{1} << 60},
                    SizeCase{"15E", uint64_t{15} << 60}, SizeCase{"1.5G", 1536_MiB},
                    SizeCase{"0.25", 256_KiB}, SizeCase{"0", 0}));

INSTANTIATE_TEST_SUITE_P(
    Bad, ParseSize,
    testing::Values(SizeCase{"", std::nullopt}, SizeCase{"M", std::nullopt},
                    SizeCase{"-1", std::nullopt}, SizeCase{"+1", std::nullopt},
                    SizeCase{" 1", std::nullopt}, SizeCase{"1 M", std::nullopt},
                    SizeCase{"5x", std::nullopt}, SizeCase{"5MM", std::nullopt},
                    SizeCase{"64Q", std::nullopt}, SizeCase{"1.", std::nullopt},
                    SizeCase{".5", std::nullopt}, SizeCase{"1.5.5", std::nullopt},
                    SizeCase{"16E", std::nullopt}, SizeCase{"18446744073709551616b", std::nullopt},
                    SizeCase{"1.0000000001G", std::nullopt}, SizeCase{"1[", std::nullopt}));

TEST(ParseNumber, TakesDecimalDigitsOnly) {
    EXPECT_EQ(parse_number("18446744073709551615"), UINT64_MAX);
    EXPECT_EQ(parse_number("18446744073709551616"), std::nullopt);
    EXPECT_EQ(parse_number(""), std::nullopt);
    EXPECT_EQ(parse_number("0x10"), std::nullopt);
    EXPECT_EQ(parse_number("-1"), std::nullopt);
}

TEST(ParseUuid, KeepsTheOrderOfTheDigits) {
    const auto uuid = parse_uuid("00112233-4455-6677-8899-aAbBcCdDeEfF");
    ASSERT_TRUE(uuid);
    for (size_t index = 0; index < 16; ++index) {
        EXPECT_EQ((*uuid)[index], 0x11 * index);
    }
}

TEST(ParseUuid, RefusesOtherForms) {
    EXPECT_FALSE(parse_uuid(""));
    EXPECT_FALSE(parse_uuid("00112233445566778899aabbccddeeff"));
    EXPECT_FALSE(parse_uuid("00112233-4455-6677-8899-aabbccddeef"));
    EXPECT_FALSE(parse_uuid("00112233-4455-6677-8899-aabbccddeeffa"));
    EXPECT_FALSE(parse_uuid("0011223g-4455-6677-8899-aabbccddeeff"));
    EXPECT_FALSE(parse_uuid("00112233:4455-6677-8899-aabbccddeeff"));
}

TEST(ParseSeconds, TakesUpToThreeDecimals) {
    using std::chrono::milliseconds;
    EXPECT_EQ(parse_seconds("5"), milliseconds(5000));
    EXPECT_EQ(parse_seconds("0.25"), milliseconds(250));
    EXPECT_EQ(parse_seconds("0.001"), milliseconds(1));
    EXPECT_EQ(parse_seconds("0.0001"), std::nullopt);
    EXPECT_EQ(parse_seconds("1."), std::nullopt);
    EXPECT_EQ(parse_seconds("-1"), std::nullopt);
    EXPECT_EQ(parse_seconds("1e3"), std::nullopt);
    EXPECT_EQ(parse_seconds("99999999999999999999"), std::nullopt);
}

TEST(Identifier, BeginsWithALetter) {
    EXPECT_TRUE(is_identifier("a"));
    EXPECT_TRUE(is_identifier("mon0.x-y_z"));
    EXPECT_FALSE(is_identifier(""));
    EXPECT_FALSE(is_identifier("1a"));
    EXPECT_FALSE(is_identifier("a b"));
    EXPECT_FALSE(is_identifier("a,b"));
}

TEST(KeyValues, SplitsAtCommasAndUnescapesDoubledOnes) {
    auto values = KeyValues::parse("path=a,,b,,,id=c,d=,,", "kind");
    ASSERT_TRUE(values);
    EXPECT_EQ(values->take("path"), "a,b,");
    EXPECT_EQ(values->take("id"), "c");
    EXPECT_EQ(values->take("d"), ",");
    EXPECT_TRUE(values->expect_empty());
}

TEST(KeyValues, GivesTheFirstBareItemTheImpliedKey) {
    auto values = KeyValues::parse("4,cores=2", "cpus");
    ASSERT_TRUE(values);
    EXPECT_EQ(values->take("cpus"), "4");
    EXPECT_EQ(values->take("cores"), "2");
}

TEST(KeyValues, TakesABareFlagAsOnAndANegatedOneAsOff) {
    auto values = KeyValues::parse("server,nowait");
    ASSERT_TRUE(values);
    EXPECT_EQ(values->take_bool("server").value(), true);
    EXPECT_EQ(values->take_bool("wait").value(), false);
    EXPECT_EQ(values->take_bool("tight").value(), std::nullopt);
    EXPECT_TRUE(values->expect_empty());
}

TEST(KeyValues, LetsTheLastOfEqualKeysCount) {
    auto values = KeyValues::parse("a=1,a=2");
    ASSERT_TRUE(values);
    EXPECT_EQ(values->take("a"), "2");
    EXPECT_EQ(values->take("a"), std::nullopt);
}

TEST(KeyValues, NamesWhatNobodyTook) {
    auto values = KeyValues::parse("a=1,b=2");
    ASSERT_TRUE(values);
    values->take("a");
    const auto left = values->expect_empty();
    ASSERT_FALSE(left);
    EXPECT_EQ(left.error().message(), "unknown parameter 'b'");
}

TEST(KeyValues, RefusesAnEmptyKey) {
    EXPECT_FALSE(KeyValues::parse("a=1,=2"));
}

TEST(KeyValues, KeepsEqualsSignsInTheHead) {
    std::string head;
    auto values = KeyValues::parse_with_head("/tmp/a=b,,c,server=on", &head);
    ASSERT_TRUE(values);
    EXPECT_EQ(head, "/tmp/a=b,c");
    EXPECT_EQ(values->take("server"), "on");
}

}  // namespace
}  // namespace halcyon
