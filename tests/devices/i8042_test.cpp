#include "devices/i8042.h"

#include <optional>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/devices/io_access.h"

namespace halcyon {
namespace {

using namespace i8042;
using Bytes = std::vector<uint8_t>;

class I8042Test : public testing::Test {
protected:
    uint8_t status() { return in8(device_.command_port()); }
    void command(uint8_t value) { out8(device_.command_port(), 0, value); }
    void data(uint8_t value) { out8(device_.data_port(), 0, value); }
    uint8_t read() { return in8(device_.data_port()); }
    /// The answer to a command, which must be there.
    uint8_t ask(uint8_t value) {
        command(value);
        EXPECT_EQ(status() & kStatusOutputFull, kStatusOutputFull) << int{value};
        return read();
    }
    /// All that waits in the output buffer.
    Bytes drain() {
        Bytes bytes;
        while ((status() & kStatusOutputFull) != 0) {
            bytes.push_back(read());
        }
        return bytes;
    }
    void set_command_byte(uint8_t value) {
        command(kWriteRam);
        data(value);
    }

    FakeIrqLine irq1_;
    FakeIrqLine irq12_;
    std::optional<bool> a20_;
    int resets_ = 0;
    I8042 device_{
        irq1_,
        irq12_,
        {.a20_changed = [this](bool on) { a20_ = on; }, .reset_requested = [this] { ++resets_; }}};
};

TEST_F(I8042Test, StatusAtPowerOnIsEmptyAndUnlocked) {
    EXPECT_EQ(status(), kStatusUnlocked);
}

TEST_F(I8042Test, StatusTellsCommandsFromData) {
    command(kDisableKeyboard);
    EXPECT_EQ(status() & kStatusCommand, kStatusCommand);
    data(0xF4);
    EXPECT_EQ(status() & kStatusCommand, 0);
}

TEST_F(I8042Test, CommandByteAndRamAreReadAndWritten) {
    set_command_byte(0x61);
    EXPECT_EQ(ask(kReadRam), 0x61);
    command(0x7F);
    data(0xA5);
    EXPECT_EQ(ask(0x3F), 0xA5);
    EXPECT_EQ(ask(0x21), 0x00);
}

TEST_F(I8042Test, SystemFlagFollowsTheCommandByteAndTheSelfTest) {
    EXPECT_EQ(status() & kStatusSystem, 0);
    set_command_byte(kSystemFlag);
    EXPECT_EQ(status() & kStatusSystem, kStatusSystem);
    set_command_byte(0);
    EXPECT_EQ(ask(kSelfTest), 0x55);
    EXPECT_EQ(status() & kStatusSystem, kStatusSystem);
}

TEST_F(I8042Test, InterfaceTestsAreGood) {
    EXPECT_EQ(ask(kTestKeyboard), 0x00);
    EXPECT_EQ(ask(kTestAuxiliary), 0x00);
    EXPECT_EQ(ask(kTestPassword), 0xF1);
}

TEST_F(I8042Test, InterfacesAreDisabledInTheCommandByte) {
    set_command_byte(0);
    command(kDisableKeyboard);
    command(kDisableAuxiliary);
    EXPECT_EQ(ask(kReadRam), kKeyboardDisabled | kAuxiliaryDisabled);
    EXPECT_EQ(ask(kReadTestInputs), 0);
    command(kEnableKeyboard);
    command(kEnableAuxiliary);
    EXPECT_EQ(ask(kReadRam), 0);
    EXPECT_EQ(ask(kReadTestInputs), kTestKeyboardClock | kTestAuxiliaryClock);
}

TEST_F(I8042Test, InputPortShowsAnOpenLock) {
    EXPECT_EQ(ask(kReadInputPort), 0x80);
}

TEST_F(I8042Test, KeyboardAnswersThroughTheOutputBuffer) {
    data(0xF2);
    EXPECT_EQ(drain(), (Bytes{0xFA, 0xAB, 0x83}));
    data(0xFF);
    EXPECT_EQ(drain(), (Bytes{0xFA, 0xAA}));
}

TEST_F(I8042Test, OutputBufferKeepsItsByteAfterItWasRead) {
    data(0xEE);
    EXPECT_EQ(read(), 0xEE);
    EXPECT_EQ(status() & kStatusOutputFull, 0);
    EXPECT_EQ(read(), 0xEE);
}

TEST_F(I8042Test, TranslationTurnsSetTwoIntoSetOne) {
    set_command_byte(kTranslate);
    device_.press(Bytes{0x1C, 0xF0, 0x1C});
    EXPECT_EQ(drain(), (Bytes{0x1E, 0x9E}));
    data(0xF2);
    EXPECT_EQ(drain(), (Bytes{0xFA, 0xAB, 0x41}));
    set_command_byte(0);
    device_.press(Bytes{0x1C});
    EXPECT_EQ(drain(), (Bytes{0x1C}));
}

TEST_F(I8042Test, EachByteRaisesItsOwnKeyboardInterrupt) {
    set_command_byte(kKeyboardInterrupt);
    device_.press(Bytes{0xE0, 0x75});
    EXPECT_TRUE(irq1_.level());
    EXPECT_EQ(irq1_.rises(), 1);
    read();
    EXPECT_TRUE(irq1_.level());
    EXPECT_EQ(irq1_.rises(), 2);
    read();
    EXPECT_FALSE(irq1_.level());
}

TEST_F(I8042Test, NoKeyboardInterruptUnlessEnabled) {
    set_command_byte(0);
    device_.press(Bytes{0x1C});
    EXPECT_FALSE(irq1_.level());
    EXPECT_EQ(status() & kStatusOutputFull, kStatusOutputFull);
    set_command_byte(kKeyboardInterrupt);
    EXPECT_TRUE(irq1_.level());
}

TEST_F(I8042Test, DisabledKeyboardKeepsItsBytes) {
    command(kDisableKeyboard);
    device_.press(Bytes{0x1C});
    EXPECT_EQ(status() & kStatusOutputFull, 0);
    command(kEnableKeyboard);
    EXPECT_EQ(drain(), (Bytes{0x1C}));
}

TEST_F(I8042Test, DataForTheKeyboardEnablesIt) {
    command(kDisableKeyboard);
    data(0xEE);
    EXPECT_EQ(drain(), (Bytes{0xEE}));
    EXPECT_EQ(ask(kReadRam) & kKeyboardDisabled, 0);
}

TEST_F(I8042Test, ControllerAnswersWhileTheKeyboardIsDisabledWithoutInterrupt) {
    set_command_byte(kKeyboardInterrupt | kKeyboardDisabled);
    command(kSelfTest);
    EXPECT_EQ(status() & kStatusOutputFull, kStatusOutputFull);
    EXPECT_FALSE(irq1_.level());
}

TEST_F(I8042Test, KeyboardBufferCanBeWritten) {
    set_command_byte(kKeyboardInterrupt);
    command(kWriteKeyboardBuffer);
    data(0x99);
    EXPECT_TRUE(irq1_.level());
    EXPECT_EQ(status() & kStatusAuxiliary, 0);
    EXPECT_EQ(read(), 0x99);
}

TEST_F(I8042Test, AuxiliaryBufferCanBeWritten) {
    set_command_byte(kAuxiliaryInterrupt);
    command(kWriteAuxiliaryBuffer);
    data(0x5A);
    EXPECT_TRUE(irq12_.level());
    EXPECT_FALSE(irq1_.level());
    EXPECT_EQ(status() & (kStatusOutputFull | kStatusAuxiliary | kStatusTimeout),
              kStatusOutputFull | kStatusAuxiliary);
    EXPECT_EQ(read(), 0x5A);
    EXPECT_FALSE(irq12_.level());
}

TEST_F(I8042Test, AbsentMouseTimesOut) {
    command(kWriteAuxiliary);
    data(0xFF);
    EXPECT_EQ(status() & (kStatusOutputFull | kStatusAuxiliary | kStatusTimeout),
              kStatusOutputFull | kStatusAuxiliary | kStatusTimeout);
    EXPECT_EQ(read(), 0xFE);
    EXPECT_EQ(status() & (kStatusAuxiliary | kStatusTimeout), 0);
}

TEST_F(I8042Test, OutputPortControlsA20) {
    EXPECT_EQ(ask(kReadOutputPort) & (kOutputA20 | kOutputNoReset), kOutputA20 | kOutputNoReset);
    command(kWriteOutputPort);
    data(0xDD);
    EXPECT_EQ(a20_, false);
    EXPECT_EQ(ask(kReadOutputPort), 0xCD);
    command(kWriteOutputPort);
    data(0xDF);
    EXPECT_EQ(a20_, true);
    command(kDisableA20);
    EXPECT_EQ(a20_, false);
    command(kEnableA20);
    EXPECT_EQ(a20_, true);
    EXPECT_EQ(resets_, 0);
}

TEST_F(I8042Test, OutputPortShowsTheBuffers) {
    set_command_byte(0);
    device_.press(Bytes{0x1C});
    command(kReadOutputPort);
    EXPECT_EQ(read(), 0x1C);
    EXPECT_EQ(read() & (kOutputKeyboardFull | kOutputAuxiliaryFull), kOutputKeyboardFull);
}

TEST_F(I8042Test, OutputPortResetsTheMachine) {
    command(kWriteOutputPort);
    data(0xFE);
    EXPECT_EQ(resets_, 1);
    EXPECT_EQ(ask(kReadOutputPort) & kOutputNoReset, kOutputNoReset);
}

TEST_F(I8042Test, PulsingTheResetLineResetsTheMachine) {
    command(0xFE);
    EXPECT_EQ(resets_, 1);
    command(0xF0);
    EXPECT_EQ(resets_, 2);
    command(0xFF);
    command(0xFD);
    EXPECT_EQ(resets_, 2);
}

TEST_F(I8042Test, ReservedCommandsAreIgnored) {
    for (const uint8_t reserved : {0x00, 0x80, 0xB0, 0xC5, 0xE8}) {
        command(reserved);
        EXPECT_EQ(status() & kStatusOutputFull, 0) << int{reserved};
    }
}

TEST_F(I8042Test, CommandVoidsTheByteAnEarlierOneWaitsFor) {
    command(kWriteOutputPort);
    command(kEnableKeyboard);
    data(0xEE);
    EXPECT_EQ(drain(), (Bytes{0xEE})) << "it went to the keyboard";
    EXPECT_EQ(resets_, 0);
}

TEST_F(I8042Test, FirmwareFindsAControllerAndAKeyboard) {
    // SeaBIOS, ps2_keyboard_setup.
    command(kDisableKeyboard);
    command(kDisableAuxiliary);
    EXPECT_EQ(ask(kSelfTest), 0x55);
    EXPECT_EQ(ask(kTestKeyboard), 0x00);
    set_command_byte(kAuxiliaryDisabled);
    data(0xFF);
    EXPECT_EQ(drain(), (Bytes{0xFA, 0xAA}));
    data(0xF5);
    EXPECT_EQ(drain(), (Bytes{0xFA}));
    data(0xF0);
    EXPECT_EQ(drain(), (Bytes{0xFA}));
    data(0x02);
    EXPECT_EQ(drain(), (Bytes{0xFA}));
    set_command_byte(kAuxiliaryDisabled | kTranslate | kKeyboardInterrupt);
    data(0xF4);
    EXPECT_EQ(drain(), (Bytes{0xFA}));
    device_.press(Bytes{0x76});
    EXPECT_TRUE(irq1_.level());
    EXPECT_EQ(read(), 0x01);
}

TEST_F(I8042Test, AFloodOfCommandsIsBounded) {
    for (int i = 0; i < 1000; ++i) {
        command(kSelfTest);
    }
    EXPECT_EQ(drain().size(), 17u) << "one in the buffer and 16 behind it";
}

TEST_F(I8042Test, ResetRestoresPowerOn) {
    command(kDisableA20);
    set_command_byte(kKeyboardInterrupt | kSystemFlag);
    device_.press(Bytes{0x1C, 0x1C});
    command(kWriteOutputPort);
    device_.reset();
    EXPECT_EQ(a20_, true);
    EXPECT_FALSE(irq1_.level());
    EXPECT_EQ(status(), kStatusUnlocked);
    data(0xEE);
    EXPECT_EQ(drain(), (Bytes{0xEE}));
    EXPECT_EQ(resets_, 0);
}

TEST_F(I8042Test, GuestAndHostMayUseItAtOnce) {
    std::thread guest([this] {
        for (int i = 0; i < 2000; ++i) {
            command(kSelfTest);
            read();
            status();
        }
    });
    for (int i = 0; i < 2000; ++i) {
        device_.press(Bytes{0x1C});
    }
    guest.join();
    drain();
    EXPECT_EQ(status() & kStatusOutputFull, 0);
}

}  // namespace
}  // namespace halcyon
