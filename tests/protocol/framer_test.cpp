#include "protocol/framer.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "frames.h"

namespace halcyon {
namespace {

TEST(Framer, HasNothingBeforeAnythingWasFed) {
    Framer framer;
    EXPECT_FALSE(framer.next().has_value());
}

TEST(Framer, GivesSeveralValuesOfOneRead) {
    EXPECT_EQ(frames_of("{}\r\n{\"a\":1} []"),
              (std::vector<std::string>{"{}", "{\"a\": 1}", "[]"}));
}

TEST(Framer, GivesOneValueOfManyReads) {
    EXPECT_EQ(frames_of("{\"execute\": \"query-status\"}", 1),
              std::vector<std::string>{"{\"execute\": \"query-status\"}"});
}

TEST(Framer, LeavesWhatIsNotAskedForUnread) {
    Framer framer;
    framer.feed("{}{}[1]");
    ASSERT_TRUE(framer.next().has_value());
    EXPECT_EQ(framer.unread(), 5U);
    framer.feed("\"x\"");
    std::vector<std::string> frames;
    drain(framer, frames);
    EXPECT_EQ(frames, (std::vector<std::string>{"{}", "[1]", "\"x\""}));
    EXPECT_EQ(framer.unread(), 0U);
}

TEST(Framer, ForgetsEverythingWhenCleared) {
    Framer framer;
    framer.feed("{} {\"a\": [");
    ASSERT_TRUE(framer.next().has_value());
    EXPECT_FALSE(framer.next().has_value());
    framer.feed("1");
    framer.clear();
    EXPECT_EQ(framer.unread(), 0U);
    framer.feed("{}");
    std::optional<Frame> frame = framer.next();
    ASSERT_TRUE(frame.has_value());
    EXPECT_EQ(frame->value(), Json::object());
}

}  // namespace
}  // namespace halcyon
