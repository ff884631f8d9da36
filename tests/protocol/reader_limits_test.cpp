// The limits of one message, and that reading is linear.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "frames.h"

namespace halcyon {
namespace {

using Frames = std::vector<std::string>;

TEST(ReaderLimits, TakesTheDeepestNesting) {
    const std::string deep =
        std::string(JsonReader::kMaxNesting, '[') + std::string(JsonReader::kMaxNesting, ']');
    const Frames frames = frames_of(deep);
    ASSERT_EQ(frames.size(), 1U);
    EXPECT_EQ(frames[0], deep);
}

TEST(ReaderLimits, CountsBothKindsOfBrackets) {
    std::string deep;
    for (size_t i = 0; i < JsonReader::kMaxNesting / 2; ++i) {
        deep += "[{\"a\":";
    }
    deep += "[";
    EXPECT_EQ(frames_of(deep), Frames{"! JSON nesting depth limit exceeded"});
}

TEST(ReaderLimits, DropsAMessageThatIsNestedTooDeep) {
    const std::string deep(JsonReader::kMaxNesting + 1, '[');
    // The rest is a new message, so the bracket that is one too many is forgotten.
    const Frames expected = {"! JSON nesting depth limit exceeded", parse_error("expecting value"),
                             "[1]"};
    EXPECT_EQ(frames_of(deep + "][1]"), expected);
    EXPECT_EQ(frames_of(deep + "][1]", 7), expected);
}

TEST(ReaderLimits, LimitsTheNestingOfAMessageWithAFaultToo) {
    const Frames frames = frames_of("[1 2" + std::string(JsonReader::kMaxNesting, '['));
    EXPECT_EQ(frames, Frames{"! JSON nesting depth limit exceeded"});
}

/// A message of `tokens` tokens.
std::string message_of(size_t tokens) {
    std::string message = "[1";
    for (size_t i = 3; i + 2 <= tokens; i += 2) {
        message += ",1";
    }
    return message + "]";
}

TEST(ReaderLimits, LimitsTheNumberOfTokens) {
    // An array of single-token elements has an odd number of tokens.
    const Frames accepted = frames_of(message_of(JsonReader::kMaxTokens - 1));
    ASSERT_EQ(accepted.size(), 1U);
    EXPECT_EQ(accepted[0].front(), '[');
    // Of the message that is too long the closing bracket is left over.
    EXPECT_EQ(frames_of(message_of(JsonReader::kMaxTokens + 1)),
              Frames{"! JSON token count limit exceeded"});
}

TEST(ReaderLimits, LimitsTheBytesOfOneToken) {
    Framer framer;
    Frames frames;
    framer.feed("\"");
    const std::string piece(1 << 20, 'x');
    for (size_t fed = 0; fed < JsonReader::kMaxTokenBytes; fed += piece.size()) {
        framer.feed(piece);
        drain(framer, frames);
    }
    EXPECT_EQ(frames, Frames{"! JSON token size limit exceeded"});
    framer.feed("\n{}");
    drain(framer, frames);
    EXPECT_EQ(frames.back(), "{}");
}

TEST(ReaderLimits, TakesTheLongestToken) {
    const std::string text(JsonReader::kMaxTokenBytes - 2, 'x');
    Framer framer;
    framer.feed("\"" + text + "\"");
    std::optional<Frame> frame = framer.next();
    ASSERT_TRUE(frame.has_value());
    ASSERT_FALSE(frame->is_error());
    EXPECT_EQ(frame->value().get_ref<const std::string&>().size(), text.size());
}

TEST(ReaderLimits, LimitsTheBytesOfAllTokensTogether) {
    const std::string element = "\"" + std::string((1 << 20) - 3, 'x') + "\",";  // 1 MiB
    Framer framer;
    Frames frames;
    framer.feed("[");
    for (size_t i = 0; i < 64; ++i) {
        EXPECT_TRUE(frames.empty());
        framer.feed(element);
        drain(framer, frames);
    }
    EXPECT_EQ(frames, Frames{"! JSON token size limit exceeded"});
}

TEST(ReaderLimits, WhiteSpaceDoesNotCount) {
    Framer framer;
    Frames frames;
    framer.feed("[");
    const std::string blank(1 << 20, ' ');
    for (int i = 0; i < 65; ++i) {
        framer.feed(blank);
        drain(framer, frames);
        EXPECT_EQ(framer.unread(), 0U);
    }
    framer.feed("]");
    drain(framer, frames);
    EXPECT_EQ(frames, Frames{"[]"});
}

TEST(ReaderLimits, ReadsAMegabyteByteByByte) {
    const std::string text(1 << 20, 'x');
    const Frames frames = frames_of("{\"a\":\"" + text + "\"}", 1);
    ASSERT_EQ(frames.size(), 1U);
    EXPECT_EQ(frames[0].size(), text.size() + 9);
}

}  // namespace
}  // namespace halcyon
