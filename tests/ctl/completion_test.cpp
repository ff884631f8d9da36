#include "ctl/completion.h"

#include <array>

#include <gtest/gtest.h>

#include "tests/ctl/ctl_schema.h"

namespace halcyon {
namespace {

using Words = std::vector<std::string>;

Words completed(const Words& words, std::string_view partial) {
    static constexpr std::array<std::string_view, 2> kOwn = {"status", "alone"};
    return complete(test_schema(), kOwn, words, partial);
}

TEST(CtlCompletion, TheFirstWordIsACommand) {
    EXPECT_EQ(completed({}, "al"), (Words{"all", "alone"}));
    EXPECT_EQ(completed({}, ""), (Words{"all", "alone", "flat", "none", "one", "status"}));
    EXPECT_EQ(completed({}, "zz"), Words{});
}

TEST(CtlCompletion, AnArgumentEndsInAnEqualsSignOrADot) {
    EXPECT_EQ(completed({"one"}, ""), Words{"id="});
    EXPECT_EQ(completed({"all"}, "o"), (Words{"o.", "objects="}));
}

TEST(CtlCompletion, AnArgumentThatIsGivenIsNotOfferedAgain) {
    EXPECT_EQ(completed({"one", "id=3"}, ""), Words{});
}

TEST(CtlCompletion, MembersOfAnObjectDependOnItsTag) {
    EXPECT_EQ(completed({"all"}, "o."), (Words{"o.note=", "o.type="}));
    EXPECT_EQ(completed({"all", "o.type=file"}, "o."), (Words{"o.next.", "o.note=", "o.out="}));
    EXPECT_EQ(completed({"all", "o.type=file"}, "o.next.t"), Words{"o.next.type="});
}

TEST(CtlCompletion, ValuesOfEnumerationsAndBooleans) {
    EXPECT_EQ(completed({"all"}, "e="), (Words{"e=base64", "e=utf8"}));
    EXPECT_EQ(completed({"all"}, "b=t"), Words{"b=true"});
    EXPECT_EQ(completed({"all"}, "o.type=f"), Words{"o.type=file"});
    EXPECT_EQ(completed({"all"}, "s="), Words{});
}

TEST(CtlCompletion, ElementsOfAList) {
    EXPECT_EQ(completed({"all"}, "enums=utf8,b"), Words{"enums=utf8,base64"});
}

TEST(CtlCompletion, ANameWithADot) {
    EXPECT_EQ(completed({"all"}, "x."), Words{"x.y."});
    EXPECT_EQ(completed({"all"}, "x.y.o"), Words{"x.y.out="});
}

TEST(CtlCompletion, NothingForAnUnknownCommand) {
    EXPECT_EQ(completed({"what"}, ""), Words{});
    EXPECT_EQ(completed({"all"}, "i.x="), Words{});
}

}  // namespace
}  // namespace halcyon
