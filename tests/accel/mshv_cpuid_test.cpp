// What a vCPU of the mshv backend shows by CPUID.
#include "accel/mshv/mshv_cpuid.h"

#include <cerrno>

#include "tests/accel/mshv_fixture.h"

namespace halcyon::testing_support {
namespace {

using namespace mshv;

class MshvCpuid : public MshvTest {
protected:
    /// The override of a leaf that the hypervisor was told for a VP; null without.
    const RegisterCpuidResultInput* told(uint32_t leaf, uint32_t subleaf = 0, uint32_t vp = 0) {
        for (const RegisterCpuidResultInput& one : driver.cpuid_results) {
            if (one.eax == leaf && one.ecx == subleaf && one.vp_index == vp) {
                return &one;
            }
        }
        return nullptr;
    }
    /// What the guest sees of a register, where it is overridden.
    static uint32_t value(const RegisterCpuidResultInput* one, size_t index) {
        EXPECT_NE(one, nullptr);
        return one == nullptr ? 0 : one->result[index].value & one->result[index].mask;
    }
    static uint32_t mask(const RegisterCpuidResultInput* one, size_t index) {
        EXPECT_NE(one, nullptr);
        return one == nullptr ? 0 : one->result[index].mask;
    }
    enum { kEax, kEbx, kEcx, kEdx };
};

TEST_F(MshvCpuid, EachVcpuHasItsApicIdAndTheNumberOfItsFellows) {
    start({.vcpu_count = 3});
    for (const uint32_t vp : {0U, 1U, 2U}) {
        EXPECT_EQ(value(told(1, 0, vp), kEbx), vp << 24 | 4u << 16);
        EXPECT_EQ(mask(told(1, 0, vp), kEbx), 0xffff0000u);
        EXPECT_EQ(value(told(1, 0, vp), kEdx), 1u << 28);  // HTT
        EXPECT_EQ(value(told(0xb, 0, vp), kEdx), vp);
    }
}

TEST_F(MshvCpuid, OneVcpuIsNoMultiprocessor) {
    start();
    EXPECT_EQ(value(told(1), kEdx), 0u);
    EXPECT_EQ(mask(told(1), kEdx), 1u << 28);
    EXPECT_EQ(value(told(0xb, 1), kEbx), 1u);
}

TEST_F(MshvCpuid, TheTopologyLeavesHaveThreadsCoresAndAnEnd) {
    start({.vcpu_count = 3});
    for (const uint32_t leaf : {0xbU, 0x1fU}) {
        EXPECT_EQ(value(told(leaf, 0), kEax), 0u);
        EXPECT_EQ(value(told(leaf, 0), kEcx), 0x100u);
        EXPECT_EQ(value(told(leaf, 1), kEax), 2u);
        EXPECT_EQ(value(told(leaf, 1), kEbx), 3u);
        EXPECT_EQ(value(told(leaf, 1), kEcx), 0x201u);
        EXPECT_EQ(value(told(leaf, 2), kEcx), 2u);
        EXPECT_EQ(told(leaf, 1)->subleaf_specific, 1);
        EXPECT_EQ(told(leaf, 1)->always_override, 1);
    }
}

TEST_F(MshvCpuid, CachesOfTheThirdLevelAreShared) {
    start({.vcpu_count = 3});
    for (const uint32_t cache : {0U, 1U, 2U}) {
        EXPECT_EQ(value(told(4, cache), kEax), 3u << 26) << cache;
    }
    EXPECT_EQ(value(told(4, 3), kEax), 3u << 26 | 3u << 14);
    EXPECT_EQ(mask(told(4, 3), kEax), 0xfcu << 24 | 0xfffu << 14);
    EXPECT_EQ(told(4, 4), nullptr);
}

TEST_F(MshvCpuid, NestedVirtualizationAndWideStoresAreHidden) {
    start();
    EXPECT_EQ(mask(told(1), kEcx), 1u << 5);
    EXPECT_EQ(value(told(1), kEcx), 0u);
    EXPECT_EQ(mask(told(7), kEcx), 7u << 27);
    EXPECT_EQ(value(told(7), kEcx), 0u);
    EXPECT_EQ(told(7)->subleaf_specific, 1);
}

TEST_F(MshvCpuid, WithoutLocalApicItsFeaturesAreHidden) {
    start({.local_apic = false});
    EXPECT_EQ(mask(told(1), kEcx), 1u << 5 | 1u << 21 | 1u << 24);
    EXPECT_EQ(mask(told(1), kEdx), 1u << 9 | 1u << 28);
    EXPECT_EQ(value(told(1), kEdx), 0u);
}

TEST_F(MshvCpuid, AmdSaysTheSameInItsOwnLeaves) {
    driver.intel = false;
    start({.vcpu_count = 3});
    EXPECT_EQ(told(4), nullptr);
    EXPECT_EQ(value(told(0x80000001), kEcx), 2u);
    EXPECT_EQ(mask(told(0x80000001), kEcx), 6u);
    EXPECT_EQ(value(told(0x80000008), kEcx), 2u << 12 | 2u);
    EXPECT_EQ(value(told(0x8000001d, 3), kEax), 3u << 14);
    EXPECT_EQ(value(told(0x8000001e, 0, 2), kEax), 2u);
}

TEST_F(MshvCpuid, AmdWithoutLocalApicHidesItThereToo) {
    driver.intel = false;
    start({.local_apic = false});
    EXPECT_EQ(mask(told(0x80000001), kEdx), 1u << 9);
    EXPECT_EQ(mask(told(0x80000001), kEcx), 6u | 8u);
}

TEST_F(MshvCpuid, OldProcessorsGetNoLeavesThatTheyDoNotHave) {
    const CpuidSource old = [](uint32_t leaf, uint32_t) -> Result<CpuidValues> {
        return leaf == 0 ? CpuidValues{.eax = 2, .ebx = 0x756e6547, .ecx = 0, .edx = 0}
                         : CpuidValues{};
    };
    const auto overrides = cpuid_overrides(old, {}, VcpuIndex(0));
    ASSERT_TRUE(overrides);
    ASSERT_EQ(overrides->size(), 1u);
    EXPECT_EQ(overrides->front().leaf, 1u);
}

TEST_F(MshvCpuid, AHypervisorWhoseCachesDoNotEndIsTakenAtItsFirstSixteen) {
    const CpuidSource endless = [](uint32_t leaf, uint32_t) -> Result<CpuidValues> {
        return leaf == 0 ? CpuidValues{.eax = 4, .ebx = 0x756e6547, .ecx = 0, .edx = 0}
                         : CpuidValues{.eax = 0x21, .ebx = 0, .ecx = 0, .edx = 0};
    };
    const auto overrides = cpuid_overrides(endless, {}, VcpuIndex(0));
    ASSERT_TRUE(overrides);
    EXPECT_EQ(overrides->size(), 17u);
}

TEST_F(MshvCpuid, AHypervisorThatRefusesFailsTheCreation) {
    for (const HypercallCode code :
         {HypercallCode::kGetVpCpuidValues, HypercallCode::kRegisterInterceptResult}) {
        auto made = MshvAccelerator("/dev/mshv", driver).create_partition({});
        ASSERT_TRUE(made);
        TestIo other;
        driver.faults = {{code, EIO, HvStatus::kAccessDenied}};
        const auto vcpu = (*made)->create_vcpu(VcpuIndex(0), other);
        ASSERT_FALSE(vcpu);
        EXPECT_NE(vcpu.error().message().find(to_string(code)), std::string::npos);
    }
}

}  // namespace
}  // namespace halcyon::testing_support
