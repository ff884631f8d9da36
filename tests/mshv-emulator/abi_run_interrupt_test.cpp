/// Interrupts of a VP that RUN_VP runs, and the start of application processors.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <initializer_list>
#include <thread>
#include <vector>

#include "tests/mshv-emulator/abi_run_fixture.h"

namespace halcyon::mshv {
namespace {

constexpr uint64_t kHandler = 0x2000;
constexpr uint8_t kReadyPort = 0x81;
constexpr uint8_t kHandlerPort = 0x90;
constexpr uint32_t kVector = 0x40;

using Code = std::vector<uint8_t>;

Code joined(std::initializer_list<Code> parts) {
    Code all;
    for (const Code& part : parts) {
        all.insert(all.end(), part.begin(), part.end());
    }
    return all;
}

/// WRMSR of a 32-bit value, in 16-bit code.
Code write_msr(uint32_t msr, uint32_t value) {
    const auto immediate = [](uint8_t opcode, uint32_t of) {
        return Code{0x66,
                    opcode,
                    static_cast<uint8_t>(of),
                    static_cast<uint8_t>(of >> 8),
                    static_cast<uint8_t>(of >> 16),
                    static_cast<uint8_t>(of >> 24)};
    };
    return joined({immediate(0xb9, msr), immediate(0xb8, value), {0x66, 0x31, 0xd2, 0x0f, 0x30}});
}

/// IA32_APIC_BASE of the bootstrap processor with x2APIC on; then its registers are MSRs (Intel SDM
/// 3A 11.12.1). The spurious-interrupt register enables it.
Code enable_x2apic() {
    return joined({write_msr(0x1b, 0xfee00d00), write_msr(0x80f, 0x1ff)});
}

Code end_of_interrupt() {
    return write_msr(0x80b, 0);
}

const Code kReady = {0xe6, kReadyPort};
const Code kInHandler = {0xe6, kHandlerPort};
const Code kWait = {0xfb, 0xf4, 0xeb, 0xfd};  // sti; hlt; jmp to the hlt
const Code kReturn = {0xcf};

class AbiRunInterruptTest : public AbiRunTest {
protected:
    void load_guest(const Code& code, const Code& handler, uint32_t vector = kVector) {
        load({});
        std::copy(code.begin(), code.end(), ram + kCode);
        std::copy(handler.begin(), handler.end(), ram + kHandler);
        const uint16_t entry[2] = {kHandler, 0};
        std::memcpy(ram + vector * sizeof(entry), entry, sizeof(entry));
    }

    IoPortIntercept expect_out(uint16_t port) {
        const auto io = expect_io();
        EXPECT_EQ(io.port, port);
        return io;
    }

