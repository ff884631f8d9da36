// What a new or reset vCPU of the mshv backend is told to be.
#include <cerrno>

#include "tests/accel/mshv_fixture.h"

namespace halcyon::testing_support {
namespace {

using namespace mshv;

class MshvReset : public MshvTest {
protected:
    LapicState lapic(uint32_t vp = 0) {
        LapicState state;
        std::memcpy(&state, driver.state(VpStateType::kLapic, vp).data(), sizeof(state));
        return state;
    }
    [[nodiscard]] bool was_set(RegisterName name, uint32_t vp = 0) {
        const auto names = driver.take_set_registers(vp);
        return std::find(names.begin(), names.end(), name) != names.end();
    }
};

TEST_F(MshvReset, TheFirstLocalApicLetsTheIntrAndNmiLinesThrough) {
    start({.vcpu_count = 2});
    EXPECT_EQ(lapic(0).lvt_lint0, 0x700u);
    EXPECT_EQ(lapic(0).lvt_lint1, 0x400u);
    EXPECT_EQ(lapic(1).lvt_lint0, 0x10000u);
    EXPECT_EQ(lapic(1).lvt_lint1, 0x400u);
}

TEST_F(MshvReset, TheRestOfTheLocalApicIsAsAfterPowerOn) {
    start({.vcpu_count = 2});
    LapicState used = lapic(1);
    used.spurious_vector = 0x1ff;
    used.isr[2] = 4;
    used.initial_count = 1000;
    std::memcpy(driver.state(VpStateType::kLapic, 1).data(), &used, sizeof(used));
    driver.state(VpStateType::kLapic, 1)[0x200] = std::byte{0};
    ASSERT_TRUE(vcpu(1).reset());
    const LapicState after = lapic(1);
    EXPECT_EQ(after.apic_id, 1u);
    EXPECT_EQ(after.version, 0x50014u);
    EXPECT_EQ(after.spurious_vector, 0xffu);
    EXPECT_EQ(after.destination_format, 0xffffffffu);
    EXPECT_EQ(after.isr[2], 0u);
    EXPECT_EQ(after.initial_count, 0u);
    EXPECT_EQ(after.lvt_timer, 0x10000u);
    EXPECT_EQ(after.lvt_error, 0x10000u);
    EXPECT_EQ(driver.state(VpStateType::kLapic, 1)[0x200], std::byte{0x77})
        << "what no manual names is the hypervisor's";
}

TEST_F(MshvReset, TheXsaveStateIsThatOfTheNewProcessor) {
    start();
    driver.state(VpStateType::kXsave)[7] = std::byte{0xee};
    driver.set_reg(RegisterName::kXfem, 7);
    ASSERT_TRUE(vcpu().reset());
    EXPECT_EQ(driver.state(VpStateType::kXsave)[7], std::byte{0x55});
    EXPECT_EQ(driver.reg(RegisterName::kXfem).low, 1u);
}

TEST_F(MshvReset, AllButTheFirstWaitForAStartupIpi) {
    start({.vcpu_count = 2});
    driver.set_reg(RegisterName::kInternalActivityState, kActivityHaltSuspend, 0);
    driver.set_reg(RegisterName::kInternalActivityState, 0, 1);
    ASSERT_TRUE(vcpu(0).reset());
    ASSERT_TRUE(vcpu(1).reset());
    EXPECT_EQ(driver.reg(RegisterName::kInternalActivityState, 0).low, 0u);
    EXPECT_EQ(driver.reg(RegisterName::kInternalActivityState, 1).low, kActivityStartupSuspend);
    EXPECT_EQ(driver.reg(RegisterName::kApicBase, 0).low, 0xfee00900u);
    EXPECT_EQ(driver.reg(RegisterName::kApicBase, 1).low, 0xfee00800u);
}

TEST_F(MshvReset, WithoutLocalApicsAllRun) {
    start({.vcpu_count = 2, .local_apic = false});
    EXPECT_EQ(driver.reg(RegisterName::kInternalActivityState, 1).low, 0u);
    ASSERT_TRUE(vcpu(1).reset());
    EXPECT_FALSE(was_set(RegisterName::kApicBase, 1));
}

TEST_F(MshvReset, PendingEventsAreForgotten) {
    start();
    for (const RegisterName name :
         {RegisterName::kPendingInterruption, RegisterName::kPendingEvent0,
          RegisterName::kPendingEvent1, RegisterName::kInterruptState,
          RegisterName::kDeliverabilityNotifications}) {
        driver.set_reg(name, 1);
    }
    driver.page()->interrupt_vector_count = 3;
    driver.page()->dirty = kDirtyGpr;
    ASSERT_TRUE(vcpu().reset());
    for (const RegisterName name :
         {RegisterName::kPendingInterruption, RegisterName::kPendingEvent0,
          RegisterName::kPendingEvent1, RegisterName::kInterruptState,
          RegisterName::kDeliverabilityNotifications}) {
        EXPECT_EQ(driver.reg(name).low, 0u) << static_cast<uint32_t>(name);
    }
    EXPECT_EQ(driver.page()->interrupt_vector_count, 0);
    EXPECT_EQ(driver.page()->dirty, 0u);
}

TEST_F(MshvReset, AWindowThatWasAskedForIsAskedForAgain) {
    start();
    partition().set_extint(true);
    vcpu().clear_stop();
    run_to_kick({});
    ASSERT_TRUE(vcpu().reset());
    run_to_kick({});
    EXPECT_EQ(driver.reg(RegisterName::kDeliverabilityNotifications).low, kNotifyInterrupt);
}

TEST_F(MshvReset, MemoryTypesAreWriteBack) {
    start();
    driver.set_reg(RegisterName::kMtrrDefType, 0xc00);
    driver.set_reg(RegisterName{0x80010 + 7}, 6);  // the eighth variable range, the last of 8
    driver.set_reg(RegisterName{0x8007a}, 0x0606060606060606);
    ASSERT_TRUE(vcpu().reset());
    EXPECT_EQ(driver.reg(RegisterName::kMtrrDefType).low, 0x806u);
    EXPECT_EQ(driver.reg(RegisterName{0x80017}).low, 0u);
    EXPECT_EQ(driver.reg(RegisterName{0x8007a}).low, 0u);
    EXPECT_FALSE(was_set(RegisterName{0x80018})) << "this processor has eight ranges";
}

TEST_F(MshvReset, WithoutVariableRangesNoneAreWritten) {
    driver.missing_registers = {RegisterName::kMtrrCap};
    start();
    ASSERT_TRUE(vcpu().reset());
    EXPECT_FALSE(was_set(RegisterName::kMtrrPhysBase0));
}

TEST_F(MshvReset, RegistersThatThisHostDoesNotHaveAreNotMissed) {
    driver.missing_registers = {RegisterName::kSpecCtrl, RegisterName::kXss, RegisterName::kTscAux};
    start();
    driver.set_reg(RegisterName::kMtrrDefType, 0);
    EXPECT_TRUE(vcpu().reset());
    EXPECT_EQ(driver.reg(RegisterName::kMtrrDefType).low, 0x806u);
}

TEST_F(MshvReset, ThePartitionsRegistersAreTheFirstVcpus) {
    start({.vcpu_count = 2});
    driver.set_reg(RegisterName::kHypercall, 0x1001);
    ASSERT_TRUE(vcpu(1).reset());
    EXPECT_FALSE(was_set(RegisterName::kHypercall, 1));
    ASSERT_TRUE(vcpu(0).reset());
    EXPECT_EQ(driver.reg(RegisterName::kHypercall).low, 0u);
}

TEST_F(MshvReset, TheTscStartsAnewOnlyWhileTimeStands) {
    start();
    run_to_kick({});
    driver.set_reg(RegisterName::kTsc, 12345);
    ASSERT_TRUE(vcpu().reset());
    EXPECT_EQ(driver.reg(RegisterName::kTsc).low, 12345u);
    ASSERT_TRUE(partition().set_time_frozen(true));
    ASSERT_TRUE(vcpu().reset());
    EXPECT_EQ(driver.reg(RegisterName::kTsc).low, 0u);
}

TEST_F(MshvReset, EdxIsTheSignatureAndTheRestIsAsAfterPowerOn) {
    start();
    ASSERT_TRUE(vcpu().reset());
    VcpuRegisters expected = reset_registers();
    expected.gpr[kRdx] = 0x806f8;
    const auto registers = vcpu().registers();
    ASSERT_TRUE(registers);
    EXPECT_TRUE(*registers == expected);
}

TEST_F(MshvReset, WhatEveryHypervisorHasMustBeThere) {
    start();
    for (const RegisterName name : {RegisterName::kDr7, RegisterName::kApicBase, RegisterName::kRip,
                                    RegisterName::kInternalActivityState}) {
        driver.missing_registers = {name};
        EXPECT_FALSE(vcpu().reset()) << static_cast<uint32_t>(name);
    }
}

TEST_F(MshvReset, AStateThatCannotBeSetIsAnError) {
    start();
    driver.ioctl_faults = {{kIoctlSetVpState, -EIO}};
    EXPECT_NE(vcpu().reset().error().message().find("XSAVE"), std::string::npos);
    driver.xsave_size = 100;
    EXPECT_FALSE(MshvAccelerator("/dev/none", driver).create_partition({.vcpu_count = 0}));
}

TEST_F(MshvReset, AStateThatCannotBeReadFailsTheCreation) {
    auto made = MshvAccelerator("/dev/mshv", driver).create_partition({});
    ASSERT_TRUE(made);
    TestIo other;
    driver.ioctl_faults = {{kIoctlGetVpState, -EIO}};
    const auto vcpu = (*made)->create_vcpu(VcpuIndex(0), other);
    ASSERT_FALSE(vcpu);
    EXPECT_NE(vcpu.error().message().find("XSAVE"), std::string::npos);
}

}  // namespace
}  // namespace halcyon::testing_support
