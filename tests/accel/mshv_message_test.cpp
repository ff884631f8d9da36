// The mshv backend's answer to each type of message but port accesses and memory intercepts.
#include <cerrno>

#include "tests/accel/mshv_fixture.h"

namespace halcyon::testing_support {
namespace {

using namespace mshv;

class MshvMessage : public MshvTest {
protected:
    static FakeMshv::Step halt(uint64_t rflags = 0x202) {
        InterceptHeader header = intercept_header(InterceptAccess::kExecute, 1);
        header.rip = kCode + 1;
        header.rflags = rflags;
        return message_step(MessageType::kX64Halt, header);
    }
    static FakeMshv::Step deliverable(InterruptionType type = InterruptionType::kInterrupt) {
        InterruptionDeliverable message{};
        message.header = intercept_header(InterceptAccess::kExecute, 0);
        message.type = static_cast<uint32_t>(type);
        return message_step(MessageType::kX64InterruptionDeliverable, message);
    }
    [[nodiscard]] uint64_t notifications() {
        return driver.reg(RegisterName::kDeliverabilityNotifications).low;
    }
    /// Fails the next SET_VP_REGISTERS, in the middle of a run.
    FakeMshv::Step and_then_no_registers(FakeMshv::Step step) {
        return [this, step = std::move(step)](Message& message) {
            driver.faults = {{HypercallCode::kSetVpRegisters, EIO, HvStatus::kOperationFailed}};
            return step(message);
        };
    }
};

// ---- what ends a run ----

TEST_F(MshvMessage, AnUnrecoverableExceptionIsATripleFault) {
    start();
    const auto step = message_step(MessageType::kUnrecoverableException,
                                   intercept_header(InterceptAccess::kExecute, 0));
    EXPECT_EQ(run({step}).stop, RunStop::kTripleFault);
}

TEST_F(MshvMessage, AnInvalidStateIsAFaultWithItsRegisters) {
    start();
    const std::string text =
        run_to_fault({message_step(MessageType::kInvalidVpRegisterValue, VpMessage{})});
    EXPECT_NE(text.find("cannot run this state"), std::string::npos);
    EXPECT_NE(text.find("rip 0x1000 cs 0x8"), std::string::npos) << text;
}

TEST_F(MshvMessage, AnUnsupportedFeatureIsAFaultWithItsCode) {
    start();
    const std::string text =
        run_to_fault({message_step(MessageType::kUnsupportedFeature,
                                   UnsupportedFeature{.vp_index = 0, .code = 2, .parameter = 77})});
    EXPECT_NE(text.find("code 2, parameter 77"), std::string::npos) << text;
}

TEST_F(MshvMessage, WhatWasNotAskedForOrIsUnknownIsAFaultWithItsType) {
    start();
    for (const uint32_t type :
         {0x00000000U, 0x80000003U, 0x80000004U, 0x80000010U, 0x8000003fU, 0x80000050U, 0x80000060U,
          0x80000061U, 0x80000062U, 0x80000070U, 0x80000100U, 0x80000101U, 0x80010009U, 0x80010013U,
          0x80019999U, 0x12345678U}) {
        char name[16];
        std::snprintf(name, sizeof(name), "0x%08x", type);
        const std::string text =
            run_to_fault({message_step(MessageType{type}, HypercallIntercept{})});
        EXPECT_NE(text.find(std::string("type ") + name), std::string::npos) << text;
    }
}

TEST_F(MshvMessage, NewsWithoutAnInstructionIsPassedOver) {
    start();
    run_to_kick({message_step(MessageType::kX64LegacyFpError, VpMessage{}),
                 message_step(MessageType::kX64IommuPrq, VpMessage{})});
    EXPECT_EQ(register_hypercalls(), 0u);
}

TEST_F(MshvMessage, MessagesThatAreTooShortAreFaults) {
    start();
    for (const MessageType type :
         {MessageType::kUnmappedGpa, MessageType::kGpaIntercept, MessageType::kX64Halt,
          MessageType::kX64ApicEoi, MessageType::kX64InterruptionDeliverable,
          MessageType::kX64MsrIntercept, MessageType::kX64CpuidIntercept,
          MessageType::kX64ExceptionIntercept, MessageType::kUnsupportedFeature}) {
        const std::string text = run_to_fault({message_step(type, uint32_t{0})});
        EXPECT_NE(text.find("with only 4 bytes"), std::string::npos) << text;
    }
}

// ---- HLT ----

TEST_F(MshvMessage, WithoutLocalApicAHaltEndsTheRun) {
    start({.local_apic = false});
    EXPECT_EQ(run({halt()}).stop, RunStop::kHalted);
    EXPECT_EQ(register_hypercalls(), 0u) << "the instruction pointer is behind the HLT already";
    EXPECT_EQ(vcpu().counters()->halt_exits.value(), 1u);
}

TEST_F(MshvMessage, WithoutLocalApicAHaltWithAnInterruptToTakeDoesNot) {
    start({.local_apic = false});
    run_to_kick({[&](Message& message) {
        partition().set_extint(true);
        return halt()(message);
    }});
    EXPECT_EQ(notifications(), kNotifyInterrupt);
}

TEST_F(MshvMessage, WithoutLocalApicAHaltThatMasksInterruptsEndsTheRunInAnyCase) {
    start({.local_apic = false});
    EXPECT_EQ(run({[&](Message& message) {
                  partition().set_extint(true);
                  return halt(2)(message);
              }}).stop,
              RunStop::kHalted);
}

TEST_F(MshvMessage, WithLocalApicAHaltGoesBackIntoTheHypervisorToWait) {
    start();
    run_to_kick({halt(2), halt(), halt()});
    EXPECT_EQ(driver.reg(RegisterName::kInternalActivityState).low, kActivityHaltSuspend);
}

TEST_F(MshvMessage, AHaltThatCannotBeSentBackIsAFault) {
    start();
    run_to_fault({and_then_no_registers(halt())});
}

// ---- the 8259 ----

TEST_F(MshvMessage, AnExtintAsksForAWindowOnceAndIsAcknowledgedInIt) {
    start();
    int acknowledged = 0;
    io().on_acknowledge = [&]() -> std::optional<uint8_t> {
        ++acknowledged;
        partition().set_extint(false);
        return 0x48;
    };
    driver.set_reg(RegisterName::kInternalActivityState, kActivityHaltSuspend);
    partition().set_extint(true);
    vcpu().clear_stop();  // the kick of the news
    const auto port = message_step(MessageType::kX64IoPortIntercept,
                                   port_access(InterceptAccess::kWrite, 0x80, 1, 0));
    run_to_kick({[&](Message& message) {
                     EXPECT_EQ(notifications(), kNotifyInterrupt);
                     EXPECT_EQ(acknowledged, 0);
                     EXPECT_EQ(register_hypercalls(), 1u);
                     return port(message);
                 },
                 [&](Message& message) {
                     EXPECT_EQ(register_hypercalls(), 0u) << "it was asked for already";
                     return deliverable()(message);
                 },
                 [&](Message&) {
                     EXPECT_EQ(acknowledged, 1);
                     EXPECT_EQ(register_hypercalls(), 1u);
                     EXPECT_EQ(driver.reg(RegisterName::kPendingEvent0).low, 0x480bu);
                     EXPECT_EQ(driver.reg(RegisterName::kInternalActivityState).low, 0u)
                         << "the interrupt ends a halt";
                     EXPECT_EQ(notifications(), 0u);
                     return -EINTR;
                 }});
    EXPECT_EQ(vcpu().counters()->interrupt_exits.value(), 1u);
}

TEST_F(MshvMessage, AnExtintThatGoesIsNotInjected) {
    start();
    partition().set_extint(true);
    vcpu().clear_stop();
    run_to_kick({[&](Message& message) {
        partition().set_extint(false);
        return deliverable()(message);
    }});
    EXPECT_EQ(driver.reg(RegisterName::kPendingEvent0).low, 0u);
    EXPECT_EQ(notifications(), 0u);
}

TEST_F(MshvMessage, ASecondExtintAsksForTheNextWindowWithTheFirst) {
    start();
    io().on_acknowledge = [] { return std::optional<uint8_t>(0x48); };  // and stays up
    partition().set_extint(true);
    vcpu().clear_stop();
    run_to_kick({deliverable()});
    EXPECT_EQ(notifications(), kNotifyInterrupt);
}

TEST_F(MshvMessage, AnExtintFromAnotherThreadKicksVcpu0) {
    start({.vcpu_count = 2});
    vcpu().attach_thread();
    vcpu().detach_thread();
    partition().set_extint(true);
    driver.script.clear();
    EXPECT_EQ(vcpu(0).run().stop, RunStop::kKicked);
    EXPECT_EQ(notifications(), kNotifyInterrupt);
    vcpu(0).clear_stop();
}

TEST_F(MshvMessage, AnExtintRaisedByTheVcpusOwnAccessKicksNobody) {
    start();
    vcpu().attach_thread();
    io().on_write = [&](const Access&) { partition().set_extint(true); };
    run_to_kick({message_step(MessageType::kX64IoPortIntercept,
                              port_access(InterceptAccess::kWrite, 0x20, 1, 0)),
                 [&](Message&) {
                     EXPECT_EQ(notifications(), kNotifyInterrupt);
                     return -EINTR;
                 }});
    vcpu().detach_thread();
}

TEST_F(MshvMessage, AWindowThatCannotBeAskedForIsAFault) {
    start();
    partition().set_extint(true);
    vcpu().clear_stop();
    driver.faults = {{HypercallCode::kSetVpRegisters, EIO, HvStatus::kOperationFailed}};
    run_to_fault({});
}

TEST_F(MshvMessage, AnExtintThatCannotBeInjectedIsAFault) {
    start();
    partition().set_extint(true);
    vcpu().clear_stop();
    run_to_fault({and_then_no_registers(deliverable())});
}

TEST_F(MshvMessage, AWindowForAnotherKindOfInterruptionIsAFault) {
    start();
    EXPECT_NE(run_to_fault({deliverable(InterruptionType::kNmi)}).find("type 2"),
              std::string::npos);
}

TEST_F(MshvMessage, TheEndOfALevelInterruptIsReported) {
    start();
    run_to_kick({message_step(MessageType::kX64ApicEoi, ApicEoi{.vp_index = 0, .vector = 0x51})});
    EXPECT_EQ(io().ended_interrupts(), std::vector<uint8_t>{0x51});
    EXPECT_EQ(register_hypercalls(), 0u);
}

// ---- instructions that were intercepted ----

TEST_F(MshvMessage, AnMsrThatIsReadIsZero) {
    start();
    set_gpr(kRax, 5);
    set_gpr(kRdx, 6);
    MsrIntercept message{};
    message.header = intercept_header(InterceptAccess::kRead, 2);
    run_to_kick({message_step(MessageType::kX64MsrIntercept, message)});
    EXPECT_EQ(gpr(kRax), 0u);
    EXPECT_EQ(gpr(kRdx), 0u);
    EXPECT_EQ(rip(), kCode + 2u);
}

TEST_F(MshvMessage, AnMsrThatIsWrittenIsPassedOver) {
    start();
    set_gpr(kRax, 5);
    MsrIntercept message{};
    message.header = intercept_header(InterceptAccess::kWrite, 2);
    run_to_kick({message_step(MessageType::kX64MsrIntercept, message)});
    EXPECT_EQ(gpr(kRax), 5u);
    EXPECT_EQ(rip(), kCode + 2u);
}

CpuidIntercept cpuid_message() {
    CpuidIntercept message{};
    message.header = intercept_header(InterceptAccess::kExecute, 2);
    message.default_rax = 0xa00000001;
    message.default_rcx = 2;
    message.default_rdx = 3;
    message.default_rbx = 4;
    return message;
}

TEST_F(MshvMessage, ACpuidIsAnsweredAsTheHypervisorWould) {
    start();
    run_to_kick({message_step(MessageType::kX64CpuidIntercept, cpuid_message())});
    EXPECT_EQ(gpr(kRax), 1u);
    EXPECT_EQ(gpr(kRcx), 2u);
    EXPECT_EQ(gpr(kRdx), 3u);
    EXPECT_EQ(gpr(kRbx), 4u);
    EXPECT_EQ(rip(), kCode + 2u);
}

TEST_F(MshvMessage, AnInstructionWithoutItsLengthIsAFaultAndNoLoop) {
    start();
    MsrIntercept msr{};
    msr.header = intercept_header(InterceptAccess::kRead, 0);
    CpuidIntercept cpuid = cpuid_message();
    cpuid.header.length_and_cr8 = 0;
    EXPECT_NE(run_to_fault({message_step(MessageType::kX64MsrIntercept, msr)}).find("length"),
              std::string::npos);
    EXPECT_NE(run_to_fault({message_step(MessageType::kX64CpuidIntercept, cpuid)}).find("length"),
              std::string::npos);
}

ExceptionIntercept exception_message(uint16_t vector, uint8_t info) {
    ExceptionIntercept message{};
    message.header = intercept_header(InterceptAccess::kExecute, 1);
    message.vector = vector;
    message.info = info;
    message.error_code = 0x12;
    message.parameter = 0xcafe;
    return message;
}

TEST_F(MshvMessage, AnExceptionIsGivenBackToTheGuest) {
    start();
    run_to_kick({message_step(MessageType::kX64ExceptionIntercept, exception_message(14, 1))});
    const RegisterValue event = driver.reg(RegisterName::kPendingEvent0);
    EXPECT_EQ(event.low, 0x12'000e'0101u);
    EXPECT_EQ(event.high, 0xcafeu);
    EXPECT_EQ(rip(), kCode);
}

TEST_F(MshvMessage, ASoftwareExceptionIsGivenBackWithItsLength) {
    start();
    run_to_kick({message_step(MessageType::kX64ExceptionIntercept, exception_message(3, 2))});
    // Pending, type 6, instruction length 1, vector 3.
    EXPECT_EQ(driver.reg(RegisterName::kPendingInterruption).low,
              0x3'0000u | 1u << 5 | 6u << 1 | 1);
}

TEST_F(MshvMessage, AnswersThatTheHypervisorRefusesAreFaults) {
    start();
    MsrIntercept msr{};
    msr.header = intercept_header(InterceptAccess::kRead, 2);
    run_to_fault({and_then_no_registers(message_step(MessageType::kX64MsrIntercept, msr))});
    run_to_fault(
        {and_then_no_registers(message_step(MessageType::kX64CpuidIntercept, cpuid_message()))});
    run_to_fault({and_then_no_registers(
        message_step(MessageType::kX64ExceptionIntercept, exception_message(14, 1)))});
}

}  // namespace
}  // namespace halcyon::testing_support
