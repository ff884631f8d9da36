/// A partition's ioctls: what each refuses, and with what.
#include <sys/eventfd.h>

#include <vector>

#include "tests/mshv-emulator/abi_fixture.h"

namespace halcyon::mshv {
namespace {

class AbiPartitionTest : public AbiTest {
protected:
    void SetUp() override {
        AbiTest::SetUp();
        if (!IsSkipped()) {
            make_initialized_partition();
        }
    }
};

TEST_F(AbiPartitionTest, UnknownIoctlsAreEnotty) {
    EXPECT_EQ(call(partition, _IO(kIoctlMagic, 0x42)), -ENOTTY);
    EXPECT_EQ(call(partition, kIoctlCreatePartition), -ENOTTY);   // the device's
    EXPECT_EQ(call(partition, kIoctlRunVp), -ENOTTY);             // a VP's
    EXPECT_EQ(call(partition, _IO(kIoctlMagic, 0x08)), -ENOTTY);  // a fork's
}

TEST_F(AbiPartitionTest, CannotBeMapped) {
    EXPECT_EQ(mmap(nullptr, kHvPageSize, PROT_READ, MAP_SHARED, partition, 0), MAP_FAILED);
    EXPECT_EQ(errno, ENODEV);
}

TEST_F(AbiPartitionTest, IsInitializedOnceMoreForNothing) {
    EXPECT_EQ(call(partition, kIoctlInitializePartition), 0);
}

// ---- CREATE_VP ---------------------------------------------------------------------------------

TEST_F(AbiPartitionTest, VpsDescriptorIsCloseOnExec) {
    const auto vp = static_cast<int>(create_vp(0));
    ASSERT_GE(vp, 0);
    EXPECT_EQ(fcntl(vp, F_GETFD), FD_CLOEXEC);
    close(vp);
}

TEST_F(AbiPartitionTest, VpIndexIsBelow256) {
    EXPECT_EQ(create_vp(kMaxVps), -EINVAL);
    EXPECT_EQ(create_vp(0xffffffff), -EINVAL);
}

TEST_F(AbiPartitionTest, VpExistsOnce) {
    const auto vp = static_cast<int>(create_vp(1));
    ASSERT_GE(vp, 0);
    EXPECT_EQ(create_vp(1), -EEXIST);
    close(vp);
}

TEST_F(AbiPartitionTest, VpsArgumentMustBeThere) {
    EXPECT_EQ(call(partition, kIoctlCreateVp, nullptr), -EFAULT);
}

TEST_F(AbiPartitionTest, VpComesAfterInitialize) {
    close(partition);
    make_partition();
    EXPECT_EQ(create_vp(0), -EIO);
    ASSERT_EQ(call(partition, kIoctlInitializePartition), 0);
    const auto vp = static_cast<int>(create_vp(0));
    EXPECT_GE(vp, 0);
    close(vp);
}

// ---- SET_GUEST_MEMORY --------------------------------------------------------------------------

class AbiMemoryTest : public AbiPartitionTest {
protected:
    static constexpr uint8_t kRam = kMemoryWritable | kMemoryExecutable;

