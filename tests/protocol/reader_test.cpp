// The dialect: what is read as which value, what is refused in which words, and where reading goes
// on after an error. Every case is read in one piece and byte by byte.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "frames.h"

namespace halcyon {
namespace {

using namespace std::string_literals;

using Frames = std::vector<std::string>;

struct Case {
    std::string name;
    std::string bytes;
    Frames frames;
};

class Reader : public testing::TestWithParam<Case> {};

TEST_P(Reader, ReadsInOnePiece) {
    EXPECT_EQ(frames_of(GetParam().bytes), GetParam().frames);
}

TEST_P(Reader, ReadsInPiecesOfAnySize) {
    for (size_t piece = 1; piece < GetParam().bytes.size() && piece < 64; ++piece) {
        EXPECT_EQ(frames_of(GetParam().bytes, piece), GetParam().frames) << "pieces of " << piece;
    }
}

std::string case_name(const testing::TestParamInfo<Case>& info) {
    return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(
    Values, Reader,
    testing::Values(
        Case{"EmptyObject", "{}", {"{}"}}, Case{"EmptyArray", "[]", {"[]"}},
        Case{"Nested", R"({"a":[1,{"b":[]}],"c":{}})", {R"({"a": [1, {"b": []}], "c": {}})"}},
        Case{"White", " \t\r\n[ \t\r\n1 \t\r\n, 2 ] ", {"[1, 2]"}},
        Case{"Literals", "[true,false,null]", {"[true, false, null]"}},
        Case{"StringEndsAtQuote", R"("abc")", {R"("abc")"}},
        Case{"NumberWaitsForDelimiter", "12", {}}, Case{"NumberEnds", "12 ", {"12"}},
        Case{"KeywordWaitsForDelimiter", "true", {}}, Case{"KeywordEnds", "true\n", {"true"}},
        Case{"ValuesWithoutDelimiters",
             R"({}[]"a"'b'{}1[])",
             {"{}", "[]", R"("a")", R"("b")", "{}", "1", "[]"}},
        Case{"NumberThenKeyword", "1true ", {"1", "true"}},
        Case{"SingleQuotes", R"({'a':'b"\'c'})", {R"({"a": "b\"'c"})"}},
        Case{"ApostropheEscapeInDoubleQuotes", R"("\'")", {R"("'")"}},
        Case{"Escapes", R"("\"\\\/\b\f\n\r\t")", {R"("\"\\/\b\f\n\r\t")"}},
        Case{"UnicodeEscapes",
             R"("\u0041\u00e9\u20AC\uD83D\ude00\u0000")",
             {R"("A\u00E9\u20AC\uD83D\uDE00\u0000")"}},
        Case{"RawUtf8",
             "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
             {R"("\u00E9\u20AC\uD83D\uDE00")"}},
        Case{"ModifiedNul", "\"a\xc0\x80z\"", {R"("a\u0000z")"}},
        Case{"Delete", "\"\x7f\"", {R"("\u007F")"}},
        Case{"PercentInString", R"("%d%%")", {R"("%d%%")"}},
        Case{"KeyWithNul", R"({"\u0000":1})", {R"({"\u0000": 1})"}}),
    case_name);

INSTANTIATE_TEST_SUITE_P(
    Numbers, Reader,
    testing::Values(
        Case{"Int64",
             "[9223372036854775807,-9223372036854775808]",
             {"[9223372036854775807, -9223372036854775808]"}},
        Case{"Uint64",
             "[9223372036854775808,18446744073709551615]",
             {"[9223372036854775808, 18446744073709551615]"}},
        Case{"BeyondIntegers",
             "[18446744073709551616,-9223372036854775809]",
             {"[1.8446744073709552e+19, -9.2233720368547758e+18]"}},
        Case{"Zeros", "[0,-0,0.0,-0.0]", {"[0, 0, 0, -0]"}},
        Case{"Floats",
             "[1.5,-2.25,1e2,1E+2,1.5e-1,0.1e1]",
             {"[1.5, -2.25, 100, 100, 0.14999999999999999, 1]"}},
        Case{"TooSmallIsZero", "[1e-400,-1e-400,0.0e99999999999999999999]", {"[0, -0, 0]"}},
        Case{"Subnormal", "[5e-324]", {"[4.9406564584124654e-324]"}},
        Case{"TooLarge", "[1e999]", {parse_error("number '1e999' is out of range")}},
        Case{"HugeExponent",
             "[-1e99999999999999999999]",
             {parse_error("number '-1e99999999999999999999' is out of range")}},
        Case{"HugeNegativeExponent", "[1e-99999999999999999999]", {"[0]"}},
        Case{"LongIntegerOutOfRange",
             "[1" + std::string(400, '0') + "]",
             {parse_error("number '1" + std::string(400, '0') + "' is out of range")}},
        Case{"LongButSmall", "[1" + std::string(400, '0') + ".0e-400]", {"[1]"}},
        Case{"LongFraction", "[0." + std::string(400, '0') + "1e401]", {"[1]"}},
        Case{"NoExponentOnBareZero", "[0e1]", {parse_error("expected separator in list")}},
        Case{"NoHexadecimal", "0x10 ", {"0", parse_error("invalid keyword 'x'"), "10"}},
        Case{"LeadingZero", "[01]\n", {parse_error("stray '01'"), parse_error("expecting value")}},
        Case{"Plus", "+1\n{}", {parse_error("stray '+'"), "{}"}},
        Case{"NoIntegerPart", ".5\n{}", {parse_error("stray '.'"), "{}"}},
        Case{"NoFraction", "[1.]", {parse_error("stray '1.]'")}},
        Case{"NoExponentDigits",
             "[1e]\n1e+x\n",
             {parse_error("stray '1e]'"), parse_error("stray '1e+x'")}},
        Case{"LoneMinus", "[-]\n", {parse_error("stray '-]'")}},
        Case{"NaN", "[nan]", {parse_error("invalid keyword 'nan'")}}),
    case_name);

INSTANTIATE_TEST_SUITE_P(
    Grammar, Reader,
    testing::Values(
        Case{"MissingColon", R"({"a" 1})", {parse_error("missing : in object pair")}},
        Case{"MissingColonAtEnd", R"({"a"})", {parse_error("missing : in object pair")}},
        Case{"KeyIsNumber", "{1:2}", {parse_error("key is not a string in object")}},
        Case{"KeyIsArray", "{[]:2}", {parse_error("key is not a string in object")}},
        Case{"FaultInKeyComesFirst", "{[1 2]:2}", {parse_error("expected separator in list")}},
        Case{"NoCommaInObject", R"({"a":1 "b":2})", {parse_error("expected separator in dict")}},
        Case{"NoCommaInArray", "[1 2]", {parse_error("expected separator in list")}},
        Case{"CommaAtEndOfObject", R"({"a":1,})", {parse_error("expecting value")}},
        Case{"CommaAtEndOfArray", "[1,]", {parse_error("expecting value")}},
        Case{"CommaAtStart", "[,1]", {parse_error("expecting value")}},
        Case{"NoValue", R"({"a":})", {parse_error("expecting value")}},
        Case{"DuplicateKey", R"({"a":1,"b":2,"a":3})", {parse_error("duplicate key")}},
        Case{"DuplicateKeyDeepDown",
             R"([{"x":{"a":1,'\u0061':3}}])",
             {parse_error("duplicate key")}},
        Case{"InvalidKeyword", "[nul]", {parse_error("invalid keyword 'nul'")}},
        Case{"SurplusBraceAndBracket", "}]", Frames(2, parse_error("expecting value"))},
        Case{"LoneCommaAndColon", ",:", Frames(2, parse_error("expecting value"))},
        Case{"WrongCloserEndsTheMessage",
             R"({"a":1] {})",
             {parse_error("expected separator in dict"), "{}"}},
        Case{"CrossedBrackets",
             R"([{"a":1]} {})",
             {parse_error("expected separator in dict"), "{}"}},
        Case{"OneErrorForAMessage",
             R"([1 2, {"a" "b"}, nul] [])",
             {parse_error("expected separator in list"), "[]"}},
        Case{"IncompleteObjectSwallowsTheNextLine",
             "{\"a\":\n{\"b\":1}\n}",
             {R"({"a": {"b": 1}})"}}),
    case_name);

INSTANTIATE_TEST_SUITE_P(
    Strings, Reader,
    testing::Values(
        Case{"BadEscape", R"(["\q"])", {parse_error("invalid escape sequence in string")}},
        Case{"ShortUnicodeEscape",
             R"(["\u12"])",
             {parse_error("\\u12\" is not a valid Unicode character")}},
        Case{"NotHexadecimal",
             R"(["\u12g4"])",
             {parse_error("\\u12g4 is not a valid Unicode character")}},
        Case{"LoneHighSurrogate",
             R"(["\ud800"])",
             {parse_error("\\ud800 is not a valid Unicode character")}},
        Case{"LoneLowSurrogate",
             R"(["\udc00"])",
             {parse_error("\\udc00 is not a valid Unicode character")}},
        Case{"MismatchedSurrogates",
             R"(["\ud800\u0041"])",
             {parse_error("\\ud800 is not a valid Unicode character")}},
        Case{"EscapedNoncharacter",
             R"(["\ufffe"])",
             {parse_error("\\ufffe is not a valid Unicode character")}},
        Case{"Overlong", "[\"\xc0\xaf\"]", {parse_error("invalid UTF-8 sequence in string")}},
        Case{"RawSurrogate",
             "[\"\xed\xa0\x80\"]",
             {parse_error("invalid UTF-8 sequence in string")}},
        Case{"AboveUnicode",
             "[\"\xf4\x90\x80\x80\"]",
             {parse_error("invalid UTF-8 sequence in string")}},
        Case{"RawNoncharacters", "\"\xef\xb7\x90\"\"\xef\xbf\xbf\"\"\xf0\x9f\xbf\xbe\"",
             Frames(3, parse_error("invalid UTF-8 sequence in string"))},
        Case{"CutOff", "[\"\xe2\x82\"]", {parse_error("invalid UTF-8 sequence in string")}},
        Case{"FaultInKey", R"({"\q":1})", {parse_error("invalid escape sequence in string")}}),
    case_name);

INSTANTIATE_TEST_SUITE_P(
    Resynchronisation, Reader,
    testing::Values(
        Case{"NewLineAlwaysRecovers",
             "garbage~ {\"a\n{}",
             {parse_error("invalid keyword 'garbage'"), parse_error("stray '~'"),
              parse_error("stray '\"a\n'"), "{}"}},
        Case{"ControlCharacterResets", "{\"a\":[\x01{}", {parse_error("stray '\x01'"), "{}"}},
        Case{"ByteFFResets", "{\"a\":[\xff{}", {parse_error("stray '\xff'"), "{}"}},
        Case{"ByteFEResets", "{\"a\":\"\xfe{}", {parse_error("stray '\"\xfe'"), "{}"}},
        Case{"NulByte", "\0{}"s, {parse_error("stray '\0'"s), "{}"}},
        Case{"TabDoesNotRecover", "~\t1\n{}", {parse_error("stray '~'"), "{}"}},
        Case{"BracketRecovers", "~ 1 [2]", {parse_error("stray '~'"), "[2]"}},
        Case{"RecoveryIgnoresQuotes", "~ \"[\" ]", {parse_error("stray '~'")}},
        Case{"CommaRecovers",
             "~,\n{}",
             {parse_error("stray '~'"), parse_error("expecting value"), "{}"}},
        Case{"ResetByteInRecoveryIsAnErrorAgain",
             "~\xff{}",
             {parse_error("stray '~'"), parse_error("stray '\xff'"), "{}"}},
        Case{"LexicalErrorReplacesAnEarlierFault",
             "[1 2 ~]",
             {parse_error("stray '~'"), parse_error("expecting value")}},
        Case{"Percent", "%d \n{}", {parse_error("stray '%'"), "{}"}},
        Case{"Uppercase", "TRUE\n{}", {parse_error("stray 'T'"), "{}"}},
        Case{"HighByteEndsANumber",
             "[1\x80]\n",
             {parse_error("stray '\x80'"), parse_error("expecting value")}},
        Case{"NoComments", "/* x */\n{}", {parse_error("stray '/'"), "{}"}}),
    case_name);

TEST(Reader, CutsErrorTexts) {
    const std::string keyword = parse_error("invalid keyword '" + std::string(1006, 'x'));
    EXPECT_EQ(frames_of("[" + std::string(3000, 'x') + "]"), Frames{keyword});
    const std::string stray = parse_error("stray '\"" + std::string(1015, 'x'));
    EXPECT_EQ(frames_of("\"" + std::string(3000, 'x') + "\x02"), Frames{stray});
}

TEST(Reader, ForgetsAPartialMessageOnReset) {
    JsonReader reader;
    std::string_view partial = "{\"a\": [1, \"b";
    EXPECT_FALSE(reader.read(partial).has_value());
    reader.reset();
    std::string_view whole = "[2]";
    std::optional<Frame> frame = reader.read(whole);
    ASSERT_TRUE(frame.has_value());
    EXPECT_EQ(frame->value(), Json::parse("[2]"));
}

TEST(Reader, KeepsIntegersAndFloatsApart) {
    Framer framer;
    framer.feed("[1,1.0,18446744073709551615]");
    std::optional<Frame> frame = framer.next();
    ASSERT_TRUE(frame.has_value());
    EXPECT_TRUE(frame->value()[0].is_number_integer());
    EXPECT_TRUE(frame->value()[1].is_number_float());
    EXPECT_TRUE(frame->value()[2].is_number_unsigned());
}

}  // namespace
}  // namespace halcyon
