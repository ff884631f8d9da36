// How the mshv backend maps guest memory, with drivers of both generations.
#include "accel/mshv/mshv_memory.h"

#include <cerrno>

#include "base/unique_fd.h"
#include "tests/accel/fake_mshv.h"

namespace halcyon::testing_support {
namespace {

using namespace mshv;

class MshvMemory : public ::testing::TestWithParam<FakeMshv::Kernel> {
protected:
    void SetUp() override {
        device_.reset(driver.open("/dev/mshv"));
        CreatePartition create{};
        partition_.reset(driver.ioctl(device_.get(), kIoctlCreatePartition, &create));
        memory.emplace(driver, partition_.get());
        auto pages = Mapping::anonymous(8 * kPageSize, "pages");
        ASSERT_TRUE(pages);
        host_ = *std::move(pages);
    }
    [[nodiscard]] bool old() const { return GetParam() == FakeMshv::Kernel::kOld; }
    [[nodiscard]] std::byte* host(uint64_t page) const { return host_.data() + page * kPageSize; }
    static GpaRange pages(uint64_t first, uint64_t count = 1) {
        return {Gpa(first * kPageSize), count * kPageSize};
    }
    [[nodiscard]] uint8_t read_byte(uint64_t page) const {
        std::byte value{};
        EXPECT_TRUE(memory->read(Gpa(page * kPageSize), {&value, 1}));
        return static_cast<uint8_t>(value);
    }

    FakeMshv driver{GetParam()};
    std::optional<MemoryMap> memory;

private:
    UniqueFd device_, partition_;
    Mapping host_;
};
INSTANTIATE_TEST_SUITE_P(Kernel, MshvMemory,
                         ::testing::Values(FakeMshv::Kernel::kOld, FakeMshv::Kernel::kNew),
                         [](const auto& kernel) {
                             return kernel.param == FakeMshv::Kernel::kOld ? "Old" : "New";
                         });

TEST_P(MshvMemory, AMappingIsPassedOnByItsPageNumber) {
    ASSERT_TRUE(memory->map(pages(0x100000, 2), host(0), MemoryAccess::kReadWrite));
    ASSERT_TRUE(memory->map(pages(0x10), host(4), MemoryAccess::kReadOnly));
    ASSERT_EQ(driver.regions.size(), 2u);
    EXPECT_EQ(driver.regions[0].guest_pfn, 0x100000u);
    EXPECT_EQ(driver.regions[0].size, 2 * kPageSize);
    EXPECT_EQ(driver.regions[0].userspace_address, reinterpret_cast<uint64_t>(host(0)));
    EXPECT_EQ(driver.regions[0].flags, kMemoryWritable | kMemoryExecutable);
    EXPECT_EQ(driver.regions[1].flags, kMemoryExecutable);
}

TEST_P(MshvMemory, AnUnmappingRepeatsTheMapping) {
    ASSERT_TRUE(memory->map(pages(0x10, 2), host(0), MemoryAccess::kReadWrite));
    EXPECT_FALSE(memory->unmap(pages(0x10)));
    EXPECT_FALSE(memory->unmap(pages(0x11)));
    ASSERT_TRUE(memory->unmap(pages(0x10, 2)));
    EXPECT_TRUE(driver.regions.empty());
    const auto again = memory->unmap(pages(0x10, 2));
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code(), ErrorCode::kNotFound);
}

TEST_P(MshvMemory, AFailureOfTheDriverChangesNothing) {
    driver.ioctl_faults = {{kIoctlSetGuestMemory, -ENOMEM}};
    const auto mapped = memory->map(pages(0x10), host(0), MemoryAccess::kReadWrite);
    ASSERT_FALSE(mapped);
    EXPECT_EQ(mapped.error().errno_value(), ENOMEM);
    EXPECT_EQ(memory->backing(Gpa(0x10000)), Backing::kNothing);
    ASSERT_TRUE(memory->map(pages(0x10), host(0), MemoryAccess::kReadWrite));
    driver.ioctl_faults = {{kIoctlSetGuestMemory, -EIO}};
    EXPECT_FALSE(memory->unmap(pages(0x10)));
    EXPECT_EQ(memory->backing(Gpa(0x10000)), Backing::kReadWrite);
}

TEST_P(MshvMemory, AnInterruptedCallIsRepeated) {
    driver.ioctl_faults = {{kIoctlSetGuestMemory, -EINTR}};
    EXPECT_TRUE(memory->map(pages(0x10), host(0), MemoryAccess::kReadWrite));
}

TEST_P(MshvMemory, ReadOnlyMemoryMayBeMappedTwice) {
    host(1)[0] = std::byte{0x77};
    ASSERT_TRUE(memory->map(pages(0x10, 4), host(0), MemoryAccess::kReadOnly));
    ASSERT_TRUE(memory->map(pages(0x20), host(1), MemoryAccess::kReadOnly));
    EXPECT_EQ(read_byte(0x11), 0x77);
    EXPECT_EQ(read_byte(0x20), 0x77);
    ASSERT_EQ(driver.regions.size(), 2u);
    const bool same = driver.regions[1].userspace_address == reinterpret_cast<uint64_t>(host(1));
    EXPECT_EQ(same, !old()) << "a copy for an old driver, else the memory itself";
    EXPECT_EQ(*reinterpret_cast<uint8_t*>(driver.regions[1].userspace_address), 0x77);
    EXPECT_EQ(driver.regions[1].flags, kMemoryExecutable);
    EXPECT_TRUE(memory->unmap(pages(0x20)));
    EXPECT_TRUE(memory->unmap(pages(0x10, 4)));
}

TEST_P(MshvMemory, WritableMemoryMayBeMappedTwiceOnNewDriversOnly) {
    ASSERT_TRUE(memory->map(pages(0x10), host(0), MemoryAccess::kReadWrite));
    const auto again = memory->map(pages(0x20), host(0), MemoryAccess::kReadWrite);
    EXPECT_EQ(again.has_value(), !old());
    if (!again) {
        EXPECT_NE(again.error().message().find("same host memory twice"), std::string::npos)
            << again.error().message();
    }
}

TEST_P(MshvMemory, ACopyThatCannotBeMappedIsAnError) {
    ASSERT_TRUE(memory->map(pages(0x10), host(0), MemoryAccess::kReadOnly));
    driver.ioctl_faults = {{kIoctlSetGuestMemory, -EEXIST}, {kIoctlSetGuestMemory, -ENOMEM}};
    const auto again = memory->map(pages(0x20), host(0), MemoryAccess::kReadOnly);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().errno_value(), ENOMEM);
}

