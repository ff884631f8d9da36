/// The device node, and what can be done with it alone.
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <cstdlib>
#include <functional>
#include <string>

#include "tests/mshv-emulator/abi_fixture.h"

namespace halcyon::mshv {
namespace {

using AbiDeviceTest = AbiTest;

TEST_F(AbiDeviceTest, GenerationIsThatOfTheOptions) {
    const char* options = getenv("MSHV_EMULATOR");
    if (options == nullptr) {
        GTEST_SKIP() << "not the emulator";
    }
    EXPECT_EQ(is_old(), std::string(options).find("kernel=old") != std::string::npos);
}

TEST_F(AbiDeviceTest, IsACharacterDevice) {
    struct stat status {};
    ASSERT_EQ(stat("/dev/mshv", &status), 0);
    EXPECT_EQ(status.st_mode, S_IFCHR | 0600U);
    EXPECT_EQ(major(status.st_rdev), 10U);
    ASSERT_EQ(lstat("/dev/mshv", &status), 0);
    EXPECT_TRUE(S_ISCHR(status.st_mode));
    ASSERT_EQ(fstatat(AT_FDCWD, "/dev/mshv", &status, AT_SYMLINK_NOFOLLOW), 0);
    EXPECT_TRUE(S_ISCHR(status.st_mode));
    struct statx more {};
    ASSERT_EQ(statx(AT_FDCWD, "/dev/mshv", 0, STATX_BASIC_STATS, &more), 0);
    EXPECT_EQ(more.stx_mode, S_IFCHR | 0600U);
}

TEST_F(AbiDeviceTest, MayBeReadAndWritten) {
    EXPECT_EQ(access("/dev/mshv", F_OK), 0);
    EXPECT_EQ(access("/dev/mshv", R_OK | W_OK), 0);
    EXPECT_EQ(faccessat(AT_FDCWD, "/dev/mshv", R_OK | W_OK, AT_EACCESS), 0);
    EXPECT_EQ(access("/dev/mshv", X_OK), -1);
    EXPECT_EQ(errno, EACCES);
}

TEST_F(AbiDeviceTest, OtherFilesAreAsTheyAre) {
    EXPECT_EQ(access("/dev/mshv2", F_OK), -1);
    EXPECT_EQ(errno, ENOENT);
    EXPECT_EQ(open("/dev/mshv/x", O_RDWR | O_CLOEXEC), -1);
    struct stat status {};
    ASSERT_EQ(stat("/dev/null", &status), 0);
    EXPECT_EQ(minor(status.st_rdev), 3U);
}

class AbiOpenTest : public AbiTest {
protected:
    /// Whether `open_it` gives a device.
    static void expect_device(const std::function<long()>& open_it) {
        const auto fd = static_cast<int>(open_it());
        ASSERT_GE(fd, 0) << std::strerror(errno);
        EXPECT_EQ(call(fd, kIoctlCreatePartition, nullptr), -EFAULT);
        close(fd);
    }
};

TEST_F(AbiOpenTest, EachFunctionOpensIt) {
    expect_device([] { return open("/dev/mshv", O_RDWR | O_CLOEXEC); });
    expect_device([] { return open64("/dev/mshv", O_RDWR | O_CLOEXEC); });
    expect_device([] { return openat(AT_FDCWD, "/dev/mshv", O_RDWR | O_CLOEXEC); });
    expect_device([] { return openat64(AT_FDCWD, "/dev/mshv", O_RDWR | O_CLOEXEC); });
    expect_device([] { return syscall(SYS_open, "/dev/mshv", O_RDWR | O_CLOEXEC); });
    expect_device([] { return syscall(SYS_openat, AT_FDCWD, "/dev/mshv", O_RDWR | O_CLOEXEC); });
    const uint64_t how[3] = {O_RDWR | O_CLOEXEC, 0, 0};
    expect_device([&] { return syscall(SYS_openat2, AT_FDCWD, "/dev/mshv", how, sizeof(how)); });
}

TEST_F(AbiOpenTest, EachSpellingOpensIt) {
    expect_device([] { return open("//dev/mshv", O_RDWR | O_CLOEXEC); });
    expect_device([] { return open("/dev/../dev/./mshv", O_RDWR | O_CLOEXEC); });
    const int directory = open("/dev", O_DIRECTORY | O_CLOEXEC);
    expect_device([=] { return openat(directory, "mshv", O_RDWR | O_CLOEXEC); });
    expect_device([=] { return openat(directory, "../dev/mshv", O_RDWR | O_CLOEXEC); });
    EXPECT_EQ(openat(directory, "shm/mshv", O_RDWR | O_CLOEXEC), -1);
    close(directory);
}

TEST_F(AbiOpenTest, ForReadingAloneIsEnough) {
    expect_device([] { return open("/dev/mshv", O_RDONLY | O_CLOEXEC); });
}

/// open or openat by a `syscall` instruction of the program's own.
long bare_syscall(long number, long a, long b, long c) {
    long result = 0;
    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(number), "D"(a), "S"(b), "d"(c)
                 : "rcx", "r11", "memory");
    errno = static_cast<int>(-result);
    return result;
}

TEST_F(AbiOpenTest, BareSystemCallOpensIt) {
    const char* options = getenv("MSHV_EMULATOR");
    if (options != nullptr && std::string(options).find("trap-open=on") == std::string::npos) {
        GTEST_SKIP() << "the emulator without --trap-open";
    }
    const auto path = reinterpret_cast<long>("/dev/mshv");
    expect_device([=] { return bare_syscall(SYS_open, path, O_RDWR | O_CLOEXEC, 0); });
    expect_device([=] { return bare_syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC); });
    EXPECT_EQ(bare_syscall(SYS_open, reinterpret_cast<long>("/dev/mshv2"), O_RDWR, 0), -ENOENT);
    EXPECT_EQ(bare_syscall(SYS_open, 1, O_RDWR, 0), -EFAULT);
    const long null = bare_syscall(SYS_open, reinterpret_cast<long>("/dev/null"), O_RDWR, 0);
    EXPECT_GE(null, 0);
    close(static_cast<int>(null));
}

