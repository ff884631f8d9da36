// What probing says on hosts without /dev/mshv, with something else under its name, and with
// drivers of both kernel generations. The ABI's own numbers are checked at compile time, in
// accel/mshv/.
#include <cerrno>
#include <string>

#include <gtest/gtest.h>

#include "accel/mshv/mshv_abi.h"
#include "accel/mshv/mshv_accelerator.h"
#include "accel/mshv/mshv_hypercalls.h"

namespace halcyon {
namespace {

// A file that opens for reading and writing anywhere, and has no ioctls of interest.
constexpr const char* kSomeDevice = "/dev/null";

int fail_with(int errno_value) {
    errno = errno_value;
    return -1;
}

std::string probe_message(const MshvAccelerator& accelerator) {
    const Result<void> result = accelerator.probe();
    return result ? "success" : result.error().message();
}

testing::AssertionResult contains(const std::string& text, const std::string& part) {
    if (text.find(part) != std::string::npos && text.find('\n') == std::string::npos) {
        return testing::AssertionSuccess();
    }
    return testing::AssertionFailure() << '"' << text << "\" is no single line with " << part;
}

int no_ioctl_expected(int /*fd*/, unsigned long request, void* /*argument*/) {
    ADD_FAILURE() << "ioctl " << request;
    return fail_with(ENOTTY);
}

int foreign_device(int /*fd*/, unsigned long /*request*/, void* /*argument*/) {
    return fail_with(ENOTTY);
}

// A driver that takes hypercalls on the device; checks what it is asked as the driver does.
int new_driver(int /*fd*/, unsigned long request, void* argument) {
    if (request != mshv::kIoctlRootHypercall) {
        return fail_with(ENOTTY);
    }
    const auto* call = static_cast<const mshv::RootHypercall*>(argument);
    const auto* input = reinterpret_cast<const mshv::GetPropertyInput*>(call->input_pointer);
    if (call->status != 0 || call->input_size < 8 || call->input_size > mshv::kHvPageSize ||
        call->output_size == 0 || call->output_size > mshv::kHvPageSize || input == nullptr ||
        input->partition_id != mshv::kPartitionIdSelf ||
        call->code != static_cast<uint16_t>(mshv::HypercallCode::kGetPartitionProperty)) {
        return fail_with(EINVAL);
    }
    *reinterpret_cast<uint64_t*>(call->output_pointer) = 46;
    return 0;
}

// A driver that takes none there, and refuses flags it does not know.
int old_driver(int /*fd*/, unsigned long request, void* argument) {
    if (request != mshv::kIoctlCreatePartition) {
        return fail_with(ENOTTY);
    }
    const auto* create = static_cast<const mshv::CreatePartition*>(argument);
    EXPECT_GE(create->flags, mshv::kPartitionSmtEnabledGuest << 1U)
        << "would create a real partition";
    return fail_with(EINVAL);
}

int refusing_hypervisor(int /*fd*/, unsigned long request, void* argument) {
    if (request == mshv::kIoctlRootHypercall) {
        static_cast<mshv::RootHypercall*>(argument)->status =
            static_cast<uint16_t>(mshv::HvStatus::kAccessDenied);
    }
    return fail_with(EIO);
}

TEST(MshvProbe, AbsentDeviceNamesTheRootPartitionAndTheDriver) {
    const MshvAccelerator accelerator("/nonexistent/mshv", no_ioctl_expected);
    const std::string message = probe_message(accelerator);
    EXPECT_TRUE(contains(message, "/nonexistent/mshv does not exist"));
    EXPECT_TRUE(contains(message, "root partition"));
    EXPECT_TRUE(contains(message, "CONFIG_MSHV_ROOT"));
}

TEST(MshvProbe, AbsentDeviceIsUnsupported) {
    const MshvAccelerator accelerator("/nonexistent/mshv", no_ioctl_expected);
    const Result<void> result = accelerator.probe();
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
    const MshvAccelerator accelerator(kSomeDevice, foreign_device);
    EXPECT_TRUE(contains(probe_message(accelerator), "/dev/null is not the device of the mshv"));
}

TEST(MshvProbe, DriverWithDeviceHypercallsIsRecognised) {
    const MshvAccelerator accelerator(kSomeDevice, new_driver);
    EXPECT_TRUE(contains(probe_message(accelerator), "does not run guests on mshv"));
}

TEST(MshvProbe, DriverWithoutDeviceHypercallsIsRecognised) {
    const MshvAccelerator accelerator(kSomeDevice, old_driver);
    EXPECT_TRUE(contains(probe_message(accelerator), "does not run guests on mshv"));
}

TEST(MshvProbe, RefusalOfTheHypervisorShowsItsStatus) {
    const MshvAccelerator accelerator(kSomeDevice, refusing_hypervisor);
    EXPECT_TRUE(contains(probe_message(accelerator), "status 6"));
}

TEST(MshvProbe, CreatingAPartitionFailsWithTheReasonOfTheProbe) {
    const MshvAccelerator accelerator(kSomeDevice, new_driver);
    const auto partition = accelerator.create_partition(PartitionConfig{});
    ASSERT_FALSE(partition);
    EXPECT_EQ(partition.error().message(), probe_message(accelerator));
}

TEST(MshvProbe, DefaultIsTheRealDevice) {
    const MshvAccelerator accelerator;
    EXPECT_EQ(accelerator.name(), "mshv");
    EXPECT_TRUE(contains(probe_message(accelerator), "/dev/mshv"));
}

}  // namespace
}  // namespace halcyon
