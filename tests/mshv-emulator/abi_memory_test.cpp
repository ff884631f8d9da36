/// SET_GUEST_MEMORY that works, and the dirty bits of GET_GPAP_ACCESS_BITMAP.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "tests/mshv-emulator/abi_status_fixture.h"

namespace halcyon::mshv {
namespace {

constexpr uint8_t kReadWrite = kMemoryWritable | kMemoryExecutable;

class AbiDirtyTest : public AbiStatusTest {
protected:
    int bitmap(AccessBitmapType type, AccessBitmapOperation operation, uint64_t first,
               uint64_t count, void* bits) {
        AccessBitmap request{};
        request.type = type;
        request.operation = operation;
        request.page_count = count;
        request.first_gpa_page = first;
        request.bitmap_pointer = reinterpret_cast<uint64_t>(bits);
        return call(partition, kIoctlGetGpapAccessBitmap, &request);
    }
};

TEST_F(AbiDirtyTest, MapsAndUnmaps) {
    const Pages memory(4);
    EXPECT_EQ(map(0, memory, 4, kReadWrite), 0);
    EXPECT_EQ(unmap(0, memory, 4), 0);
    EXPECT_EQ(map(0, memory, 4, 0), 0);
}

TEST_F(AbiDirtyTest, PageNumbersAboveFourGibibytes) {
    const Pages memory(1);
    EXPECT_EQ(map(0x100000, memory, 1, kReadWrite), 0);
    EXPECT_EQ(unmap(0x100000, memory, 1), 0);
}

TEST_F(AbiDirtyTest, NothingIsMappedBeforeInitialize) {
    make_partition(kPartitionLapic);
    const Pages memory(1);
    EXPECT_EQ(map(0, memory, 1, kReadWrite), EIO);
}

TEST_F(AbiDirtyTest, DirtyBitsNeedTracking) {
    const Pages memory(16);
    ASSERT_EQ(map(0, memory, 16, kReadWrite), 0);
    uint8_t bits[2] = {};
    EXPECT_EQ(bitmap(AccessBitmapType::kDirty, AccessBitmapOperation::kClear, 0, 16, bits), EIO);
}

TEST_F(AbiDirtyTest, SetAndClearGiveTheStateBefore) {
    const Pages memory(16);
    ASSERT_EQ(map(0, memory, 16, kReadWrite), 0);
    ASSERT_EQ(set_property(PartitionProperty::kGpaPageAccessTracking, 1), kDone);
    uint8_t bits[2] = {};
    const auto dirty = [&](AccessBitmapOperation operation, uint64_t first, uint64_t count) {
        bits[0] = bits[1] = 0;
        EXPECT_EQ(bitmap(AccessBitmapType::kDirty, operation, first, count, bits), 0);
    };
    dirty(AccessBitmapOperation::kClear, 0, 16);
    dirty(AccessBitmapOperation::kSet, 3, 2);
    EXPECT_EQ(bits[0], 0);
    dirty(AccessBitmapOperation::kClear, 0, 16);
    EXPECT_EQ(bits[0], 0x18);
    EXPECT_EQ(bits[1], 0);
    dirty(AccessBitmapOperation::kClear, 0, 16);
    EXPECT_EQ(bits[0], 0);
}

TEST_F(AbiDirtyTest, NoopSets) {
    const Pages memory(8);
    ASSERT_EQ(map(0, memory, 8, kReadWrite), 0);
    ASSERT_EQ(set_property(PartitionProperty::kGpaPageAccessTracking, 1), kDone);
    uint8_t bits = 0;
    ASSERT_EQ(bitmap(AccessBitmapType::kDirty, AccessBitmapOperation::kNoop, 0, 1, &bits), 0);
    ASSERT_EQ(bitmap(AccessBitmapType::kDirty, AccessBitmapOperation::kNoop, 0, 1, &bits), 0);
    EXPECT_EQ(bits, 1);
}

TEST_F(AbiDirtyTest, TrackingEndsOnlyWithAllPagesDirty) {
    const Pages memory(8);
    ASSERT_EQ(map(0, memory, 8, kReadWrite), 0);
    ASSERT_EQ(set_property(PartitionProperty::kGpaPageAccessTracking, 1), kDone);
    uint8_t bits = 0;
    ASSERT_EQ(bitmap(AccessBitmapType::kDirty, AccessBitmapOperation::kClear, 0, 8, &bits), 0);
    EXPECT_EQ(set_property(PartitionProperty::kGpaPageAccessTracking, 0).error, EIO);
    ASSERT_EQ(bitmap(AccessBitmapType::kDirty, AccessBitmapOperation::kSet, 0, 8, &bits), 0);
    EXPECT_EQ(set_property(PartitionProperty::kGpaPageAccessTracking, 0), kDone);
}

}  // namespace
}  // namespace halcyon::mshv