TEST_F(AbiOpenTest, CloseOnExecIsTheProgramsChoice) {
    const int fd = open("/dev/mshv", O_RDWR);
    EXPECT_EQ(fcntl(fd, F_GETFD), 0);
    close(fd);
    EXPECT_EQ(fcntl(device, F_GETFD), FD_CLOEXEC);
}

TEST_F(AbiOpenTest, ItIsThereAndNoDirectory) {
    EXPECT_EQ(open("/dev/mshv", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), -1);
    EXPECT_EQ(errno, EEXIST);
    EXPECT_EQ(open("/dev/mshv", O_RDONLY | O_DIRECTORY | O_CLOEXEC), -1);
    EXPECT_EQ(errno, ENOTDIR);
}

TEST_F(AbiDeviceTest, UnknownIoctlsAreEnotty) {
    EXPECT_EQ(call(device, _IO(kIoctlMagic, 0x42)), -ENOTTY);
    EXPECT_EQ(call(device, kIoctlCreateVp), -ENOTTY);
    EXPECT_EQ(call(device, _IOW(kIoctlMagic, 0x00, uint64_t)), -ENOTTY);     // another size
    EXPECT_EQ(call(device, _IOR(kIoctlMagic, 0x00, uint8_t[16])), -ENOTTY);  // another direction
}

TEST_F(AbiDeviceTest, CannotBeMapped) {
    EXPECT_EQ(mmap(nullptr, kHvPageSize, PROT_READ, MAP_SHARED, device, 0), MAP_FAILED);
    EXPECT_EQ(errno, ENODEV);
}

// ---- CREATE_PARTITION --------------------------------------------------------------------------

class AbiCreateTest : public AbiTest {
protected:
    [[nodiscard]] long create_long(const CreatePartitionV2& argument) const {
        const long result = call(device, kIoctlCreatePartition, &argument);
        if (result >= 0) {
            close(static_cast<int>(result));
        }
        return result;
    }
    /// The long form is the new driver's.
    void expect_long(const CreatePartitionV2& argument, long expected) const {
        EXPECT_EQ(create_long(argument), is_old() ? -EINVAL : expected);
    }
    static CreatePartitionV2 long_form() {
        CreatePartitionV2 result{};
        result.flags = kPartitionLapic | kPartitionCpuAndXsaveFeatures;
        result.cpu_feature_bank_count = kCpuFeatureBanks;
        return result;
    }
};

