#include "daemon/service/service_manager.h"

#include <cerrno>

#include <gtest/gtest.h>

#include "base/types.h"

namespace halcyon {
namespace {

MachineConfig config_of(uint32_t vcpus, uint64_t ram) {
    MachineConfig config;
    config.vcpu_count = vcpus;
    config.ram_size = ram;
    return config;
}

TEST(ServiceStatus, DescribesTheMachine) {
    EXPECT_EQ(describe_machine(config_of(4, 512_MiB), "kvm"), ", 4 vCPUs, kvm, 512 MiB");
    EXPECT_EQ(describe_machine(config_of(1, 16_MiB), "soft"), ", 1 vCPU, soft, 16 MiB");
}

TEST(ServiceStatus, MemoryThatIsNoWholeNumberOfMebibytesIsInKibibytes) {
    EXPECT_EQ(describe_machine(config_of(2, 1_MiB + 4_KiB), "kvm"), ", 2 vCPUs, kvm, 1028 KiB");
}

TEST(ServiceStatus, ABoardOfNothingIsNoMachine) {
    MachineConfig config;
    config.board = BoardKind::kNone;
    EXPECT_EQ(describe_machine(config, ""), ", no machine");
}

TEST(ServiceErrno, IsTheErrorsOwnWhereItHasOne) {
    EXPECT_EQ(errno_of(Error::from_errno("cannot open it", EACCES)), EACCES);
}

TEST(ServiceErrno, IsOtherwiseOneOfItsKind) {
    EXPECT_EQ(errno_of(Error("x", ErrorCode::kInvalidArgument)), EINVAL);
    EXPECT_EQ(errno_of(Error("x", ErrorCode::kUnsupported)), EOPNOTSUPP);
    EXPECT_EQ(errno_of(Error("x", ErrorCode::kNotFound)), ENOENT);
    EXPECT_EQ(errno_of(Error("x", ErrorCode::kNotActive)), EBUSY);
    EXPECT_EQ(errno_of(Error("x")), EIO);
}

}  // namespace
}  // namespace halcyon
