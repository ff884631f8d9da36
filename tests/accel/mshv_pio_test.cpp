// The mshv backend's run loop and its answers to port accesses: how many hypercalls they cost,
// where registers are, and what a signal does.
#include <cerrno>

#include "tests/accel/mshv_fixture.h"

namespace halcyon::testing_support {
namespace {

using namespace mshv;

constexpr auto kIo = MessageType::kX64IoPortIntercept;
constexpr auto kRead = InterceptAccess::kRead;
constexpr auto kWrite = InterceptAccess::kWrite;

class MshvPio : public MshvTest {
protected:
    static FakeMshv::Step out(unsigned size, uint64_t rax) {
        return message_step(kIo, port_access(kWrite, 0x80, size, rax));
    }
    static FakeMshv::Step in(unsigned size, uint64_t rax) {
        return message_step(kIo, port_access(kRead, 0x71, size, rax));
    }
};

TEST_F(MshvPio, AnOutWithTheRegisterPageCostsNoHypercall) {
    start();
    size_t hypercalls = 0;
    const auto count = [&](Message& message) {
        hypercalls += register_hypercalls();
        return out(1, 0x1234)(message);
    };
    const uint64_t before = vcpu().hypercalls().calls.load();
    run_to_kick({out(1, 0x1234), count, count, count, [&](Message&) {
                     hypercalls += register_hypercalls();
                     EXPECT_EQ(vcpu().hypercalls().calls.load(), before);
                     return -EINTR;
                 }});
    EXPECT_EQ(hypercalls, 0u);
    EXPECT_EQ(io().accesses(), std::vector<Access>(4, {AccessKind::kPioWrite, 0x80, 1, 0x34}));
    EXPECT_EQ(vcpu().counters()->pio_exits.value(), 4u);
    EXPECT_EQ(vcpu().counters()->entries.value(), 6u);
}

TEST_F(MshvPio, AnInWithTheRegisterPageCostsNoHypercall) {
    start();
    io().on_read = [](const Access&) { return 0x5a; };
    const uint64_t before = vcpu().hypercalls().calls.load();
    run_to_kick({in(1, 0x1100), [&](Message&) {
                     EXPECT_EQ(vcpu().hypercalls().calls.load(), before);
                     // Taken over at this entry.
                     EXPECT_EQ(gpr(kRax), 0x115au);
                     EXPECT_EQ(rip(), kCode + 2u);
                     return -EINTR;
                 }});
}

TEST_F(MshvPio, WithoutAPageOrWithAnInvalidOneEachAccessIsOneHypercall) {
    for (const bool page : {false, true}) {
        SCOPED_TRACE(page ? "invalid" : "none");
        driver.register_page = page;
        driver.page_valid = false;
        start();
        io().on_read = [](const Access&) { return 0x5a; };
        run_to_kick({in(1, 0x1100),
                     [&](Message& message) {
                         EXPECT_EQ(register_hypercalls(), 1u);
                         EXPECT_EQ(gpr(kRax), 0x115au);
                         EXPECT_EQ(rip(), kCode + 2u);
                         return out(2, 0xaabb)(message);
                     },
                     [&](Message&) {
                         EXPECT_EQ(register_hypercalls(), 1u);
                         EXPECT_EQ(gpr(kRax), 0x115au) << "an OUT changes no register";
                         return -EINTR;
                     }});
    }
}

TEST_F(MshvPio, AnInReplacesWhatItsWidthDoes) {
    start();
    io().on_read = [](const Access&) { return 0x8899aabb; };
    constexpr uint64_t kBefore = 0x1122334455667788;
    run_to_kick({in(1, kBefore),
                 [&](Message& message) {
                     EXPECT_EQ(gpr(kRax), 0x11223344556677bbu);
                     return in(2, kBefore)(message);
                 },
                 [&](Message& message) {
                     EXPECT_EQ(gpr(kRax), 0x112233445566aabbu);
                     return in(4, kBefore)(message);
                 },
                 [&](Message&) {
                     EXPECT_EQ(gpr(kRax), 0x8899aabbu);
                     return -EINTR;
                 }});
}

TEST_F(MshvPio, TheOtherRegistersOnThePageStayAsTheyAre) {
    start();
    set_gpr(kRbx, 0xb0b);
    set_gpr(kR15, 0xf15);
    run_to_kick({in(4, 0)});
    EXPECT_EQ(gpr(kRbx), 0xb0bu);
    EXPECT_EQ(gpr(kR15), 0xf15u);
}

TEST_F(MshvPio, WhatAKickFindsOnThePageIsPutIntoTheHypervisor) {
    start();
    io().on_read = [&](const Access&) {
        vcpu().set_stop();
        return 0x5a;
    };
    run_to_kick({in(1, 0)});
    EXPECT_EQ(gpr(kRax), 0x5au);
    EXPECT_EQ(rip(), kCode + 2u);
    EXPECT_EQ(driver.page()->dirty, 0u) << "it would be taken over once more";
    const auto registers = vcpu().registers();
    ASSERT_TRUE(registers);
    EXPECT_EQ(registers->gpr[kRax], 0x5au);
    EXPECT_EQ(registers->rip, kCode + 2u);
}

TEST_F(MshvPio, RegistersThatAreSetAfterAKickAreNotOverwrittenByThePage) {
    start();
    io().on_read = [&](const Access&) {
        vcpu().set_stop();
        return 0x5a;
    };
    run_to_kick({in(1, 0)});
    VcpuRegisters registers = protected_mode_registers(0x4000);
    registers.gpr[kRax] = 7;
    guest().set_registers(registers);
    run_to_kick({[&](Message&) {
        EXPECT_EQ(gpr(kRax), 7u);
        EXPECT_EQ(rip(), 0x4000u);
        return -EINTR;
    }});
}

TEST_F(MshvPio, AnAnswerThatTheSignalKeptFromBeingTakenOverIsNotLost) {
    start();
    io().on_read = [](const Access&) { return 0x5a; };
    run_to_kick({in(1, 0), [&](Message&) {
                     // A driver that saw the signal before the hypervisor saw the page.
                     driver.page()->gpr[kRax] = 0x5a;
                     driver.page()->rip = kCode + 2;
                     driver.page()->dirty = kDirtyGpr | kDirtyRip;
                     driver.set_reg(RegisterName::kRip, kCode);
                     vcpu().set_stop();
                     return -EINTR;
                 }});
    EXPECT_EQ(gpr(kRax), 0x5au);
    EXPECT_EQ(rip(), kCode + 2u);
}

TEST_F(MshvPio, AFailureToPutThePagesRegistersIntoTheHypervisorIsAFault) {
    start();
    io().on_read = [&](const Access&) {
        vcpu().set_stop();
        return 0x5a;
    };
    driver.faults = {{HypercallCode::kSetVpRegisters, EIO, HvStatus::kOperationFailed}};
    EXPECT_NE(run_to_fault({in(1, 0)}).find("SET_VP_REGISTERS"), std::string::npos);
}

TEST_F(MshvPio, AFailureToAnswerByHypercallIsAFault) {
    driver.register_page = false;
    start();
    driver.faults = {{HypercallCode::kSetVpRegisters, EIO, HvStatus::kInvalidVpState}};
    EXPECT_NE(run_to_fault({out(1, 0)}).find("status 21"), std::string::npos);
}

TEST_F(MshvPio, AMessageThatComesWithAStopIsHandledFirst) {
    start();
    run_to_kick({[&](Message& message) {
        vcpu().set_stop();
        return out(1, 0x42)(message);
    }});
    EXPECT_EQ(io().accesses().size(), 1u);
    EXPECT_EQ(rip(), kCode + 2u);
}

TEST_F(MshvPio, ASignalWithoutAStopIsNoReasonToLeave) {
    start();
    const auto stray = [](Message&) { return -EINTR; };
    const auto historic = [](Message&) { return -EAGAIN; };
    run_to_kick({stray, historic, stray, out(1, 1)});
    EXPECT_EQ(io().accesses().size(), 1u);
    EXPECT_EQ(vcpu().counters()->interrupted.value(), 4u);
}

TEST_F(MshvPio, ARefusedEntryIsTriedAgainUnlessAStopIsWanted) {
    start();
    run_to_kick({[](Message&) { return kRunEntryAborted; }, out(1, 1)});
    EXPECT_EQ(io().accesses().size(), 1u);
    EXPECT_EQ(vcpu().counters()->aborted_entries.value(), 1u);
}

TEST_F(MshvPio, EveryOtherErrorIsAFaultThatNamesIt) {
    start();
    for (const int error : {EFAULT, EIO, EINVAL, EBADFD}) {
        const std::string text = run_to_fault({[&](Message&) { return -error; }});
        EXPECT_NE(text.find("vCPU 0: MSHV_RUN_VP: "), std::string::npos) << text;
        EXPECT_NE(text.find("rip 0x1000"), std::string::npos) << text;
    }
}

TEST_F(MshvPio, InstructionPointersWrapAsTheModeHasIt) {
    start();
    auto message = port_access(kWrite, 0x80, 1, 0);
    message.header.rip = 0xffffffff;
    run_to_kick({message_step(kIo, message)});
    EXPECT_EQ(rip(), 1u);
    message.header.execution_state |= kExecutionEferLma;
    message.header.cs.attributes = 0xa09b;
    run_to_kick({message_step(kIo, message)});
    EXPECT_EQ(rip(), 0x100000001u);
    message.header.cs.attributes = 0xc09b;  // compatibility mode
    run_to_kick({message_step(kIo, message)});
    EXPECT_EQ(rip(), 1u);
}

TEST_F(MshvPio, AnAccessInTheShadowOfStiEndsTheShadow) {
    for (const bool page : {true, false}) {
        SCOPED_TRACE(page);
        driver.register_page = page;
        start();
        driver.set_reg(RegisterName::kInterruptState, kInterruptShadow | kNmiMasked);
        auto message = port_access(kWrite, 0x80, 1, 0);
        message.header.execution_state |= kExecutionInterruptShadow;
        run_to_kick({message_step(kIo, message)});
        EXPECT_EQ(driver.reg(RegisterName::kInterruptState).low, kNmiMasked);
        EXPECT_EQ(rip(), kCode + 2u);
    }
}

TEST_F(MshvPio, AFailureToEndTheShadowIsAFault) {
    start();
    auto message = port_access(kWrite, 0x80, 1, 0);
    message.header.execution_state |= kExecutionInterruptShadow;
    driver.faults = {{HypercallCode::kSetVpRegisters, EIO, HvStatus::kOperationFailed}};
    run_to_fault({message_step(kIo, message)});
}

TEST_F(MshvPio, AnAccessThatIsSingleSteppedIsFollowedByItsTrap) {
    for (const bool page : {true, false}) {
        SCOPED_TRACE(page);
        driver.register_page = page;
        start();
        driver.set_reg(RegisterName::kDr6, 0xffff0ff0);
        auto message = port_access(kWrite, 0x80, 1, 0);
        message.header.rflags |= 0x100;
        run_to_kick({message_step(kIo, message)});
        EXPECT_EQ(driver.reg(RegisterName::kPendingEvent0).low,
                  pending_exception(1, false, 0, 0).low);
        EXPECT_EQ(driver.reg(RegisterName::kDr6).low, 0xffff4ff0u);
        EXPECT_EQ(rip(), kCode + 2u);
    }
}

TEST_F(MshvPio, ATrapThatCannotBeRaisedIsAFault) {
    start();
    auto message = port_access(kWrite, 0x80, 1, 0);
    message.header.rflags |= 0x100;
    driver.faults = {{HypercallCode::kSetVpRegisters, EIO, HvStatus::kOperationFailed}};
    run_to_fault({message_step(kIo, message)});
}

/// `code` at kCode, as an access by string or of a width that no port has.
IoPortIntercept string_access(InterceptAccess access, uint16_t port, unsigned size, bool rep,
                              const Code& code) {
    auto message = port_access(access, port, size, 0);
    message.access_info = static_cast<uint8_t>(size | 8U | (rep ? 16U : 0));
    message.header.length_and_cr8 = static_cast<uint8_t>(code.size());
    message.instruction_byte_count = static_cast<uint8_t>(code.size());
    std::copy(code.begin(), code.end(), message.instruction_bytes);
    return message;
}

TEST_F(MshvPio, AStringAccessIsCarriedOutByTheExecutor) {
    for (const bool page : {true, false}) {
        SCOPED_TRACE(page);
        driver.register_page = page;
        start();
        guest().write<uint32_t>(kData, 0x44332211);
        set_gpr(kRsi, kData);
        set_gpr(kRcx, 4);
        set_gpr(kRdx, 0x99);
        run_to_kick({message_step(kIo, string_access(kWrite, 0x99, 1, true, {0xf3, 0x6e}))});
        ASSERT_EQ(io().accesses().size(), 4u);
        EXPECT_EQ(io().accesses()[3], (Access{AccessKind::kPioWrite, 0x99, 1, 0x44}));
        EXPECT_EQ(gpr(kRcx), 0u);
        EXPECT_EQ(gpr(kRsi), kData + 4u);
        EXPECT_EQ(rip(), kCode + 2u);
        EXPECT_EQ(vcpu().counters()->pio_exits.value(), 1u);
    }
}

TEST_F(MshvPio, AStringAccessWithoutItsBytesFetchesThem) {
    start();
    guest().load(kCode, {0x6c});  // insb
    set_gpr(kRdi, kData);
    set_gpr(kRdx, 0x99);
    io().on_read = [](const Access&) { return 0x77; };
    run_to_kick({message_step(kIo, string_access(kRead, 0x99, 1, false, {}))});
    EXPECT_EQ(guest().read<uint8_t>(kData), 0x77);
    EXPECT_EQ(rip(), kCode + 1u);
}

TEST_F(MshvPio, APlainAccessWithoutItsLengthDoesNotStandStill) {
    start();
    guest().load(kCode, {0xe6, 0x80});  // out 0x80, al
    auto message = port_access(kWrite, 0x80, 1, 0);
    message.header.length_and_cr8 = 0;
    const RunOutcome outcome = run({message_step(kIo, message)});
    EXPECT_TRUE(outcome.stop == RunStop::kFault || rip() == kCode + 2u);
}

TEST_F(MshvPio, AMessageThatIsTooShortIsAFault) {
    start();
    EXPECT_NE(run_to_fault({[](Message& message) {
                  fill_message(message, kIo, port_access(kWrite, 0x80, 1, 0));
                  message.payload_size = sizeof(IoPortIntercept) - 1;
                  return 0;
              }}).find("with only 127 bytes"),
              std::string::npos);
    EXPECT_TRUE(io().accesses().empty());
}

}  // namespace
}  // namespace halcyon::testing_support