TEST_F(AbiCreateTest, GivesACloseOnExecDescriptor) {
    make_partition();
    EXPECT_EQ(fcntl(partition, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(partition, F_GETFL) & O_ACCMODE, O_RDWR);
}

TEST_F(AbiCreateTest, GivesTheLowestFreeDescriptor) {
    const int lowest = dup(device);
    close(lowest);
    make_partition();
    EXPECT_EQ(partition, lowest);
}

TEST_F(AbiCreateTest, TakesTheFlagsOfAllDrivers) {
    for (const uint64_t flags :
         {uint64_t{0}, uint64_t{kPartitionLapic}, uint64_t{kPartitionLapic | kPartitionX2apic},
          uint64_t{kPartitionLapic | kPartitionGpaSuperPages}}) {
        const long fd = create_partition(flags);
        EXPECT_GE(fd, 0) << "flags " << flags;
        close(static_cast<int>(fd));
    }
}

TEST_F(AbiCreateTest, ArgumentThatIsNotThereIsEfault) {
    EXPECT_EQ(call(device, kIoctlCreatePartition, nullptr), -EFAULT);
    const Pages nothing(1, PROT_NONE);
    EXPECT_EQ(call(device, kIoctlCreatePartition, nothing.bytes()), -EFAULT);
}

TEST_F(AbiCreateTest, UnknownFlagsAreEinval) {
    EXPECT_EQ(create_partition(uint64_t{1} << 6), -EINVAL);
    EXPECT_EQ(create_partition(uint64_t{1} << 63), -EINVAL);
}

TEST_F(AbiCreateTest, IsolationIsEinval) {
    const CreatePartition argument{.flags = kPartitionLapic, .isolation = 1};
    EXPECT_EQ(call(device, kIoctlCreatePartition, &argument), -EINVAL);
}

TEST_F(AbiCreateTest, LongFormIsTaken) {
    const long result = create_long(long_form());
    EXPECT_TRUE(is_old() ? result == -EINVAL : result >= 0) << result;
}

TEST_F(AbiCreateTest, LongFormMustBeThere) {
    const Pages page(2);
    mprotect(page.bytes() + kHvPageSize, kHvPageSize, PROT_NONE);
    // The short form's 16 bytes are before the hole.
    auto* end = page.bytes() + kHvPageSize - sizeof(CreatePartition);
    const CreatePartitionV2 argument = long_form();
    std::memcpy(end, &argument, sizeof(CreatePartition));
    EXPECT_EQ(call(device, kIoctlCreatePartition, end), is_old() ? -EINVAL : -EFAULT);
}

TEST_F(AbiCreateTest, LongFormsBanksMustBeTwo) {
    for (const uint16_t count : {0, 1, 3}) {
        CreatePartitionV2 argument = long_form();
        argument.cpu_feature_bank_count = count;
        expect_long(argument, -EINVAL);
    }
}

TEST_F(AbiCreateTest, LongFormsReservedMustBeZero) {
    CreatePartitionV2 argument = long_form();
    argument.reserved[5] = 1;
    expect_long(argument, -EINVAL);
    argument = long_form();
    argument.reserved1[1] = 1;
    expect_long(argument, -EINVAL);
}

// ---- ROOT_HVCALL on the device -----------------------------------------------------------------

TEST_F(AbiDeviceTest, TellsTheHostsProperties) {
    GetPropertyInput input{};
    input.partition_id = kPartitionIdSelf;
    input.property = PartitionProperty::kProcessorVendor;
    uint64_t value = ~uint64_t{0};
    RootHypercall request = hypercall_of(HypercallCode::kGetPartitionProperty, input);
    request.output_pointer = reinterpret_cast<uint64_t>(&value);
    request.output_size = sizeof(value);
    const long result = hypercall(device, request);
    EXPECT_EQ(result, is_old() ? -ENOTTY : 0);
    if (!is_old()) {
        EXPECT_EQ(request.status, 0);
        EXPECT_LE(value, 2U);
    }
}

TEST_F(AbiDeviceTest, TakesNoOtherHypercalls) {
    for (const HypercallCode code :
         {HypercallCode::kSetPartitionProperty, HypercallCode::kGetVpRegisters,
          HypercallCode::kAssertVirtualInterrupt}) {
        uint64_t input[4] = {kPartitionIdSelf, 0, 0, 0};
        RootHypercall request = hypercall_of(code, input);
        EXPECT_EQ(hypercall(device, request), is_old() ? -ENOTTY : -EINVAL);
    }
}

}  // namespace
}  // namespace halcyon::mshv
