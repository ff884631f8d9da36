// What probing says on hosts without /dev/mshv, with something else under its name, and with
// drivers of both kernel generations. The ABI's own numbers are checked at compile time, in
// accel/mshv/.
#include <unistd.h>

#include <cerrno>
#include <string>

#include <gtest/gtest.h>

#include "accel/mshv/mshv_accelerator.h"
#include "tests/accel/fake_mshv.h"

namespace halcyon::testing_support {
namespace {

using mshv::kIoctlCreatePartition;
using mshv::kIoctlRootHypercall;

std::string probe_message(mshv::Driver& driver) {
    const Result<void> result = MshvAccelerator("/dev/mshv", driver).probe();
    return result ? "success" : result.error().message();
}

::testing::AssertionResult contains(const std::string& text, const std::string& part) {
    if (text.find(part) != std::string::npos && text.find('\n') == std::string::npos) {
        return ::testing::AssertionSuccess();
    }
    return ::testing::AssertionFailure() << '"' << text << "\" is no single line with " << part;
}

TEST(MshvProbe, AbsentDeviceNamesTheRootPartitionAndTheDriver) {
    FakeMshv driver;
    driver.open_result = -ENOENT;
    const std::string message = probe_message(driver);
    EXPECT_TRUE(contains(message, "/dev/mshv does not exist"));
    EXPECT_TRUE(contains(message, "root partition"));
    EXPECT_TRUE(contains(message, "CONFIG_MSHV_ROOT"));
}

TEST(MshvProbe, AbsentDeviceIsUnsupported) {
    FakeMshv driver;
    driver.open_result = -ENOENT;
    const Result<void> result = MshvAccelerator("/dev/mshv", driver).probe();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code(), ErrorCode::kUnsupported);
}

TEST(MshvProbe, MissingRightsSayWhoMayOpenIt) {
    for (const int errno_value : {EACCES, EPERM}) {
        const std::string message = mshv_open_error("/dev/mshv", errno_value).message();
        EXPECT_TRUE(contains(message, "read and write access"));
        EXPECT_EQ(mshv_open_error("/dev/mshv", errno_value).errno_value(), errno_value);
    }
}

TEST(MshvProbe, NodeWithoutDriverNamesTheModule) {
    EXPECT_TRUE(contains(mshv_open_error("/dev/mshv", ENXIO).message(), "mshv_root"));
}

TEST(MshvProbe, UnusualOpenFailureKeepsItsErrno) {
    const Error error = mshv_open_error("/dev/mshv", EMFILE);
    EXPECT_TRUE(contains(error.message(), "cannot open /dev/mshv"));
    EXPECT_EQ(error.errno_value(), EMFILE);
}

TEST(MshvProbe, ForeignDeviceIsToldApart) {
    // The kernel's own answers, from a file that has no ioctls of interest.
    const MshvAccelerator accelerator("/dev/null", mshv::kernel_driver());
    const auto result = accelerator.probe();
    ASSERT_FALSE(result);
    EXPECT_TRUE(contains(result.error().message(), "/dev/null is not the device of the mshv"));
}

TEST(MshvProbe, DriverWithDeviceHypercallsIsUsable) {
    FakeMshv driver(FakeMshv::Kernel::kNew);
    EXPECT_EQ(probe_message(driver), "success");
    EXPECT_EQ(driver.take_calls(mshv::HypercallCode::kGetPartitionProperty), 1u);
}

TEST(MshvProbe, DriverWithoutDeviceHypercallsIsUsable) {
    FakeMshv driver(FakeMshv::Kernel::kOld);
    EXPECT_EQ(probe_message(driver), "success");
}

TEST(MshvProbe, NothingIsCreated) {
    for (const auto kernel : {FakeMshv::Kernel::kOld, FakeMshv::Kernel::kNew}) {
        FakeMshv driver(kernel);
        EXPECT_EQ(probe_message(driver), "success");
        EXPECT_EQ(driver.created.flags, 0u);
    }
}

TEST(MshvProbe, RefusalOfTheHypervisorShowsItsStatus) {
    FakeMshv driver;
    driver.faults.push_back({.code = mshv::HypercallCode::kGetPartitionProperty,
                             .error = EIO,
                             .status = mshv::HvStatus::kAccessDenied});
    EXPECT_TRUE(contains(probe_message(driver), "status 6"));
}

TEST(MshvProbe, DriverThatDoesNotAnswerShowsItsErrno) {
    FakeMshv driver;
    driver.faults.push_back(
        {.code = mshv::HypercallCode::kGetPartitionProperty, .error = EOPNOTSUPP});
    EXPECT_TRUE(contains(probe_message(driver), "does not answer"));
}

TEST(MshvProbe, CreatingAPartitionFailsWithTheReasonOfTheProbe) {
    FakeMshv driver;
    driver.open_result = -ENOENT;
    const auto partition = MshvAccelerator("/dev/mshv", driver).create_partition(PartitionConfig{});
    ASSERT_FALSE(partition);
    EXPECT_EQ(partition.error().message(), probe_message(driver));
}

TEST(MshvProbe, DefaultIsTheRealDevice) {
    const MshvAccelerator accelerator;
    EXPECT_EQ(accelerator.name(), "mshv");
    const auto result = accelerator.probe();
    if (::access("/dev/mshv", F_OK) == 0) {
        EXPECT_TRUE(result) << result.error().message();
    } else {
        ASSERT_FALSE(result);
        EXPECT_TRUE(contains(result.error().message(), "/dev/mshv"));
    }
}

}  // namespace
}  // namespace halcyon::testing_support
