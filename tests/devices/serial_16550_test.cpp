#include "devices/serial_16550.h"

#include <thread>

#include <gtest/gtest.h>

#include "tests/devices/fake_char_backend.h"
#include "tests/devices/fake_clock.h"
#include "tests/devices/io_access.h"

namespace halcyon {
namespace {

using namespace serial_16550;
using namespace std::chrono_literals;

/// A UART with its interrupt gate open.
class Serial16550Test : public testing::Test {
protected:
    Serial16550Test() { out8(uart_, kModemControl, kMcrOut2); }

    void enable_fifo(uint8_t trigger_bits = 0) {
        out8(uart_, kInterruptId, static_cast<uint8_t>(kFcrEnable | trigger_bits));
    }
    void enable_interrupts(uint8_t mask) { out8(uart_, kInterruptEnable, mask); }
    uint8_t interrupt_id() { return in8(uart_, kInterruptId) & 0x0F; }
    uint8_t line_status() { return in8(uart_, kLineStatus); }
    /// 8N1 at 115200 baud: 10 bits, 86.8 microseconds a character.
    void program_115200() {
        out8(uart_, kLineControl, 0x83);
        out8(uart_, kData, 1);
        out8(uart_, kInterruptEnable, 0);
        out8(uart_, kLineControl, 0x03);
    }

