#include "devices/ps2_keyboard.h"

#include <gtest/gtest.h>

namespace halcyon {
namespace {

using namespace ps2_keyboard;
using Bytes = std::vector<uint8_t>;

class Ps2KeyboardTest : public testing::Test {
protected:
    Bytes drain() {
        Bytes bytes;
        while (keyboard_.has_output()) {
            bytes.push_back(keyboard_.take_output());
        }
        return bytes;
    }
    /// The answer to one byte.
    Bytes send(uint8_t byte) {
        keyboard_.write(byte);
        return drain();
    }
    Bytes press(const Bytes& set2) {
        keyboard_.press(set2);
        return drain();
    }
    static constexpr uint8_t kAck = kAcknowledge;

    Ps2Keyboard keyboard_;
};

TEST_F(Ps2KeyboardTest, IsSilentAtPowerOn) {
    EXPECT_FALSE(keyboard_.has_output());
}

TEST_F(Ps2KeyboardTest, ResetPassesTheSelfTest) {
    EXPECT_EQ(send(kReset), (Bytes{0xFA, 0xAA}));
}

TEST_F(Ps2KeyboardTest, IdentifiesAsA101KeyKeyboard) {
    EXPECT_EQ(send(kIdentify), (Bytes{0xFA, 0xAB, 0x83}));
}

TEST_F(Ps2KeyboardTest, EchoesWithoutAcknowledging) {
    EXPECT_EQ(send(kEcho), (Bytes{0xEE}));
}

TEST_F(Ps2KeyboardTest, SetsLeds) {
    EXPECT_EQ(send(kSetLeds), (Bytes{kAck}));
    EXPECT_EQ(send(0x05), (Bytes{kAck}));
    EXPECT_EQ(keyboard_.leds(), 0x05);
}

TEST_F(Ps2KeyboardTest, CommandInPlaceOfAParameterIsObeyed) {
    send(kSetLeds);
    EXPECT_EQ(send(kEcho), (Bytes{0xEE}));
    EXPECT_EQ(send(0x05), (Bytes{kRefuse})) << "the first command is forgotten";
    EXPECT_EQ(keyboard_.leds(), 0);
}

TEST_F(Ps2KeyboardTest, AcceptsATypematicRate) {
    EXPECT_EQ(send(kSetRate), (Bytes{kAck}));
    EXPECT_EQ(send(0x20), (Bytes{kAck}));
}

TEST_F(Ps2KeyboardTest, RefusesWhatIsNoCommand) {
    for (const uint8_t byte : {0x00, 0x55, 0xEC, 0xEF, 0xF1}) {
        EXPECT_EQ(send(byte), (Bytes{kRefuse})) << int{byte};
    }
}

TEST_F(Ps2KeyboardTest, ResendsItsLastByte) {
    send(kIdentify);
    EXPECT_EQ(send(kResend), (Bytes{0x83}));
    EXPECT_EQ(send(kResend), (Bytes{0x83}));
}

TEST_F(Ps2KeyboardTest, NewCommandVoidsAnUnreadAnswer) {
    keyboard_.write(kIdentify);
    EXPECT_EQ(send(kEcho), (Bytes{0xEE}));
}

TEST_F(Ps2KeyboardTest, ReportsKeysInSetTwo) {
    EXPECT_EQ(press({0x1C, 0xF0, 0x1C}), (Bytes{0x1C, 0xF0, 0x1C}));
}

TEST_F(Ps2KeyboardTest, DisableStopsScanningAndEnableStartsIt) {
    EXPECT_EQ(send(kDisable), (Bytes{kAck}));
    EXPECT_EQ(press({0x1C}), (Bytes{}));
    EXPECT_EQ(send(kEnable), (Bytes{kAck}));
    EXPECT_EQ(press({0x1C}), (Bytes{0x1C}));
}

TEST_F(Ps2KeyboardTest, EnableForgetsKeysThatWait) {
    keyboard_.press(Bytes{0x1C});
    EXPECT_EQ(send(kEnable), (Bytes{kAck}));
}

TEST_F(Ps2KeyboardTest, DefaultsKeepScanningAsItIs) {
    send(kScancodeSet);
    send(1);
    EXPECT_EQ(send(kSetDefaults), (Bytes{kAck}));
    EXPECT_EQ(press({0x1C}), (Bytes{0x1C})) << "set 2 again";
    send(kDisable);
    send(kSetDefaults);
    EXPECT_EQ(press({0x1C}), (Bytes{}));
}

TEST_F(Ps2KeyboardTest, AnswersComeBeforeKeys) {
    keyboard_.press(Bytes{0x1C});
    EXPECT_EQ(send(kIdentify), (Bytes{0xFA, 0xAB, 0x83, 0x1C}));
}

TEST_F(Ps2KeyboardTest, ScancodeSetCanBeReadAndChosen) {
    for (const uint8_t set : {1, 2, 3}) {
        EXPECT_EQ(send(kScancodeSet), (Bytes{kAck}));
        EXPECT_EQ(send(set), (Bytes{kAck}));
        send(kScancodeSet);
        EXPECT_EQ(send(0), (Bytes{kAck, set}));
    }
    send(kScancodeSet);
    EXPECT_EQ(send(4), (Bytes{kRefuse}));
}

TEST_F(Ps2KeyboardTest, ReportsKeysInSetOne) {
    send(kScancodeSet);
    send(1);
    EXPECT_EQ(press({0x1C, 0xF0, 0x1C}), (Bytes{0x1E, 0x9E}));
}

TEST_F(Ps2KeyboardTest, SetThreeReportsReleasesOfTheKeysThatWantIt) {
    send(kScancodeSet);
    send(3);
    EXPECT_EQ(press({0x1C, 0xF0, 0x1C}), (Bytes{0x1C}));              // A
    EXPECT_EQ(press({0x12, 0xF0, 0x12}), (Bytes{0x12, 0xF0, 0x12}));  // left Shift
    send(kAllMakeBreak);
    EXPECT_EQ(press({0xF0, 0x1C}), (Bytes{0xF0, 0x1C}));
    send(kAllMake);
    EXPECT_EQ(press({0xF0, 0x12}), (Bytes{}));
    EXPECT_EQ(send(kKeyMakeBreak), (Bytes{kAck}));
    EXPECT_EQ(send(0x1C), (Bytes{kAck}));
    EXPECT_EQ(send(0x8D), (Bytes{kAck}));
    EXPECT_EQ(send(kEnable), (Bytes{kAck}));
    EXPECT_EQ(press({0xF0, 0x1C}), (Bytes{0xF0, 0x1C}));
    EXPECT_EQ(press({0xF0, 0x32}), (Bytes{}));
}

TEST_F(Ps2KeyboardTest, OverrunIsReportedOnceAndCodesAreNeverTorn) {
    for (int i = 0; i < 8; ++i) {
        keyboard_.press(Bytes{0xE0, 0x75});
    }
    keyboard_.press(Bytes{0xE0, 0x75});
    keyboard_.press(Bytes{0x1C});
    Bytes expected;
    for (int i = 0; i < 8; ++i) {
        expected.insert(expected.end(), {0xE0, 0x75});
    }
    expected.push_back(kOverrun);
    EXPECT_EQ(drain(), expected);
    EXPECT_EQ(press({0x1C}), (Bytes{0x1C}));
}

TEST_F(Ps2KeyboardTest, OverrunInSetOneHasItsOwnCode) {
    send(kScancodeSet);
    send(1);
    for (int i = 0; i < 17; ++i) {
        keyboard_.press(Bytes{0x1C});
    }
    EXPECT_EQ(drain().back(), kOverrunSet1);
}

}  // namespace
}  // namespace halcyon