TEST_P(MshvMemory, EexistWithoutAReasonOfOursIsAnError) {
    driver.ioctl_faults = {{kIoctlSetGuestMemory, -EEXIST}};
    const auto mapped = memory->map(pages(0x20), host(0), MemoryAccess::kReadOnly);
    ASSERT_FALSE(mapped);
    EXPECT_EQ(mapped.error().errno_value(), EEXIST);
}

TEST_P(MshvMemory, EachChangeIsANewGeneration) {
    const uint64_t before = memory->generation();
    ASSERT_TRUE(memory->map(pages(0x10), host(0), MemoryAccess::kReadWrite));
    const uint64_t mapped = memory->generation();
    ASSERT_TRUE(memory->unmap(pages(0x10)));
    EXPECT_NE(mapped, before);
    EXPECT_NE(memory->generation(), mapped);
}

TEST_P(MshvMemory, AccessesStayInsideTheirMapping) {
    ASSERT_TRUE(memory->map(pages(0x10), host(0), MemoryAccess::kReadWrite));
    ASSERT_TRUE(memory->map(pages(0x11), host(2), MemoryAccess::kReadOnly));
    std::array<std::byte, 8> bytes{std::byte{1}};
    EXPECT_TRUE(memory->write(Gpa(0x10ff8), bytes));
    EXPECT_TRUE(memory->read(Gpa(0x10ff8), bytes));
    EXPECT_FALSE(memory->write(Gpa(0x10ffc), bytes)) << "beyond the end";
    EXPECT_FALSE(memory->read(Gpa(0x10ffc), bytes));
    EXPECT_FALSE(memory->write(Gpa(0x11000), bytes)) << "read-only";
    EXPECT_TRUE(memory->read(Gpa(0x11000), bytes));
    EXPECT_FALSE(memory->read(Gpa(0x12000), bytes)) << "nothing there";
    EXPECT_FALSE(memory->read(Gpa(~uint64_t{0}), bytes));
    EXPECT_EQ(memory->backing(Gpa(0x10fff)), Backing::kReadWrite);
    EXPECT_EQ(memory->backing(Gpa(0x11000)), Backing::kReadOnly);
}

TEST_P(MshvMemory, EveryWidthIsCopiedWhole) {
    ASSERT_TRUE(memory->map(pages(0x10), host(0), MemoryAccess::kReadWrite));
    std::array<std::byte, 16> pattern{};
    for (size_t i = 0; i < pattern.size(); ++i) {
        pattern[i] = static_cast<std::byte>(i + 1);
    }
    for (size_t size = 1; size <= pattern.size(); ++size) {
        const Gpa at(0x10000 + 32 * size);
        ASSERT_TRUE(memory->write(at, std::span(pattern).first(size)));
        std::array<std::byte, 17> back{};
        ASSERT_TRUE(memory->read(at, std::span(back).first(size)));
        EXPECT_TRUE(
            std::equal(pattern.begin(), pattern.begin() + static_cast<long>(size), back.begin()));
        EXPECT_EQ(host(0)[32 * size + size], std::byte{0});
    }
}

}  // namespace
}  // namespace halcyon::testing_support