    FakeClock clock_;
    FakeCharBackend line_;
    FakeIrqLine irq_;
    Serial16550A uart_{"serial0", line_, irq_, clock_};
};

TEST_F(Serial16550Test, ResetValuesAreThoseOfTheDataSheet) {
    uart_.reset();
    EXPECT_EQ(in8(uart_, kInterruptEnable), 0x00);
    EXPECT_EQ(in8(uart_, kInterruptId), 0x01);
    EXPECT_EQ(in8(uart_, kLineControl), 0x00);
    EXPECT_EQ(in8(uart_, kModemControl), 0x00);
    EXPECT_EQ(in8(uart_, kLineStatus), 0x60);
    EXPECT_EQ(in8(uart_, kModemStatus), kMsrCts | kMsrDsr | kMsrDcd);
    EXPECT_FALSE(irq_.level());
}

TEST_F(Serial16550Test, ReservedBitsReadAsZero) {
    out8(uart_, kInterruptEnable, 0xFF);
    EXPECT_EQ(in8(uart_, kInterruptEnable), 0x0F);
    out8(uart_, kModemControl, 0xFF);
    EXPECT_EQ(in8(uart_, kModemControl), 0x1F);
    out8(uart_, kScratch, 0xA5);
    EXPECT_EQ(in8(uart_, kScratch), 0xA5);
}

TEST_F(Serial16550Test, DivisorLatchHidesDataAndInterruptEnable) {
    enable_interrupts(kIerModemStatus);
    out8(uart_, kLineControl, kLcrDivisorLatch);
    out8(uart_, kData, 0x34);
    out8(uart_, kInterruptEnable, 0x12);
    EXPECT_EQ(in8(uart_, kData), 0x34);
    EXPECT_EQ(in8(uart_, kInterruptEnable), 0x12);
    out8(uart_, kLineControl, 0);
    EXPECT_EQ(in8(uart_, kInterruptEnable), kIerModemStatus);
    EXPECT_EQ(line_.output(), "");
}

TEST_F(Serial16550Test, WrittenBytesReachTheLineAtOnce) {
    out8(uart_, kData, 'h');
    out8(uart_, kData, 'i');
    EXPECT_EQ(line_.output(), "hi");
    EXPECT_EQ(line_status(), kLsrTransmitEmpty | kLsrIdle);
}

TEST_F(Serial16550Test, TransmitterWaitsForASlowBackend) {
    line_.set_room(0);
    out8(uart_, kData, 'a');
    EXPECT_EQ(line_status(), 0);
    enable_interrupts(kIerTransmitEmpty);
    EXPECT_FALSE(irq_.level());
    line_.set_room(1);
    EXPECT_EQ(line_.output(), "a");
    EXPECT_EQ(line_status(), kLsrTransmitEmpty | kLsrIdle);
    EXPECT_TRUE(irq_.level());
}

TEST_F(Serial16550Test, TransmitFifoHoldsSixteenBytesAndLosesTheNext) {
    enable_fifo();
    line_.set_room(0);
    for (char c = 'a'; c < 'a' + 17; ++c) {
        out8(uart_, kData, static_cast<uint8_t>(c));
    }
    line_.set_room(FakeCharBackend::kUnlimited);
    EXPECT_EQ(line_.output(), "abcdefghijklmnop");
}

TEST_F(Serial16550Test, HoldingRegisterWithoutFifoIsOverwritten) {
    line_.set_room(0);
    out8(uart_, kData, 'a');
    out8(uart_, kData, 'b');
    line_.set_room(FakeCharBackend::kUnlimited);
    EXPECT_EQ(line_.output(), "b");
}

TEST_F(Serial16550Test, TransmitInterruptIsResetByReadingItsId) {
    enable_interrupts(kIerTransmitEmpty);
    EXPECT_TRUE(irq_.level());
    EXPECT_EQ(interrupt_id(), kIirTransmitEmpty);
    EXPECT_FALSE(irq_.level());
    EXPECT_EQ(interrupt_id(), kIirNone);
    out8(uart_, kData, 'x');
    EXPECT_TRUE(irq_.level());
}

TEST_F(Serial16550Test, TransmitInterruptIsResetByWritingData) {
    enable_interrupts(kIerTransmitEmpty);
    line_.set_room(0);
    out8(uart_, kData, 'x');
    EXPECT_FALSE(irq_.level());
}

TEST_F(Serial16550Test, ReceivedByteRaisesAndReadingItLowersTheInterrupt) {
    enable_interrupts(kIerReceived);
    EXPECT_EQ(line_.send("A"), 1u);
    EXPECT_TRUE(irq_.level());
    EXPECT_EQ(interrupt_id(), kIirReceived);
    EXPECT_EQ(line_status() & kLsrDataReady, kLsrDataReady);
    EXPECT_EQ(in8(uart_, kData), 'A');
    EXPECT_FALSE(irq_.level());
    EXPECT_EQ(line_status() & kLsrDataReady, 0);
    EXPECT_EQ(in8(uart_, kData), 'A') << "an empty receiver shows its last byte";
}

TEST_F(Serial16550Test, Out2GatesTheInterrupt) {
    out8(uart_, kModemControl, 0);
    enable_interrupts(kIerReceived);
    line_.send("A");
    EXPECT_FALSE(irq_.level());
    EXPECT_EQ(interrupt_id(), kIirReceived);
    out8(uart_, kModemControl, kMcrOut2);
    EXPECT_TRUE(irq_.level());
}

TEST_F(Serial16550Test, OverrunWithoutFifoDestroysTheOldByte) {
    line_.force("ab");
    EXPECT_EQ(line_status() & kLsrOverrun, kLsrOverrun);
    EXPECT_EQ(line_status() & kLsrOverrun, 0);
    EXPECT_EQ(in8(uart_, kData), 'b');
}

TEST_F(Serial16550Test, OverrunWithFifoKeepsWhatItHas) {
    enable_fifo();
    line_.force("0123456789abcdefX");
    EXPECT_EQ(line_status() & kLsrOverrun, kLsrOverrun);
    std::string received;
    while ((line_status() & kLsrDataReady) != 0) {
        received += static_cast<char>(in8(uart_, kData));
    }
    EXPECT_EQ(received, "0123456789abcdef");
}

TEST_F(Serial16550Test, RoomFollowsTheFifoAndABackendThatWasRefusedIsWoken) {
    EXPECT_EQ(line_.device_room(), 1u);
    enable_fifo();
    EXPECT_EQ(line_.device_room(), 16u);
    EXPECT_EQ(line_.send("0123456789abcdef"), 16u);
    in8(uart_, kData);
    EXPECT_EQ(line_.wanted(), 0) << "nobody was refused";
    EXPECT_EQ(line_.send("Z"), 1u);
    EXPECT_EQ(line_.device_room(), 0u);
    in8(uart_, kData);
    EXPECT_EQ(line_.wanted(), 1);
}

TEST_F(Serial16550Test, TriggerLevelsAreThoseOfTheDataSheet) {
    const struct {
        uint8_t bits;
        size_t level;
    } kLevels[] = {{0x00, 1}, {0x40, 4}, {0x80, 8}, {0xC0, 14}};
    enable_interrupts(kIerReceived);
    for (const auto& [bits, level] : kLevels) {
        enable_fifo(static_cast<uint8_t>(bits | kFcrResetReceiver));
        line_.force(std::string(level - 1, 'x'));
        EXPECT_FALSE(irq_.level()) << level;
        line_.force("x");
        EXPECT_TRUE(irq_.level()) << level;
        EXPECT_EQ(interrupt_id(), kIirReceived);
        in8(uart_, kData);
        EXPECT_FALSE(irq_.level()) << "dropped below the trigger " << level;
    }
}

TEST_F(Serial16550Test, FifoBitsOfTheInterruptIdFollowFcr) {
    EXPECT_EQ(in8(uart_, kInterruptId) & 0xC0, 0x00);
    enable_fifo();
    EXPECT_EQ(in8(uart_, kInterruptId) & 0xC0, 0xC0);
    out8(uart_, kInterruptId, 0);
    EXPECT_EQ(in8(uart_, kInterruptId) & 0xC0, 0x00);
}

TEST_F(Serial16550Test, FifoResetsEmptyTheFifos) {
    enable_fifo();
    line_.set_room(0);
    out8(uart_, kData, 'x');
    line_.force("abc");
    out8(uart_, kInterruptId, kFcrEnable | kFcrResetReceiver);
    EXPECT_EQ(line_status(), 0) << "only the receiver was reset";
    out8(uart_, kInterruptId, kFcrEnable | kFcrResetTransmitter);
    EXPECT_EQ(line_status(), kLsrTransmitEmpty | kLsrIdle);
    line_.set_room(FakeCharBackend::kUnlimited);
    EXPECT_EQ(line_.output(), "");
}

TEST_F(Serial16550Test, FifoResetBitsNeedTheEnableBit) {
    line_.send("a");
    out8(uart_, kInterruptId, kFcrResetReceiver);
    EXPECT_EQ(line_status() & kLsrDataReady, kLsrDataReady);
}

TEST_F(Serial16550Test, ChangingTheFifoModeEmptiesTheReceiver) {
    line_.send("a");
    enable_fifo();
    EXPECT_EQ(line_status() & kLsrDataReady, 0);
}

TEST_F(Serial16550Test, TimeoutComesFourCharacterTimesAfterTheLastByte) {
    program_115200();
    enable_fifo(0xC0);
    enable_interrupts(kIerReceived);
    line_.force("a");
    clock_.advance(200us);
    line_.force("b");
    clock_.advance(347us);
    EXPECT_FALSE(irq_.level());
    clock_.advance(1us);
    EXPECT_TRUE(irq_.level());
    EXPECT_EQ(interrupt_id(), kIirTimeout);
}

TEST_F(Serial16550Test, ReadingClearsAndRestartsTheTimeout) {
    program_115200();
    enable_fifo(0xC0);
    enable_interrupts(kIerReceived);
    line_.force("ab");
    clock_.advance(1ms);
    ASSERT_EQ(interrupt_id(), kIirTimeout);
    in8(uart_, kData);
    EXPECT_FALSE(irq_.level());
    clock_.advance(1ms);
    EXPECT_EQ(interrupt_id(), kIirTimeout);
    in8(uart_, kData);
    clock_.advance(1ms);
    EXPECT_EQ(interrupt_id(), kIirNone) << "nothing left to wait for";
}

TEST_F(Serial16550Test, TimeoutFollowsLineControlAndDivisor) {
    // The data sheet's own figure (8.4): 12 bits at 300 baud time out after 160 ms.
    out8(uart_, kLineControl, kLcrDivisorLatch);
    out8(uart_, kData, 0x80);  // 384
    out8(uart_, kInterruptEnable, 0x01);
    out8(uart_, kLineControl, 0x03 | kLcrParity | kLcrTwoStopBits);
    enable_fifo(0xC0);
    line_.force("a");
    EXPECT_EQ(clock_.next_deadline(), GuestTime(160ms));
}

TEST_F(Serial16550Test, NoTimeoutWithoutFifo) {
    line_.send("a");
    EXPECT_EQ(clock_.armed(), 0u);
}

TEST_F(Serial16550Test, LateTimeoutOfAByteAlreadyReadIsIgnored) {
    program_115200();
    enable_fifo(0xC0);
    enable_interrupts(kIerReceived);
    line_.force("a");
    clock_.advance_late(1ms);
    in8(uart_, kData);
    clock_.run_due();
    EXPECT_FALSE(irq_.level());
}

TEST_F(Serial16550Test, BreakIsAZeroByteWithItsErrors) {
    enable_interrupts(kIerLineStatus);
    line_.send_break();
    EXPECT_TRUE(irq_.level());
    EXPECT_EQ(interrupt_id(), kIirLineStatus);
    EXPECT_EQ(line_status() & (kLsrBreak | kLsrFraming | kLsrDataReady),
              kLsrBreak | kLsrFraming | kLsrDataReady);
    EXPECT_FALSE(irq_.level());
    EXPECT_EQ(line_status() & kLsrBreak, 0);
    EXPECT_EQ(in8(uart_, kData), 0);
}

TEST_F(Serial16550Test, ErrorsShowWhenTheirByteIsAtTheTopOfTheFifo) {
    enable_fifo();
    line_.force("a");
    line_.send_break();
    EXPECT_EQ(line_status() & (kLsrBreak | kLsrFifoError), kLsrFifoError);
    in8(uart_, kData);
    EXPECT_EQ(line_status() & (kLsrBreak | kLsrFifoError), kLsrBreak | kLsrFifoError);
    EXPECT_EQ(line_status() & (kLsrBreak | kLsrFifoError), 0);
}

TEST_F(Serial16550Test, InterruptPrioritiesAreThoseOfTableFour) {
    program_115200();
    enable_fifo();
    out8(uart_, kModemControl, kMcrOut2 | kMcrLoopback);  // a modem status change
    out8(uart_, kModemControl, kMcrOut2);
    enable_interrupts(kIerMask);
    line_.force("a");
    line_.send_break();
    in8(uart_, kData);
    clock_.advance(1ms);
    EXPECT_EQ(interrupt_id(), kIirLineStatus);
    line_status();
    EXPECT_EQ(interrupt_id(), kIirTimeout);
    line_.force("b");
    EXPECT_EQ(interrupt_id(), kIirTimeout) << "only a read clears it";
    in8(uart_, kData);
    EXPECT_EQ(interrupt_id(), kIirReceived);
    in8(uart_, kData);
    EXPECT_EQ(interrupt_id(), kIirTransmitEmpty);
    EXPECT_EQ(interrupt_id(), kIirModemStatus);
    in8(uart_, kModemStatus);
    EXPECT_EQ(interrupt_id(), kIirNone);
    EXPECT_FALSE(irq_.level());
}

TEST_F(Serial16550Test, LoopbackReturnsWhatIsWritten) {
    out8(uart_, kModemControl, kMcrLoopback);
    out8(uart_, kData, 'L');
    EXPECT_EQ(line_.output(), "");
    EXPECT_EQ(line_status(), kLsrDataReady | kLsrTransmitEmpty | kLsrIdle);
    EXPECT_EQ(in8(uart_, kData), 'L');
}

TEST_F(Serial16550Test, LoopbackDisconnectsTheLineAndTheInterrupt) {
    out8(uart_, kModemControl, kMcrLoopback | kMcrOut2);
    enable_interrupts(kIerReceived);
    EXPECT_EQ(line_.device_room(), 0u);
    line_.force("x");
    EXPECT_EQ(line_status() & kLsrDataReady, 0);
    out8(uart_, kData, 'L');
    EXPECT_EQ(interrupt_id(), kIirReceived);
    EXPECT_FALSE(irq_.level());
    in8(uart_, kData);
    out8(uart_, kModemControl, kMcrOut2);
    EXPECT_EQ(line_.wanted(), 1);
}

TEST_F(Serial16550Test, LoopbackModemLinesFollowTheModemControl) {
    const struct {
        uint8_t output;
        uint8_t input;
    } kWires[] = {{kMcrRts, kMsrCts}, {kMcrDtr, kMsrDsr}, {kMcrOut1, kMsrRi}, {kMcrOut2, kMsrDcd}};
    for (const auto& [output, input] : kWires) {
        out8(uart_, kModemControl, static_cast<uint8_t>(kMcrLoopback | output));
        EXPECT_EQ(in8(uart_, kModemStatus) & 0xF0, input);
    }
}

TEST_F(Serial16550Test, ModemStatusDeltasAreSetByChangesAndClearedByReading) {
    out8(uart_, kModemControl, kMcrLoopback);
    in8(uart_, kModemStatus);
    out8(uart_, kModemControl, kMcrLoopback | kMcrRts | kMcrDtr | kMcrOut1 | kMcrOut2);
    EXPECT_EQ(in8(uart_, kModemStatus),
              0xF0 | kMsrDeltaCts | kMsrDeltaDsr | kMsrDeltaDcd);  // RI rising is no event
    EXPECT_EQ(in8(uart_, kModemStatus), 0xF0);
    out8(uart_, kModemControl, kMcrLoopback);
    EXPECT_EQ(in8(uart_, kModemStatus), kMsrDeltaMask);
}

TEST_F(Serial16550Test, CharactersSentDuringABreakNeverReachTheLine) {
    out8(uart_, kLineControl, kLcrBreak | 0x03);
    out8(uart_, kData, 0);
    EXPECT_EQ(line_status(), kLsrTransmitEmpty | kLsrIdle);
    out8(uart_, kLineControl, 0x03);
    out8(uart_, kData, 'x');
    EXPECT_EQ(line_.output(), "x");
}

TEST_F(Serial16550Test, StatusRegistersIgnoreWrites) {
    out8(uart_, kLineStatus, 0xFF);
    out8(uart_, kModemStatus, 0xFF);
    EXPECT_EQ(line_status(), 0x60);
    EXPECT_EQ(in8(uart_, kModemStatus), kMsrCts | kMsrDsr | kMsrDcd);
}

TEST_F(Serial16550Test, WideAccessesAreSplitIntoBytes) {
    out16(uart_, kModemControl, 0xAA00);
    out8(uart_, kScratch, 0x5A);
    EXPECT_EQ(in16(uart_, kModemStatus), 0x5AB0);
    out16(uart_, kData, 0x0300 | 'w');
    EXPECT_EQ(line_.output(), "w");
    EXPECT_EQ(in8(uart_, kInterruptEnable), 0x03);
}

TEST_F(Serial16550Test, ResetLowersTheInterruptAndForgetsTheFifos) {
    enable_fifo();
    enable_interrupts(kIerReceived);
    line_.force("abc");
    ASSERT_TRUE(irq_.level());
    uart_.reset();
    EXPECT_FALSE(irq_.level());
    EXPECT_EQ(clock_.armed(), 0u);
    EXPECT_EQ(line_status(), 0x60);
}

TEST_F(Serial16550Test, DisconnectsWhenItGoes) {
    FakeCharBackend line;
    {
        Serial16550A uart("serial1", line, irq_, clock_);
        EXPECT_TRUE(line.connected());
    }
    EXPECT_FALSE(line.connected());
}

TEST_F(Serial16550Test, PortsAndLineMayBeUsedAtOnce) {
    enable_fifo();
    enable_interrupts(kIerMask);
    std::thread guest([this] {
        for (int i = 0; i < 2000; ++i) {
            out8(uart_, kData, 'g');
            in8(uart_, kInterruptId);
            in8(uart_, kData);
        }
    });
    for (int i = 0; i < 2000; ++i) {
        line_.send("m");
        line_.set_room(FakeCharBackend::kUnlimited);
        clock_.advance(1us);
    }
    guest.join();
    EXPECT_EQ(line_.output().size(), 2000u);
}

}  // namespace
}  // namespace halcyon
