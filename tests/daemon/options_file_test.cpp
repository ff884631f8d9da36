#include "daemon/options/options_file.h"

#include <gtest/gtest.h>

namespace halcyon {
namespace {

std::string split_error(std::string_view text) {
    const auto lines = split_option_lines(text);
    return lines ? "" : lines.error().message();
}

TEST(OptionLines, OneALineWithItsNumber) {
    const auto lines = split_option_lines("-S\n-smp 4\n");
    ASSERT_TRUE(lines);
    ASSERT_EQ(lines->size(), 2U);
    EXPECT_EQ((*lines)[0].number, 1U);
    EXPECT_EQ((*lines)[0].option, "-S");
    EXPECT_EQ((*lines)[0].argument, "");
    EXPECT_EQ((*lines)[1].number, 2U);
    EXPECT_EQ((*lines)[1].option, "-smp");
    EXPECT_EQ((*lines)[1].argument, "4");
}

TEST(OptionLines, EmptyLinesAndCommentsAreLeftOutButCounted) {
    const auto lines = split_option_lines("\n# a comment\n  \t\n   # another\n-S");
    ASSERT_TRUE(lines);
    ASSERT_EQ(lines->size(), 1U);
    EXPECT_EQ(lines->front().number, 5U);
}

TEST(OptionLines, TheArgumentIsTheRestOfTheLineAsItIs) {
    const auto lines = split_option_lines("\t-name  \"a b\"  # c\\ \r\n");
    ASSERT_TRUE(lines);
    ASSERT_EQ(lines->size(), 1U);
    EXPECT_EQ(lines->front().option, "-name");
    EXPECT_EQ(lines->front().argument, "\"a b\"  # c\\");
}

TEST(OptionLines, AnEmptyFileHasNone) {
    const auto lines = split_option_lines("");
    ASSERT_TRUE(lines);
    EXPECT_TRUE(lines->empty());
}

TEST(OptionLines, ControlCharactersAreRefusedWithTheLine) {
    using namespace std::string_view_literals;
    EXPECT_EQ(split_error("-S\n-bios a\0b\n"sv), "2: has a control character");
    EXPECT_EQ(split_error("-bios \x1b[2J"), "1: has a control character");
    EXPECT_EQ(split_error("-bios a\x7f"), "1: has a control character");
}

TEST(OptionLines, BytesAboveAsciiAreTaken) {
    const auto lines = split_option_lines("-name b\xc3\xbcro\n");
    ASSERT_TRUE(lines);
    EXPECT_EQ(lines->front().argument, "b\xc3\xbcro");
}

}  // namespace
}  // namespace halcyon
