// Hypercalls through the driver: what is repeated, what goes on where, and when it is enough.
#include <array>
#include <cerrno>

#include "accel/mshv/mshv_registers.h"
#include "base/unique_fd.h"
#include "tests/accel/fake_mshv.h"

namespace halcyon::testing_support {
namespace {

using namespace mshv;

constexpr auto kGet = HypercallCode::kGetVpRegisters;
constexpr auto kSet = HypercallCode::kSetVpRegisters;

/// A VP, made by hand.
class MshvHypercall : public ::testing::Test {
protected:
    void SetUp() override {
        device_.reset(driver.open("/dev/mshv"));
        CreatePartition create{.flags = kPartitionLapic, .isolation = 0};
        partition_.reset(driver.ioctl(device_.get(), kIoctlCreatePartition, &create));
        ASSERT_EQ(driver.ioctl(partition_.get(), kIoctlInitializePartition, nullptr), 0);
        CreateVp index{.vp_index = 0};
        vp_.reset(driver.ioctl(partition_.get(), kIoctlCreateVp, &index));
        registers_.emplace(driver, vp_.get(), 0);
    }
    [[nodiscard]] VpRegisters& registers() { return *registers_; }
    [[nodiscard]] int vp_fd() const { return vp_.get(); }
    [[nodiscard]] int partition_fd() const { return partition_.get(); }

    static RegisterName gpr(unsigned index) { return nth(RegisterName::kRax, index); }
    static std::array<RegisterAssociation, 4> four() {
        return {assign(gpr(0), 1), assign(gpr(1), 2), assign(gpr(2), 3), assign(gpr(3), 4)};
    }

