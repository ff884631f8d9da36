// Generated types: faults in arguments by path and words and order, and that values survive.
#include "protocol/decode.h"

#include <array>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "qmp_types.h"
#include "test_commands.h"

namespace halcyon {
namespace {

/// The mandatory members of Everything, with `more` members in front.
std::string everything(const std::string& more) {
    return "{" + more + (more.empty() ? "" : ",") +
           R"("text":"t","flag":true,"number":1.5,"int":-1})";
}

/// The fault of `text` as a T, or "" if it is one.
template <typename T>
std::string fault(const std::string& text) {
    T out{};
    const Result<void> result = decode(Json::parse(text), MemberPath(), out);
    return result ? "" : result.error().message();
}

struct Fault {
    const char* more;
    const char* text;
};

TEST(Decode, NamesTheMemberThatIsWrong) {
    const std::array faults = {
        Fault{R"("tiny":"x")", "Invalid parameter type for 'tiny', expected: integer"},
        Fault{R"("tiny":1.0)", "Invalid parameter type for 'tiny', expected: integer"},
        Fault{R"("tiny":128)", "Parameter 'tiny' expects int8_t"},
        Fault{R"("tiny":-129)", "Parameter 'tiny' expects int8_t"},
        Fault{R"("short":32768)", "Parameter 'short' expects int16_t"},
        Fault{R"("word":2147483648)", "Parameter 'word' expects int32_t"},
        Fault{R"("word":9223372036854775808)",
              "Invalid parameter type for 'word', expected: integer"},
        Fault{R"("octet":256)", "Parameter 'octet' expects uint8_t"},
        Fault{R"("octet":-1)", "Parameter 'octet' expects uint8_t"},
        Fault{R"("port":65536)", "Parameter 'port' expects uint16_t"},
        Fault{R"("dword":4294967296)", "Parameter 'dword' expects uint32_t"},
        Fault{R"("size":"1G")", "Parameter 'size' expects uint64"},
        Fault{R"("size":1e3)", "Parameter 'size' expects uint64"},
        Fault{R"("size":null)", "Parameter 'size' expects uint64"},
        Fault{R"("nothing":0)", "Invalid parameter type for 'nothing', expected: null"},
        Fault{R"("state":1)", "Invalid parameter type for 'state', expected: string"},
        Fault{R"("state":"RUNNING")", "Parameter 'state' does not accept value 'RUNNING'"},
        Fault{R"("state":"")", "Parameter 'state' does not accept value ''"},
        Fault{R"("states":{})", "Invalid parameter type for 'states', expected: array"},
        Fault{R"("states":["running","x"])", "Parameter 'states[1]' does not accept value 'x'"},
        Fault{R"("flags":[true,1])", "Invalid parameter type for 'flags[1]', expected: boolean"},
        Fault{R"("backend":[])", "Invalid parameter type for 'backend', expected: object"},
        Fault{R"("backend":{})", "Parameter 'backend.data' is missing"},
        Fault{R"("backend":{"data":{}})", "Parameter 'backend.data.out' is missing"},
        Fault{R"("backend":{"data":{"out":1}})",
              "Invalid parameter type for 'backend.data.out', expected: string"},
        Fault{R"("backend":{"data":{"out":"","x":1}})", "Parameter 'backend.data.x' is unexpected"},
        Fault{R"("backend":{"data":{"out":""},"derived":{"out":"","extra":true}})",
              "Invalid parameter type for 'backend.derived.extra', expected: integer"},
        Fault{R"("capabilities":[{"out":"","state":"x"}])",
              "Parameter 'capabilities[0].state' does not accept value 'x'"},
        Fault{R"("capabilities":[{"out":""},{}])", "Parameter 'capabilities[1].out' is missing"},
        Fault{R"("x-y_z":null)", "Invalid parameter type for 'x-y_z', expected: string"},
        Fault{R"("zzz":1)", "Parameter 'zzz' is unexpected"},
    };
    for (const Fault& expected : faults) {
        EXPECT_EQ(fault<qmp::Everything>(everything(expected.more)), expected.text);
    }
}

TEST(Decode, NeedsWhatIsMandatory) {
    EXPECT_EQ(fault<qmp::Everything>("{}"), "Parameter 'text' is missing");
    EXPECT_EQ(fault<qmp::Everything>(R"({"text":null})"),
              "Invalid parameter type for 'text', expected: string");
    EXPECT_EQ(fault<qmp::Everything>(R"({"text":"","flag":1})"),
              "Invalid parameter type for 'flag', expected: boolean");
    EXPECT_EQ(fault<qmp::Everything>(R"({"text":"","flag":true,"number":"1"})"),
              "Invalid parameter type for 'number', expected: number");
    EXPECT_EQ(fault<qmp::Everything>(R"({"text":"","flag":true,"number":1})"),
              "Parameter 'int' is missing");
}

TEST(Decode, ChecksMembersInSchemaOrderAndUnexpectedOnesLast) {
    EXPECT_EQ(fault<qmp::Everything>(R"({"aaa":1,"int":"x"})"), "Parameter 'text' is missing");
    EXPECT_EQ(fault<qmp::Everything>(everything(R"("aaa":1,"octet":-1)")),
              "Parameter 'octet' expects uint8_t");
    // Those of an inner object come when that object has been read.
    EXPECT_EQ(fault<qmp::Everything>(
                  everything(R"("backend":{"data":{"out":"","x":1}},"capabilities":1,"aaa":1)")),
              "Parameter 'backend.data.x' is unexpected");
}

TEST(Decode, TakesTheExtremesOfIntegers) {
    EXPECT_EQ(fault<qmp::Everything>(everything(
                  R"("tiny":-128,"short":-32768,"word":2147483647,"octet":255,"port":65535,)"
                  R"("dword":4294967295,"size":18446744073709551615)")),
              "");
    EXPECT_EQ(
        fault<qmp::Everything>(R"({"text":"","flag":true,"number":1,"int":-9223372036854775808})"),
        "");
    EXPECT_EQ(
        fault<qmp::Everything>(R"({"text":"","flag":true,"number":1,"int":9223372036854775808})"),
        "Invalid parameter type for 'int', expected: integer");
}

TEST(Decode, WrapsANegativeUint64) {
    qmp::Everything out;
    ASSERT_TRUE(decode(Json::parse(everything(R"("size":-1)")), MemberPath(), out));
    EXPECT_EQ(out.size, ~uint64_t{0});
}

TEST(Decode, TellsAbsentFromNull) {
    qmp::Everything out;
    ASSERT_TRUE(decode(Json::parse(everything("")), MemberPath(), out));
    EXPECT_FALSE(out.nothing.has_value());
    EXPECT_FALSE(out.any.has_value());
    ASSERT_TRUE(decode(Json::parse(everything(R"("nothing":null,"any":null)")), MemberPath(), out));
    EXPECT_TRUE(out.nothing.has_value());
    EXPECT_TRUE(out.any.has_value());
}

TEST(Decode, KeepsWhatItReads) {
    const Json value = Json::parse(everything(
        R"("tiny":-3,"size":18446744073709551615,"nothing":null,"any":{"a":[1.5]},
           "state":"guest-panicked","states":["running","broken"],"flags":[true,false],
           "backend":{"data":{"out":"o"},"derived":{"out":"d","state":"broken","extra":-7}},
           "capabilities":[{"out":"a"},{"out":"b"}],"x-y_z":"é")"));
    qmp::Everything out;
    ASSERT_TRUE(decode(value, MemberPath(), out));
    EXPECT_EQ(out.state, qmp::RunState::kGuestPanicked);
    EXPECT_EQ(out.backend->derived->extra, -7);
    EXPECT_EQ(out.x_y_z, "é");
    EXPECT_EQ(Json(out), value);
}

TEST(Decode, TakesTheMembersOfAUnionsBranch) {
    qmp::Shape out;
    ASSERT_TRUE(decode(Json::parse(R"({"kind":"circle","radius":3})"), MemberPath(), out));
    EXPECT_EQ(std::get<qmp::Circle>(out.branch).radius, 3);
    for (const char* text : {R"({"kind":"circle","radius":3})", R"({"kind":"square","label":"x"})",
                             R"({"kind":"point"})"}) {
        ASSERT_TRUE(decode(Json::parse(text), MemberPath(), out)) << text;
        EXPECT_EQ(Json(out), Json::parse(text));
    }
}

TEST(Decode, NamesFaultsInAUnion) {
    EXPECT_EQ(fault<qmp::Shape>("{}"), "Parameter 'kind' is missing");
    EXPECT_EQ(fault<qmp::Shape>(R"({"kind":"oval"})"),
              "Parameter 'kind' does not accept value 'oval'");
    EXPECT_EQ(fault<qmp::Shape>(R"({"kind":"circle"})"), "Parameter 'radius' is missing");
    EXPECT_EQ(fault<qmp::Shape>(R"({"kind":"square","radius":1})"),
              "Parameter 'radius' is unexpected");
    EXPECT_EQ(fault<qmp::Shape>(R"({"kind":"point","side":1})"), "Parameter 'side' is unexpected");
}

TEST(Decode, TellsAlternatesByTheirJsonType) {
    for (const char* text : {R"({"default":"x"})", R"({"default":7})", R"({"default":null})",
                             R"({"default":{"kind":"circle","radius":1}})"}) {
        qmp::TestAlternateArguments out;
        ASSERT_TRUE(decode(Json::parse(text), MemberPath(), out)) << text;
        EXPECT_EQ(Json(out), Json::parse(text));
    }
    EXPECT_EQ(fault<qmp::TestAlternateArguments>(R"({"default":true})"),
              "Invalid parameter type for 'default', expected: TextOrShape");
    EXPECT_EQ(fault<qmp::TestAlternateArguments>(R"({"default":1.5})"),
              "Invalid parameter type for 'default', expected: integer");
    EXPECT_EQ(fault<qmp::TestAlternateArguments>(R"({"default":{"kind":"circle"}})"),
              "Parameter 'default.radius' is missing");
}

TEST(Decode, TakesListsOfTheSameType) {
    const Json tree = Json::parse(
        R"({"label":"a","children":[{"label":"b","children":[{"label":"c"}]},{"label":"d"}]})");
    qmp::Tree out;
    ASSERT_TRUE(decode(tree, MemberPath(), out));
    EXPECT_EQ(Json(out), tree);
    EXPECT_EQ(fault<qmp::Tree>(R"({"label":"a","children":[{"label":"b","children":[{}]}]})"),
              "Parameter 'children[0].children[0].label' is missing");
}

TEST(Decode, TakesAnEmptyStruct) {
    EXPECT_EQ(fault<qmp::Empty>("{}"), "");
    EXPECT_EQ(fault<qmp::Empty>(R"({"x":1})"), "Parameter 'x' is unexpected");
    EXPECT_EQ(Json(qmp::Empty{}), Json::object());
}

TEST(Enum, IsSpelledAsInTheSchema) {
    EXPECT_EQ(to_string(qmp::RunState::kGuestPanicked), "guest-panicked");
    EXPECT_EQ(qmp::from_string<qmp::RunState>("broken"), qmp::RunState::kBroken);
    EXPECT_EQ(qmp::from_string<qmp::RunState>("kBroken"), std::nullopt);
}

TEST(Everything, GoesThroughADispatcher) {
    Server server;
    Client client(server.dispatcher);
    client.negotiate();
    const std::string arguments = everything(R"("size":5)");
    const std::vector<Json> replies =
        client.ask(R"({"execute":"test-everything","arguments":)" + arguments + "}");
    ASSERT_EQ(replies.size(), 1U);
    EXPECT_EQ(replies[0]["return"], Json::parse(arguments));
    EXPECT_EQ(client.ask(R"({"execute":"test-everything"})").at(0),
              generic("Parameter 'text' is missing"));
}

}  // namespace
}  // namespace halcyon