    [[nodiscard]] long set_memory(uint64_t page, uint64_t pages, uint64_t memory_address,
                                  uint8_t flags = kRam) const {
        UserMemoryRegion region{};
        region.size = pages * kHvPageSize;
        region.guest_pfn = page;
        region.userspace_address = memory_address;
        region.flags = flags;
        return call(partition, kIoctlSetGuestMemory, &region);
    }
    Pages memory{8};
    uint64_t address = memory.address();
};

TEST_F(AbiMemoryTest, ArgumentIsChecked) {
    EXPECT_EQ(call(partition, kIoctlSetGuestMemory, nullptr), -EFAULT);
    EXPECT_EQ(set_memory(0, 0, address), -EINVAL);
    EXPECT_EQ(set_memory(0, 1, address + 8), -EINVAL);
    EXPECT_EQ(set_memory(0, 1, address, 8), -EINVAL);
    UserMemoryRegion region{};
    region.size = kHvPageSize + 1;
    region.userspace_address = address;
    EXPECT_EQ(call(partition, kIoctlSetGuestMemory, &region), -EINVAL);
    region.size = kHvPageSize;
    region.reserved[6] = 1;
    EXPECT_EQ(call(partition, kIoctlSetGuestMemory, &region), -EINVAL);
}

TEST_F(AbiMemoryTest, MemoryMustBeThere) {
    const Pages gone(1);
    munmap(gone.bytes(), kHvPageSize);
    EXPECT_EQ(set_memory(0, 1, gone.address()), -EINVAL);
}

TEST_F(AbiMemoryTest, RegionsDoNotOverlapInTheGuest) {
    ASSERT_EQ(set_memory(16, 2, address), 0);
    EXPECT_EQ(set_memory(16, 1, address + 4 * kHvPageSize), -EEXIST);
    EXPECT_EQ(set_memory(17, 2, address + 4 * kHvPageSize), -EEXIST);
    EXPECT_EQ(set_memory(15, 2, address + 4 * kHvPageSize), -EEXIST);
    EXPECT_EQ(set_memory(18, 1, address + 4 * kHvPageSize), 0);
}

TEST_F(AbiMemoryTest, NewDriverTakesTheSameMemoryTwice) {
    ASSERT_EQ(set_memory(0, 1, address), 0);
    EXPECT_EQ(set_memory(16, 1, address), is_old() ? -EEXIST : 0);
}

TEST_F(AbiMemoryTest, RegionIsUnmappedAsItWasMapped) {
    ASSERT_EQ(set_memory(16, 2, address), 0);
    EXPECT_EQ(set_memory(16, 1, address, kMemoryUnmap), -EINVAL);
    EXPECT_EQ(set_memory(16, 2, address + kHvPageSize, kMemoryUnmap), -EINVAL);
    EXPECT_EQ(set_memory(16, 2, address, kMemoryUnmap | kMemoryWritable), 0);
    EXPECT_EQ(set_memory(16, 2, address), 0);
}

TEST_F(AbiMemoryTest, UnmappingNothingIsAnError) {
    EXPECT_EQ(set_memory(16, 1, address, kMemoryUnmap), is_old() ? -EINVAL : -ENOENT);
}

// ---- SET_MSI_ROUTING ---------------------------------------------------------------------------

class AbiRoutingTest : public AbiPartitionTest {
protected:
    [[nodiscard]] long set_routing(uint32_t count, std::vector<UserIrqEntry> entries,
                                   uint32_t reserved = 0) const {
        std::vector<uint8_t> argument(sizeof(UserIrqTableHeader) +
                                      entries.size() * sizeof(UserIrqEntry));
        const UserIrqTableHeader header{.count = count, .reserved = reserved};
        std::memcpy(argument.data(), &header, sizeof(header));
        if (!entries.empty()) {
            std::memcpy(argument.data() + sizeof(header), entries.data(),
                        entries.size() * sizeof(UserIrqEntry));
        }
        return call(partition, kIoctlSetMsiRouting, argument.data());
    }
    static constexpr UserIrqEntry kEntry{5, 0xfee00000, 0, 0x31};
};

TEST_F(AbiRoutingTest, TableIsReplacedAndCleared) {
    EXPECT_EQ(set_routing(2, {kEntry, {6, 0xfee00000, 0, 0x32}}), 0);
    EXPECT_EQ(set_routing(1, {kEntry}), 0);
    EXPECT_EQ(set_routing(0, {}), 0);
}

TEST_F(AbiRoutingTest, ArgumentIsChecked) {
    EXPECT_EQ(call(partition, kIoctlSetMsiRouting, nullptr), -EFAULT);
    EXPECT_EQ(set_routing(kMaxGuestIrqs + 1, {}), -EINVAL);
    EXPECT_EQ(set_routing(1, {kEntry}, 1), -EINVAL);
    EXPECT_EQ(set_routing(1, {{kMaxGuestIrqs, 0xfee00000, 0, 0x31}}), -EINVAL);
    EXPECT_EQ(set_routing(1, {{5, 0xfee00000, 1, 0x31}}), -EINVAL);
    EXPECT_EQ(set_routing(2, {kEntry, kEntry}), -EINVAL);
}

// ---- IRQFD and IOEVENTFD -----------------------------------------------------------------------

class AbiEventfdTest : public AbiPartitionTest {
protected:
    void TearDown() override {
        close(event);
        AbiPartitionTest::TearDown();
    }
    [[nodiscard]] long irqfd(int fd, uint32_t gsi, uint32_t flags = 0) const {
        const UserIrqfd argument{.fd = fd, .resample_fd = fd, .gsi = gsi, .flags = flags};
        return call(partition, kIoctlIrqfd, &argument);
    }
    [[nodiscard]] long ioeventfd(uint64_t address, uint32_t length, uint32_t flags = 0,
                                 uint64_t datamatch = 0, int fd = -2) const {
        UserIoeventfd argument{};
        argument.datamatch = datamatch;
        argument.address = address;
        argument.length = length;
        argument.fd = fd == -2 ? event : fd;
        argument.flags = flags;
        return call(partition, kIoctlIoeventfd, &argument);
    }
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
};

TEST_F(AbiEventfdTest, IrqfdIsChecked) {
    EXPECT_EQ(call(partition, kIoctlIrqfd, nullptr), -EFAULT);
    EXPECT_EQ(irqfd(event, 5, 4), -EINVAL);
    EXPECT_EQ(irqfd(-1, 5), -EBADF);
    EXPECT_EQ(irqfd(partition, 5), -EINVAL);
}

TEST_F(AbiEventfdTest, EventfdServesOneIrqfd) {
    ASSERT_EQ(irqfd(event, 5), 0);
    EXPECT_EQ(irqfd(event, 6), -EBUSY);
    EXPECT_EQ(irqfd(event, 5, kIrqfdDeassign), 0);
    EXPECT_EQ(irqfd(event, 6), 0);
}

TEST_F(AbiEventfdTest, DeassigningNothingIsNoError) {
    EXPECT_EQ(irqfd(event, 7, kIrqfdDeassign), 0);
}

TEST_F(AbiEventfdTest, ResampleOfAnEdgeRouteIsRefused) {
    EXPECT_EQ(irqfd(event, 5, kIrqfdResample), -EINVAL);
}

TEST_F(AbiEventfdTest, IoeventfdIsChecked) {
    constexpr uint64_t kDoorbell = 0xd0000000;
    EXPECT_EQ(call(partition, kIoctlIoeventfd, nullptr), -EFAULT);
    EXPECT_EQ(ioeventfd(0x70, 1, kIoeventfdPio), -EOPNOTSUPP);
    EXPECT_EQ(ioeventfd(kDoorbell, 3), -EINVAL);
    EXPECT_EQ(ioeventfd(~uint64_t{0} - 2, 4), -EINVAL);
    EXPECT_EQ(ioeventfd(kDoorbell, 4, 8), -EINVAL);
    EXPECT_EQ(ioeventfd(kDoorbell, 4, 0, 0, -1), -EBADF);
    EXPECT_EQ(ioeventfd(kDoorbell, 4, 0, 0, partition), -EINVAL);
    EXPECT_EQ(ioeventfd(kDoorbell, 4, kIoeventfdDeassign), -ENOENT);
}

TEST_F(AbiEventfdTest, IoeventfdIsAssignedOnceAndDeassignedAsItWas) {
    constexpr uint64_t kDoorbell = 0xd0000000;
    ASSERT_EQ(ioeventfd(kDoorbell, 4, kIoeventfdDatamatch, 7), 0);
    EXPECT_EQ(ioeventfd(kDoorbell, 4, kIoeventfdDatamatch, 7), -EEXIST);
    EXPECT_EQ(ioeventfd(kDoorbell, 4), -EEXIST);  // any value
    EXPECT_EQ(ioeventfd(kDoorbell, 4, kIoeventfdDatamatch, 8), 0);
    EXPECT_EQ(ioeventfd(kDoorbell, 4, kIoeventfdDeassign | kIoeventfdDatamatch, 9), -ENOENT);
    EXPECT_EQ(ioeventfd(kDoorbell, 4, kIoeventfdDeassign | kIoeventfdDatamatch, 7), 0);
    EXPECT_EQ(ioeventfd(kDoorbell, 4, kIoeventfdDatamatch, 7), 0);
}

// ---- GET_GPAP_ACCESS_BITMAP --------------------------------------------------------------------

TEST_F(AbiPartitionTest, AccessBitmapIsChecked) {
    uint64_t bits = 0;
    const AccessBitmap good{.type = AccessBitmapType::kDirty,
                            .operation = AccessBitmapOperation::kClear,
                            .reserved = {},
                            .page_count = 1,
                            .first_gpa_page = 0,
                            .bitmap_pointer = reinterpret_cast<uint64_t>(&bits)};
    EXPECT_EQ(call(partition, kIoctlGetGpapAccessBitmap, nullptr), -EFAULT);
    AccessBitmap bad = good;
    bad.type = static_cast<AccessBitmapType>(2);
    EXPECT_EQ(call(partition, kIoctlGetGpapAccessBitmap, &bad), -EINVAL);
    bad = good;
    bad.operation = static_cast<AccessBitmapOperation>(3);
    EXPECT_EQ(call(partition, kIoctlGetGpapAccessBitmap, &bad), -EINVAL);
    bad = good;
    bad.reserved[5] = 1;
    EXPECT_EQ(call(partition, kIoctlGetGpapAccessBitmap, &bad), -EINVAL);
    bad = good;
    bad.page_count = 0;
    EXPECT_EQ(call(partition, kIoctlGetGpapAccessBitmap, &bad), -EINVAL);
    bad = good;
    bad.bitmap_pointer = 0;
    EXPECT_EQ(call(partition, kIoctlGetGpapAccessBitmap, &bad), -EINVAL);
}

}  // namespace
}  // namespace halcyon::mshv