    void SetUp() override {
        AbiRunTest::SetUp();
        alarm(60);  // a guest that is not woken waits for ever
    }
    void TearDown() override {
        alarm(0);
        AbiRunTest::TearDown();
    }
};

TEST_F(AbiRunInterruptTest, EdgeInterruptArrivesAndItsEndIsSilent) {
    load_guest(joined({enable_x2apic(), kReady, kWait}),
               joined({kInHandler, end_of_interrupt(), kInHandler, kReturn}));
    expect_out(kReadyPort);
    ASSERT_EQ(assert_interrupt(InterruptType::kFixed, kVector), 0);
    step_over(2);
    expect_out(kHandlerPort);
    step_over(2);
    EXPECT_GT(expect_out(kHandlerPort).header.rip, kHandler);
}

TEST_F(AbiRunInterruptTest, EndOfALevelInterruptIsAMessage) {
    load_guest(joined({enable_x2apic(), kReady, kWait}),
               joined({kInHandler, end_of_interrupt(), kReturn}));
    expect_out(kReadyPort);
    step_over(2);
    for (int i = 0; i < 3; ++i) {
        ASSERT_EQ(assert_interrupt(InterruptType::kFixed, kVector, 0, true), 0);
        expect_out(kHandlerPort);
        step_over(2);
        const auto eoi = expect<ApicEoi>(MessageType::kX64ApicEoi);
        EXPECT_EQ(eoi.vp_index, 0U);
        EXPECT_EQ(eoi.vector, kVector);
    }
}

TEST_F(AbiRunInterruptTest, InterruptWakesAHaltedProcessor) {
    load_guest(joined({enable_x2apic(), kReady, kWait}),
               joined({kInHandler, end_of_interrupt(), kReturn}));
    expect_out(kReadyPort);
    step_over(2);
    std::thread vcpu([this] { expect_out(kHandlerPort); });
    while ((get(RegisterName::kInternalActivityState).low & 2) == 0) {
        std::this_thread::yield();
    }
    ASSERT_EQ(assert_interrupt(InterruptType::kFixed, kVector), 0);
    vcpu.join();
}

TEST_F(AbiRunInterruptTest, NmiWakesAHaltedProcessor) {
    load_guest({0xf4}, kInHandler, 2);
    std::thread vcpu([this] { expect_out(kHandlerPort); });
    while ((get(RegisterName::kInternalActivityState).low & 2) == 0) {
        std::this_thread::yield();
    }
    ASSERT_EQ(assert_interrupt(InterruptType::kNmi, 0), 0);
    vcpu.join();
}

TEST_F(AbiRunInterruptTest, LocalTimerInterrupts) {
    load_guest(joined({enable_x2apic(), write_msr(0x832, kVector), write_msr(0x83e, 0xb),
                       write_msr(0x838, 100000), kWait}),
               joined({kInHandler, end_of_interrupt(), kReturn}));
    EXPECT_EQ(expect_out(kHandlerPort).header.rip, kHandler);
}

TEST_F(AbiRunInterruptTest, ApplicationProcessorStartsAtItsVector) {
    ASSERT_EQ(add_vp(1), 0);
    EXPECT_EQ(get(RegisterName::kInternalActivityState, 1).low & 1, 1U);
    const Code code = {0xe6, 0x82, 0xf4};
    std::copy(code.begin(), code.end(), ram + 0x3000);
    std::thread vcpu([this] {
        const auto io = expect<IoPortIntercept>(MessageType::kX64IoPortIntercept, 1);
        EXPECT_EQ(io.header.vp_index, 1U);
        EXPECT_EQ(io.port, 0x82);
        EXPECT_EQ(io.header.cs.base, 0x3000U);
        EXPECT_EQ(io.header.cs.selector, 0x300);
        EXPECT_EQ(io.header.rip, 0U);
    });
    EXPECT_EQ(assert_interrupt(InterruptType::kInit, 0, 1), 0);
    EXPECT_EQ(assert_interrupt(InterruptType::kSipi, 3, 1), 0);
    vcpu.join();
}

TEST_F(AbiRunInterruptTest, ExtIntIsTakenWhenTheGuestLetsIt) {
    make_partition(0);
    load_guest({0xfa, 0xe6, 0x81, 0x90, 0xe6, 0x82, 0xfb, 0x90, 0x90, 0xf4}, kInHandler);
    expect_out(0x81);
    ASSERT_EQ(assert_interrupt(InterruptType::kExtInt, kVector), 0);
    step_over(2);
    expect_out(0x82);  // still off
    step_over(2);
    expect_out(kHandlerPort);
}

TEST_F(AbiRunInterruptTest, WindowIsToldOfOnceItOpens) {
    make_partition(0);
    load_guest({0xfa, 0xe6, 0x81, 0xfb, 0x90, 0xe6, 0x82, 0xe6, 0x83}, kInHandler);
    expect_out(0x81);
    ASSERT_EQ(set(RegisterName::kDeliverabilityNotifications, 2), 0);
    ASSERT_EQ(set(RegisterName::kRip, kCode + 3), 0);
    const auto deliverable =
        expect<InterruptionDeliverable>(MessageType::kX64InterruptionDeliverable);
    EXPECT_EQ(deliverable.type, 0U);
    EXPECT_GE(deliverable.header.rip, kCode + 5);
    EXPECT_NE(deliverable.header.rflags & 0x200, 0U);
    EXPECT_EQ(get(RegisterName::kDeliverabilityNotifications).low & 2, 0U);
    expect_out(0x82);
}

TEST_F(AbiRunInterruptTest, OpenWindowIsToldOfAtOnce) {
    make_partition(0);
    load_guest({0xfb, 0x90, 0xe6, 0x81, 0xe6, 0x82}, kInHandler);
    expect_out(0x81);
    ASSERT_EQ(set(RegisterName::kDeliverabilityNotifications, 2), 0);
    expect<InterruptionDeliverable>(MessageType::kX64InterruptionDeliverable);
    expect_out(0x81);
}

TEST_F(AbiRunInterruptTest, EventThatIsLoadedIsTakenFirst) {
    load_guest({0xe6, 0x81}, kInHandler, 13);
    expect_out(0x81);
    // PENDING_EVENT0: #GP, without an error code in real mode.
    ASSERT_EQ(set(RegisterName::kPendingEvent0, uint64_t{1} | uint64_t{13} << 16), 0);
    expect_out(kHandlerPort);
    uint16_t return_address = 0;
    std::memcpy(&return_address, ram + kStack - 6, sizeof(return_address));
    EXPECT_EQ(return_address, kCode);
}

}  // namespace
}  // namespace halcyon::mshv
