#include "protocol/reply.h"

#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace halcyon {
namespace {

/// A sink, and what it was answered with.
struct Recorder {
    ReplySink sink() {
        return ReplySink([this](ReplyValue value) { answers.push_back(std::move(value)); });
    }
    std::vector<ReplyValue> answers;
};

const QmpError& error_of(const ReplyValue& value) {
    return std::get<QmpError>(value);
}

TEST(ReplySink, PassesAResult) {
    Recorder recorder;
    recorder.sink()(Json{{"a", 1}});
    ASSERT_EQ(recorder.answers.size(), 1U);
    EXPECT_EQ(std::get<Json>(recorder.answers[0]), (Json{{"a", 1}}));
}

TEST(ReplySink, PassesAnErrorAsGeneric) {
    Recorder recorder;
    recorder.sink()(Error("no", ErrorCode::kNotFound));
    ASSERT_EQ(recorder.answers.size(), 1U);
    EXPECT_EQ(error_of(recorder.answers[0]).error_class, ErrorClass::kGenericError);
    EXPECT_EQ(error_of(recorder.answers[0]).description, "no");
}

TEST(ReplySink, PassesAListedErrorClass) {
    Recorder recorder;
    ReplySink sink = recorder.sink();
    sink.list_error_classes(error_class_bit(ErrorClass::kDeviceNotFound));
    sink(Error("no", ErrorCode::kNotFound));
    EXPECT_EQ(error_of(recorder.answers.at(0)).error_class, ErrorClass::kDeviceNotFound);
}

TEST(ReplySink, AnswersAnErrorWhenItIsDropped) {
    Recorder recorder;
    { const ReplySink sink = recorder.sink(); }
    ASSERT_EQ(recorder.answers.size(), 1U);
    EXPECT_EQ(error_of(recorder.answers[0]).error_class, ErrorClass::kGenericError);
}

TEST(ReplySink, AnswersOnce) {
    Recorder recorder;
    {
        ReplySink sink = recorder.sink();
        sink(Json(1));
        sink(Json(2));
        EXPECT_FALSE(sink.pending());
    }
    EXPECT_EQ(recorder.answers.size(), 1U);
}

TEST(ReplySink, AnswersOnceWhenMoved) {
    Recorder recorder;
    {
        ReplySink first = recorder.sink();
        ReplySink second(std::move(first));
        EXPECT_TRUE(second.pending());
        second(Json(1));
    }
    EXPECT_EQ(recorder.answers.size(), 1U);
}

TEST(ReplySink, AnAssignmentDropsWhatItReplaces) {
    Recorder replaced;
    Recorder kept;
    {
        ReplySink sink = replaced.sink();
        sink = kept.sink();
        EXPECT_EQ(replaced.answers.size(), 1U);
        EXPECT_TRUE(kept.answers.empty());
    }
    EXPECT_EQ(kept.answers.size(), 1U);
}

TEST(ReplySink, MayBeDestroyedByItsReceiver) {
    std::optional<ReplySink> sink;
    int answers = 0;
    sink.emplace([&](const ReplyValue&) {
        ++answers;
        sink.reset();
    });
    (*sink)(Json(1));
    EXPECT_EQ(answers, 1);
}

TEST(Reply, EncodesItsResult) {
    Recorder recorder;
    Reply<std::vector<int>>(recorder.sink())(std::vector<int>{1, 2});
    Reply<int>(recorder.sink())(Result<int>(7));
    Reply<int>(recorder.sink())(Result<int>(Error("no")));
    ASSERT_EQ(recorder.answers.size(), 3U);
    EXPECT_EQ(std::get<Json>(recorder.answers[0]), Json::parse("[1,2]"));
    EXPECT_EQ(std::get<Json>(recorder.answers[1]), Json(7));
    EXPECT_EQ(error_of(recorder.answers[2]).description, "no");
}

TEST(Reply, OfNothingIsAnEmptyObject) {
    Recorder recorder;
    Reply<void>(recorder.sink())();
    Reply<void>(recorder.sink())(Result<void>());
    ASSERT_EQ(recorder.answers.size(), 2U);
    EXPECT_EQ(std::get<Json>(recorder.answers[0]), Json::object());
    EXPECT_EQ(std::get<Json>(recorder.answers[1]), Json::object());
}

TEST(ErrorClass, ComesOnlyFromCodesThatHaveOne) {
    const ErrorClassSet all = ~ErrorClassSet{0};
    EXPECT_EQ(to_qmp_error(Error("x", ErrorCode::kNotFound), all).error_class,
              ErrorClass::kDeviceNotFound);
    EXPECT_EQ(to_qmp_error(Error("x", ErrorCode::kNotActive), all).error_class,
              ErrorClass::kDeviceNotActive);
    for (const ErrorCode code : {ErrorCode::kGeneric, ErrorCode::kInvalidArgument,
                                 ErrorCode::kUnsupported, ErrorCode::kSystem}) {
        EXPECT_EQ(to_qmp_error(Error("x", code), all).error_class, ErrorClass::kGenericError);
    }
}

TEST(ErrorClass, IsSpelledAsInQmp) {
    EXPECT_EQ(to_string(ErrorClass::kGenericError), "GenericError");
    EXPECT_EQ(to_string(ErrorClass::kCommandNotFound), "CommandNotFound");
    EXPECT_EQ(to_string(ErrorClass::kDeviceNotActive), "DeviceNotActive");
    EXPECT_EQ(to_string(ErrorClass::kDeviceNotFound), "DeviceNotFound");
    EXPECT_EQ(to_string(ErrorClass::kKvmMissingCap), "KVMMissingCap");
}

}  // namespace
}  // namespace halcyon
