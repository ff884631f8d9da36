#include "ctl/arguments.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/ctl/ctl_schema.h"

namespace halcyon {
namespace {

using Words = std::vector<std::string>;

/// The arguments on the wire, or the error.
std::string built(const Words& words, const std::string& command = "all") {
    const QmpSchema schema = test_schema();
    const Result<Json> arguments = build_arguments(&schema, command, words);
    return arguments ? arguments->dump() : arguments.error().message();
}

std::string untyped(const Words& words) {
    const Result<Json> arguments = build_arguments(nullptr, "all", words);
    return arguments ? arguments->dump() : arguments.error().message();
}

TEST(CtlArguments, NoWordsAreNoArguments) {
    EXPECT_EQ(built({}), "null");
}

TEST(CtlArguments, AStringStaysAsItIs) {
    EXPECT_EQ(built({"s=1"}), R"({"s":"1"})");
    EXPECT_EQ(built({"s="}), R"({"s":""})");
    EXPECT_EQ(built({"s=a=b {'c'}"}), R"({"s":"a=b {'c'}"})");
}

TEST(CtlArguments, AnIntegerIsDecimalOrHexadecimal) {
    EXPECT_EQ(built({"i=-9223372036854775808"}), R"({"i":-9223372036854775808})");
    EXPECT_EQ(built({"i=18446744073709551615"}), R"({"i":18446744073709551615})");
    EXPECT_EQ(built({"i=0xff"}), R"({"i":255})");
}

TEST(CtlArguments, WhatIsNoIntegerIsRefused) {
    for (const std::string text :
         {"", "x", "1x", "1.5", "0x", "18446744073709551616", "--1", " 1"}) {
        EXPECT_EQ(built({"i=" + text}), "all: i: '" + text + "' is not an integer");
    }
}

TEST(CtlArguments, ABooleanHasThreeSpellings) {
    for (const char* text : {"true", "on", "yes"}) {
        EXPECT_EQ(built({std::string("b=") + text}), R"({"b":true})");
    }
    for (const char* text : {"false", "off", "no"}) {
        EXPECT_EQ(built({std::string("b=") + text}), R"({"b":false})");
    }
    EXPECT_EQ(built({"b=1"}), "all: b: '1' is not true or false");
}

TEST(CtlArguments, ANumberMayHaveAFraction) {
    EXPECT_EQ(built({"n=1.5"}), R"({"n":1.5})");
    EXPECT_EQ(built({"n=3"}), R"({"n":3})");
    EXPECT_EQ(built({"n=inf"}), "all: n: 'inf' is not a number");
}

TEST(CtlArguments, AnEnumerationTakesItsWords) {
    EXPECT_EQ(built({"e=base64"}), R"({"e":"base64"})");
    EXPECT_EQ(built({"e=base46"}),
              "all: e: 'base46' is not one of utf8, base64; did you mean 'base64'?");
}

TEST(CtlArguments, AnyValueIsJsonOrElseAString) {
    EXPECT_EQ(built({"a=[1,{\"b\":2}]"}), R"({"a":[1,{"b":2}]})");
    EXPECT_EQ(built({"a=hello there"}), R"({"a":"hello there"})");
}

TEST(CtlArguments, AListOfPlainValuesHasCommas) {
    EXPECT_EQ(built({"ints=1,0x2,3"}), R"({"ints":[1,2,3]})");
    EXPECT_EQ(built({"enums=utf8,base64"}), R"({"enums":["utf8","base64"]})");
    EXPECT_EQ(built({"ints="}), R"({"ints":[]})");
    EXPECT_EQ(built({"ints=1,x"}), "all: ints: 'x' is not an integer");
}

TEST(CtlArguments, AListMayBeJson) {
    EXPECT_EQ(built({"ints=[4, 5]"}), R"({"ints":[4,5]})");
    EXPECT_EQ(built({R"(objects=[{"type":"null"}])"}), R"({"objects":[{"type":"null"}]})");
    EXPECT_EQ(built({"objects=x"}), "all: objects: 'x' is not a list in JSON");
}

TEST(CtlArguments, ElementsOfAListHaveNumbers) {
    EXPECT_EQ(built({"objects.0.type=null", "objects.1.out=b", "objects.1.type=file"}),
              R"({"objects":[{"type":"null"},{"out":"b","type":"file"}]})");
    EXPECT_EQ(built({"ints.1=3"}),
              "all: 'ints' is a list: its elements are 'ints.0' and so on, in order");
    EXPECT_EQ(built({"ints.x=3"}),
              "all: 'ints' is a list: its elements are 'ints.0' and so on, in order");
}

TEST(CtlArguments, AMemberOfAnObjectHasAPath) {
    EXPECT_EQ(built({"o.type=file", "o.out=/tmp/x", "o.next.type=null"}),
              R"({"o":{"next":{"type":"null"},"out":"/tmp/x","type":"file"}})");
}

TEST(CtlArguments, TheTagMayComeLast) {
    EXPECT_EQ(built({"o.next.out=b", "o.next.type=file", "o.out=a", "o.type=file"}),
              R"({"o":{"next":{"out":"b","type":"file"},"out":"a","type":"file"}})");
    EXPECT_EQ(built({"out=a", "type=file"}, "flat"), R"({"out":"a","type":"file"})");
}

TEST(CtlArguments, AMissingTagIsNamed) {
    EXPECT_EQ(built({"o.out=a"}), "all: 'o.out' depends on 'o.type', which is not given");
    EXPECT_EQ(built({"out=a"}, "flat"), "flat: 'out' depends on 'type', which is not given");
}

TEST(CtlArguments, AMemberOfAnotherVariantIsRefused) {
    EXPECT_EQ(built({"o.type=null", "o.out=a"}),
              "all: 'o' has no member 'out'; 'o' takes type, note");
}

TEST(CtlArguments, AnObjectMayBeJson) {
    EXPECT_EQ(built({"o={'type':'null'}", "o.note=x"}), R"({"o":{"note":"x","type":"null"}})");
    EXPECT_EQ(built({"o={"}), "all: o: '{' is not a whole JSON value");
    EXPECT_EQ(built({"o={} {}"}), "all: o: '{} {}' is more than one JSON value");
    EXPECT_EQ(built({"o=3"}), "all: o: '3' is not an object (by its members, or in JSON)");
}

TEST(CtlArguments, AllArgumentsMayBeJson) {
    EXPECT_EQ(built({R"({"i": 1})", "s=x"}), R"({"i":1,"s":"x"})");
    EXPECT_EQ(built({"{}", "{'i':1}", "{'i':2}"}), "all: arguments in JSON are one object");
}

TEST(CtlArguments, AnAlternateTakesTheMostExact) {
    EXPECT_EQ(built({"alt=5"}), R"({"alt":5})");
    EXPECT_EQ(built({"alt=null"}), R"({"alt":null})");
    EXPECT_EQ(built({"alt=x"}), R"({"alt":"x"})");
    EXPECT_EQ(built({"alt.out=x"}), R"({"alt":{"out":"x"}})");
}

TEST(CtlArguments, ANameMayHaveADot) {
    EXPECT_EQ(built({"x.y.out=1"}), R"({"x.y":{"out":"1"}})");
}

TEST(CtlArguments, AnUnknownArgumentIsToldWithTheOthers) {
    EXPECT_EQ(built({"idd=1"}, "one"), "one: no argument 'idd'; it takes id; did you mean 'id'?");
    EXPECT_EQ(built({"id=1"}, "none"), "none: no argument 'id'; it takes none");
}

TEST(CtlArguments, AMissingArgumentIsTold) {
    EXPECT_EQ(built({}, "one"), "one: 'id' is missing: a string");
}

TEST(CtlArguments, AnArgumentIsGivenOnce) {
    EXPECT_EQ(built({"i=1", "i=2"}), "all: 'i' is given twice");
    EXPECT_EQ(built({"o={'type':'null'}", "o={'type':'null'}"}), "all: 'o' is given twice");
}

TEST(CtlArguments, AScalarHasNoMembers) {
    EXPECT_EQ(built({"i.x=1"}), "all: 'i' has no members: it is an integer");
}

TEST(CtlArguments, AWordNeedsAKeyAndAValue) {
    EXPECT_EQ(built({"x"}), "all: 'x' is not KEY=VALUE");
    EXPECT_EQ(built({"=x"}), "all: '=x' is not KEY=VALUE");
}

TEST(CtlArguments, ATypeThatTheSchemaLacksIsAnyValue) {
    EXPECT_EQ(built({"lost=7"}), R"({"lost":7})");
}

TEST(CtlArguments, WithoutASchemaValuesAreGuessed) {
    EXPECT_EQ(untyped({"a=1", "b=x", "c.d=true"}), R"({"a":1,"b":"x","c":{"d":true}})");
    EXPECT_EQ(untyped({"a=1", "a.b=2"}), "all: 'a.b' is within another value");
    EXPECT_EQ(untyped({"a=1", "a=1"}), "all: 'a' is given twice");
}

TEST(CtlArguments, ASchemaThatNestsForEverEnds) {
    const QmpSchema schema = *QmpSchema::parse(Json::parse(R"([
        {"name": "c", "meta-type": "command", "arg-type": "o"},
        {"name": "o", "meta-type": "object", "members": [{"name": "a", "type": "alt"}]},
        {"name": "alt", "meta-type": "alternate", "members": [{"type": "alt"}]}])"));
    const Result<Json> arguments = build_arguments(&schema, "c", Words{"a=1"});
    EXPECT_FALSE(arguments);
}

TEST(CtlSchema, WhatIsNoSchemaIsRefused) {
    EXPECT_FALSE(QmpSchema::parse(Json(3)));
}

TEST(CtlSchema, EntriesOfWrongShapeAreLeftOut) {
    const QmpSchema schema = *QmpSchema::parse(Json::parse(R"([
        3, {}, {"name": 7}, {"name": "x", "meta-type": "odd"},
        {"name": "c", "meta-type": "command", "arg-type": 4},
        {"name": "o", "meta-type": "object", "members": [1, {"name": []}], "variants": {}}])"));
    EXPECT_EQ(schema.commands(), Words{"c"});
    EXPECT_EQ(schema.arguments_of("c"), nullptr);
    EXPECT_NE(schema.find_type("o"), nullptr);
}

}  // namespace
}  // namespace halcyon