    FakeMshv driver;

private:
    UniqueFd device_, partition_, vp_;
    std::optional<VpRegisters> registers_;
};

TEST_F(MshvHypercall, WhatWasSetIsGot) {
    ASSERT_TRUE(registers().set(four()));
    EXPECT_EQ(registers().get(gpr(2))->low, 3u);
    EXPECT_EQ(driver.take_calls(kSet), 1u);
    EXPECT_EQ(registers().port().counters().calls.load(), 2u);
    EXPECT_EQ(registers().port().counters().repeated.load(), 0u);
}

TEST_F(MshvHypercall, EagainAndEintrAreRepeatedWithAStatusOfZero) {
    driver.faults = {{kSet, EAGAIN, HvStatus::kInsufficientMemory},
                     {kSet, EINTR},
                     {kSet, EAGAIN, HvStatus::kInsufficientMemory}};
    ASSERT_TRUE(registers().set(four()));
    EXPECT_EQ(driver.take_calls(kSet), 4u);
    EXPECT_EQ(registers().port().counters().repeated.load(), 3u);
}

TEST_F(MshvHypercall, AListThatWasSetInPartGoesOnBehindThatPart) {
    driver.faults = {{kSet, EAGAIN, HvStatus::kInsufficientMemory, 3}};
    ASSERT_TRUE(registers().set(four()));
    EXPECT_EQ(driver.take_set_registers(), (std::vector{gpr(0), gpr(1), gpr(2), gpr(3)}));
    EXPECT_EQ(driver.reg(gpr(3)).low, 4u);
}

TEST_F(MshvHypercall, AFailureThatTheHypervisorDidNotSeeCountsNothingAsDone) {
    // The count of elements is then still the one that was put in.
    driver.faults = {{kSet, EINTR}};
    ASSERT_TRUE(registers().set(four()));
    EXPECT_EQ(driver.take_set_registers(), (std::vector{gpr(0), gpr(1), gpr(2), gpr(3)}));
}

TEST_F(MshvHypercall, AListThatWasGotInPartBeginsAgain) {
    // New drivers copy an output only on success.
    ASSERT_TRUE(registers().set(four()));
    driver.faults = {{kGet, EAGAIN, HvStatus::kInsufficientMemory, 2}};
    const RegisterName names[] = {gpr(0), gpr(1), gpr(2), gpr(3)};
    std::array<RegisterValue, 4> values{};
    ASSERT_TRUE(registers().get(names, values));
    for (size_t i = 0; i < values.size(); ++i) {
        EXPECT_EQ(values[i].low, i + 1);
    }
}

TEST_F(MshvHypercall, ASuccessThatDidOnlyAPartGoesOnBehindIt) {
    ASSERT_TRUE(registers().set(four()));
    driver.faults = {{kGet, 0, HvStatus::kSuccess, 2}};
    const RegisterName names[] = {gpr(0), gpr(1), gpr(2), gpr(3)};
    std::array<RegisterValue, 4> values{};
    ASSERT_TRUE(registers().get(names, values));
    EXPECT_EQ(values[0].low, 1u);
    EXPECT_EQ(values[3].low, 4u);
    EXPECT_EQ(driver.take_calls(kGet), 2u);
}

TEST_F(MshvHypercall, ASuccessThatDidNothingIsAFailure) {
    driver.faults = {{kSet, 0, HvStatus::kSuccess, 0}};
    EXPECT_FALSE(registers().set(four()));
}

TEST_F(MshvHypercall, EagainForEverIsAFailureInTheEnd) {
    driver.faults.assign(kMaxAttempts, {kSet, EAGAIN, HvStatus::kInsufficientMemory});
    const auto set = registers().set(four());
    ASSERT_FALSE(set);
    EXPECT_EQ(set.error().errno_value(), EAGAIN);
}

TEST_F(MshvHypercall, EagainForEverWithoutAListIsAFailureInTheEnd) {
    driver.faults.assign(kMaxAttempts, {HypercallCode::kGetPartitionProperty, EAGAIN});
    HypercallPort port(driver, partition_fd());
    const auto got = port.property(PartitionProperty::kXsaveStates);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().errno_value(), EAGAIN);
}

TEST_F(MshvHypercall, ACallWithoutAListIsRepeatedToo) {
    driver.faults = {{HypercallCode::kGetPartitionProperty, EAGAIN, HvStatus::kInsufficientMemory},
                     {HypercallCode::kGetPartitionProperty, EINTR}};
    HypercallPort port(driver, partition_fd());
    EXPECT_EQ(*port.property(PartitionProperty::kPhysicalAddressWidth), 46u);
}

TEST_F(MshvHypercall, ARefusalNamesTheCallAndTheStatus) {
    driver.missing_registers = {gpr(1)};
    const auto set = registers().set(four());
    ASSERT_FALSE(set);
    EXPECT_NE(set.error().message().find("SET_VP_REGISTERS (status 5)"), std::string::npos)
        << set.error().message();
    EXPECT_EQ(set.error().errno_value(), EINVAL);
}

TEST_F(MshvHypercall, ARefusedListTellsHowFarItCame) {
    driver.missing_registers = {gpr(2)};
    const auto list = four();
    VpRegistersInput header{};
    const auto outcome = registers().port().try_call(
        kSet, HypercallPort::List{.header = std::as_bytes(std::span(&header, 1)),
                                  .input = std::as_bytes(std::span(list)),
                                  .input_element = sizeof(list[0])});
    EXPECT_EQ(outcome.error, EINVAL);
    EXPECT_EQ(outcome.status, HvStatus::kInvalidParameter);
    EXPECT_EQ(outcome.done, 2u);
}

TEST_F(MshvHypercall, OfAvailableRegistersTheOthersArePassedOver) {
    driver.missing_registers = {gpr(0), gpr(2)};
    registers().set_available(four());
    EXPECT_EQ(driver.reg(gpr(1)).low, 2u);
    EXPECT_EQ(driver.reg(gpr(3)).low, 4u);
}

TEST_F(MshvHypercall, EachRegisterThatIsNotAvailableIsTwoCalls) {
    driver.missing_registers = {gpr(1), gpr(3)};
    registers().set_available(four());
    EXPECT_EQ(driver.take_calls(kSet), 4u);
    EXPECT_EQ(driver.reg(gpr(2)).low, 3u);
}

TEST_F(MshvHypercall, ARefusalThatDoesNotSayWhereLeavesNothingOut) {
    driver.faults = {{kSet, EINVAL, HvStatus::kInvalidParameter, 0}};
    registers().set_available(four());
    for (unsigned i = 0; i < 4; ++i) {
        EXPECT_EQ(driver.reg(gpr(i)).low, i + 1);
    }
}

TEST_F(MshvHypercall, AllAvailableRegistersAreOneCall) {
    registers().set_available(four());
    EXPECT_EQ(driver.take_calls(kSet), 1u);
}

TEST_F(MshvHypercall, ListsLongerThanAPageAreCut) {
    constexpr unsigned kCount = 300;
    std::vector<RegisterAssociation> list;
    std::vector<RegisterName> names;
    for (unsigned i = 0; i < kCount; ++i) {
        names.push_back(nth(RegisterName::kSint0, i));
        list.push_back(assign(names.back(), i + 1));
    }
    ASSERT_TRUE(registers().set(list));
    EXPECT_EQ(driver.take_calls(kSet), 3u);  // 127 of 32 bytes fit behind the header
    std::vector<RegisterValue> values(kCount);
    ASSERT_TRUE(registers().get(names, values));
    EXPECT_EQ(driver.take_calls(kGet), 2u);  // 256 values of 16 bytes
    for (unsigned i = 0; i < kCount; ++i) {
        ASSERT_EQ(values[i].low, i + 1);
    }
}

TEST_F(MshvHypercall, OrdinaryIoctlsAreRepeatedAsWell) {
    driver.ioctl_faults = {{kIoctlGetVpState, -EINTR}, {kIoctlGetVpState, -EAGAIN}};
    auto page = Mapping::anonymous(kHvPageSize, "page");
    GetSetVpState argument{};
    argument.type = VpStateType::kLapic;
    argument.buffer_size = kHvPageSize;
    argument.buffer_pointer = reinterpret_cast<uint64_t>(page->data());
    EXPECT_TRUE(call_driver(driver, vp_fd(), kIoctlGetVpState, "GET", &argument));
    EXPECT_TRUE(driver.ioctl_faults.empty());
}

TEST_F(MshvHypercall, OrdinaryIoctlsNameThemselvesWhenTheyFail) {
    driver.ioctl_faults = {{kIoctlGetVpState, -EIO}};
    const auto failed = call_driver(driver, vp_fd(), kIoctlGetVpState, "MSHV_GET_VP_STATE");
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().errno_value(), EIO);
    EXPECT_EQ(failed.error().message().find("MSHV_GET_VP_STATE: "), 0u);
}

TEST_F(MshvHypercall, EveryCodeHasItsName) {
    EXPECT_STREQ(to_string(HypercallCode::kInstallIntercept), "INSTALL_INTERCEPT");
    EXPECT_STREQ(to_string(HypercallCode::kTranslateVirtualAddress), "TRANSLATE_VIRTUAL_ADDRESS");
    EXPECT_STREQ(to_string(HypercallCode::kClearVirtualInterrupt), "CLEAR_VIRTUAL_INTERRUPT");
    EXPECT_STREQ(to_string(HypercallCode::kAssertVirtualInterrupt), "ASSERT_VIRTUAL_INTERRUPT");
    EXPECT_STREQ(to_string(HypercallCode{0x7777}), "?");
}

}  // namespace
}  // namespace halcyon::testing_support
