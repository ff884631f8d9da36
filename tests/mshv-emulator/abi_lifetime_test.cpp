/// How long partitions and VPs live: descriptors, their copies, and mappings.
#include <sys/eventfd.h>

#include <utility>

#include "tests/mshv-emulator/abi_fixture.h"

namespace halcyon::mshv {
namespace {

constexpr uint64_t kDoorbell = 0xd0000000;

/// What a partition holds while it lives can be seen from outside: its guest's memory. The driver
/// gives no other sign; so these tests look at what a descriptor that is left can still do.
class AbiLifetimeTest : public AbiTest {
protected:
    void SetUp() override {
        AbiTest::SetUp();
        if (!IsSkipped()) {
            make_initialized_partition();
            vp = static_cast<int>(create_vp(0));
            ASSERT_GE(vp, 0);
        }
    }
    void TearDown() override {
        close(vp);
        AbiTest::TearDown();
    }
    void close_partition() {
        close(partition);
        partition = -1;
    }
    /// Reads RIP through a partition's or VP's descriptor: 0 or -errno.
    static long read_rip(int fd) {
        struct {
            VpRegistersInput header{};
            RegisterName name = RegisterName::kRip;
        } input;
        RegisterValue value{};
        RootHypercall request{};
        request.code = static_cast<uint16_t>(HypercallCode::kGetVpRegisters);
        request.input_size = sizeof(VpRegistersInput) + sizeof(RegisterName);
        request.input_pointer = reinterpret_cast<uint64_t>(&input);
        request.output_pointer = reinterpret_cast<uint64_t>(&value);
        request.output_size = sizeof(value);
        request.repetitions = 1;
        const long result = hypercall(fd, request);
        return result == 0 && value.low != 0xfff0 ? 1 : result;
    }
    int vp = -1;
};

TEST_F(AbiLifetimeTest, VpIndexStaysTakenAfterItsDescriptorIsClosed) {
    close(vp);
    vp = -1;
    EXPECT_EQ(create_vp(0), -EEXIST);
    EXPECT_EQ(read_rip(partition), 0);  // and the VP stays
}

TEST_F(AbiLifetimeTest, VpOutlivesThePartitionsDescriptor) {
    close_partition();
    EXPECT_EQ(read_rip(vp), 0);
}

TEST_F(AbiLifetimeTest, CopiesOfADescriptorAreEqual) {
    const int copy = dup(partition);
    close_partition();
    EXPECT_EQ(read_rip(copy), 0);
    EXPECT_EQ(call(copy, kIoctlInitializePartition), 0);
    close(copy);
}

TEST_F(AbiLifetimeTest, ClosedDescriptorsAreEbadf) {
    const int closed = partition;
    close_partition();
    EXPECT_EQ(call(closed, kIoctlInitializePartition), -EBADF);
    EXPECT_EQ(call(-1, kIoctlInitializePartition), -EBADF);
}

TEST_F(AbiLifetimeTest, ReusedNumberIsTheOtherFile) {
    const int reused = partition;
    close_partition();
    ASSERT_EQ(open("/dev/null", O_RDONLY | O_CLOEXEC), reused);
    EXPECT_EQ(call(reused, kIoctlInitializePartition), -ENOTTY);
    close(reused);
}

TEST_F(AbiLifetimeTest, RegisterPageOutlivesAllDescriptors) {
    void* page = mmap(nullptr, kHvPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, vp, 0);
    ASSERT_NE(page, MAP_FAILED) << std::strerror(errno);
    close(vp);
    vp = -1;
    close_partition();
    auto* bytes = static_cast<volatile uint8_t*>(page);
    bytes[kHvPageSize - 1] = 1;
    EXPECT_EQ(bytes[kHvPageSize - 1], 1);
    munmap(page, kHvPageSize);
}

TEST_F(AbiLifetimeTest, ManyPartitionsComeAndGo) {
    close(vp);
    vp = -1;
    close_partition();
    const int lowest = dup(device);
    close(lowest);
    for (int round = 0; round < 40; ++round) {
        make_initialized_partition();
        ASSERT_EQ(partition, lowest) << "a descriptor was left";
        vp = static_cast<int>(create_vp(0));
        ASSERT_EQ(vp, lowest + 1);
        close(vp);
        close(partition);
    }
    vp = partition = -1;
}

TEST_F(AbiLifetimeTest, IoeventfdsGoWithThePartitionsDescriptor) {
    // Seen by an eventfd that can be assigned to another partition at the same address.
    const int event = eventfd(0, EFD_CLOEXEC);
    UserIoeventfd doorbell{};
    doorbell.address = kDoorbell;
    doorbell.length = 4;
    doorbell.fd = event;
    ASSERT_EQ(call(partition, kIoctlIoeventfd, &doorbell), 0);
    close_partition();
    EXPECT_EQ(read_rip(vp), 0);
    const auto second = static_cast<int>(create_partition());
    ASSERT_EQ(call(second, kIoctlInitializePartition), 0);
    EXPECT_EQ(call(second, kIoctlIoeventfd, &doorbell), 0);
    close(second);
    close(event);
}

// ---- mmap of a VP ------------------------------------------------------------------------------

TEST_F(AbiLifetimeTest, VpHasARegisterPageAndAMessagePage) {
    for (const off_t offset : {off_t{0}, off_t{kHvPageSize}}) {
        void* page = mmap(nullptr, kHvPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, vp, offset);
        EXPECT_NE(page, MAP_FAILED) << std::strerror(errno);
        munmap(page, kHvPageSize);
    }
}

TEST_F(AbiLifetimeTest, VpHasNoGhcbPage) {
    EXPECT_EQ(mmap(nullptr, kHvPageSize, PROT_READ, MAP_SHARED, vp, 2 * kHvPageSize), MAP_FAILED);
    EXPECT_EQ(errno, ENODEV);
}

TEST_F(AbiLifetimeTest, VpHasNoOtherPages) {
    EXPECT_EQ(mmap(nullptr, kHvPageSize, PROT_READ, MAP_SHARED, vp, 3 * kHvPageSize), MAP_FAILED);
    EXPECT_EQ(errno, EINVAL);
}

TEST_F(AbiLifetimeTest, LongerMappingShowsThePageAgain) {
    void* mapped = mmap(nullptr, 3 * kHvPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, vp, 0);
    ASSERT_NE(mapped, MAP_FAILED);
    auto* bytes = static_cast<volatile uint8_t*>(mapped);
    bytes[kHvPageSize - 1] = 7;
    EXPECT_EQ(bytes[2 * kHvPageSize - 1], 7);
    EXPECT_EQ(bytes[3 * kHvPageSize - 1], 7);
    munmap(mapped, 3 * kHvPageSize);
}

TEST_F(AbiLifetimeTest, PrivateMappingIsTaken) {
    void* page = mmap(nullptr, kHvPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE, vp, 0);
    EXPECT_NE(page, MAP_FAILED);
    munmap(page, kHvPageSize);
}

// ---- GET_VP_STATE and SET_VP_STATE -------------------------------------------------------------

class AbiStateTest : public AbiLifetimeTest {
protected:
    long get_state(GetSetVpState& argument) const { return call(vp, kIoctlGetVpState, &argument); }
    GetSetVpState good(VpStateType type, uint32_t size = kHvPageSize) const {
        GetSetVpState result{};
        result.type = type;
        result.buffer_size = size;
        result.buffer_pointer = buffer.address();
        return result;
    }
    Pages buffer{4};
};

TEST_F(AbiStateTest, SizesAreTheStates) {
    for (const auto& [type, size] :
         {std::pair{VpStateType::kLapic, 4096U}, std::pair{VpStateType::kSimp, 4096U},
          std::pair{VpStateType::kSiefp, 4096U}, std::pair{VpStateType::kSyntheticTimers, 200U}}) {
        GetSetVpState argument = good(type);
        EXPECT_EQ(get_state(argument), 0) << static_cast<int>(type);
        EXPECT_EQ(argument.buffer_size, size) << static_cast<int>(type);
    }
}

TEST_F(AbiStateTest, SizeOfXsaveIsAPropertyAndToldOnFailureToo) {
    GetSetVpState argument = good(VpStateType::kXsave);
    const long result = get_state(argument);
    const uint32_t size = argument.buffer_size;
    EXPECT_EQ(result, size > kHvPageSize ? -EINVAL : 0);
    EXPECT_GE(size, 576U);
    argument = good(VpStateType::kXsave, 4 * kHvPageSize);
    EXPECT_EQ(get_state(argument), 0);
    EXPECT_EQ(argument.buffer_size, size);
}

TEST_F(AbiStateTest, ArgumentIsChecked) {
    EXPECT_EQ(call(vp, kIoctlGetVpState, nullptr), -EFAULT);
    GetSetVpState argument = good(static_cast<VpStateType>(5));
    EXPECT_EQ(get_state(argument), -EINVAL);
    argument = good(VpStateType::kLapic);
    argument.reserved[2] = 1;
    EXPECT_EQ(get_state(argument), -EINVAL);
    argument = good(VpStateType::kLapic, 0);
    EXPECT_EQ(get_state(argument), -EINVAL);
    argument = good(VpStateType::kLapic, 100);
    EXPECT_EQ(get_state(argument), -EINVAL);
    argument = good(VpStateType::kLapic);
    argument.buffer_pointer += 8;
    EXPECT_EQ(get_state(argument), -EINVAL);
}

TEST_F(AbiStateTest, UnknownIoctlsOfAVpAreEnotty) {
    EXPECT_EQ(call(vp, _IO(kIoctlMagic, 0x42)), -ENOTTY);
    EXPECT_EQ(call(vp, kIoctlInitializePartition), -ENOTTY);
    EXPECT_EQ(call(vp, _IOC(_IOC_READ | _IOC_WRITE, kIoctlMagic, 0xF2, 32)), -ENOTTY);
}

}  // namespace
}  // namespace halcyon::mshv
