/// The faults of the launcher's --fault that hypercalls and the dirty bitmap have. Each test runs
/// under the launcher with its own fault, and skips without it.
#include <cerrno>
#include <cstdlib>
#include <string_view>

#include "tests/mshv-emulator/abi_status_fixture.h"

namespace halcyon::mshv {
namespace {

class AbiFaultTest : public AbiStatusTest {
protected:
    /// Whether the launcher was told so; see options.h for the variable.
    static bool has_fault(std::string_view setting) {
        const char* options = std::getenv("MSHV_EMULATOR");
        return options != nullptr && std::string_view(options).find(setting) != std::string::npos;
    }
    CallResult set_four() {
        std::vector<RegisterAssociation> list;
        for (uint32_t i = 0; i < 4; ++i) {
            list.push_back({RegisterName{0x20008 + i}, 0, 0, {i + 1, 0}});  // R8 to R11
        }
        return set_registers(list);
    }
};

TEST_F(AbiFaultTest, EagainDoesNothing) {
    if (!has_fault("fault.hypercall-eagain=2")) {
        GTEST_SKIP() << "runs with --fault=hypercall-eagain=2";
    }
    create_vp(0);
    EXPECT_EQ(get(RegisterName{0x20008}).low, 0U);
    EXPECT_EQ(set_four(), (CallResult{EAGAIN, HvStatus::kInsufficientMemory, 0}));
    EXPECT_EQ(get(RegisterName{0x20008}).low, 0U);
}

TEST_F(AbiFaultTest, PartialListsSayHowFarTheyCame) {
    if (!has_fault("fault.partial-reps=1")) {
        GTEST_SKIP() << "runs with --fault=partial-reps=1";
    }
    create_vp(0);
    EXPECT_EQ(set_four(), (CallResult{EAGAIN, HvStatus::kInsufficientMemory, 2}));
    EXPECT_EQ(get(RegisterName{0x20008}).low, 1U);
    EXPECT_EQ(get(RegisterName{0x20009}).low, 2U);
    EXPECT_EQ(get(RegisterName{0x2000a}).low, 0U);
}

TEST_F(AbiFaultTest, ErrorsAreTheHypervisors) {
    if (!has_fault("fault.hypercall-error=2")) {
        GTEST_SKIP() << "runs with --fault=hypercall-error=2";
    }
    create_vp(0);
    EXPECT_EQ(set_four().error, 0);
    EXPECT_EQ(set_four(), (CallResult{EIO, HvStatus::kOperationFailed, 0}));
}

TEST_F(AbiFaultTest, ABitmapThatFailsHalfWayHasLostBits) {
    if (!has_fault("fault.bitmap-failure=2")) {
        GTEST_SKIP() << "runs with --fault=bitmap-failure=2";
    }
    const Pages memory(8);
    ASSERT_EQ(map(0, memory, 8, kMemoryWritable), 0);
    ASSERT_EQ(set_property(PartitionProperty::kGpaPageAccessTracking, 1), kDone);
    uint8_t bits = 0;
    const auto dirty = [&](AccessBitmapOperation operation) {
        AccessBitmap request{};
        request.type = AccessBitmapType::kDirty;
        request.operation = operation;
        request.page_count = 8;
        request.bitmap_pointer = reinterpret_cast<uint64_t>(&bits);
        return call(partition, kIoctlGetGpapAccessBitmap, &request);
    };
    ASSERT_EQ(dirty(AccessBitmapOperation::kSet), 0);
    bits = 0x55;
    EXPECT_EQ(dirty(AccessBitmapOperation::kClear), EIO);
    EXPECT_EQ(bits, 0x55);
    ASSERT_EQ(dirty(AccessBitmapOperation::kSet), 0);
    EXPECT_EQ(bits, 0xf0);
}

}  // namespace
}  // namespace halcyon::mshv
