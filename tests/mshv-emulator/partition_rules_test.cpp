/// Rules of the partition's half that need no hypervisor: memory, routes, status codes.
#include <cerrno>
#include <vector>

#include <gtest/gtest.h>

#include "tools/mshv-emulator/guest_memory.h"
#include "tools/mshv-emulator/hypercalls.h"
#include "tools/mshv-emulator/interrupts.h"

namespace halcyon::emulator {
namespace {

using mshv::HvStatus;

constexpr uint64_t kHost = 0x7f0000000000;

mshv::UserMemoryRegion argument(uint64_t first_page, uint64_t pages, uint64_t host) {
    mshv::UserMemoryRegion result{};
    result.size = pages * mshv::kHvPageSize;
    result.guest_pfn = first_page;
    result.userspace_address = host;
    return result;
}

MemoryRegion region(uint64_t first_page, uint64_t pages, uint64_t host) {
    MemoryRegion result{};
    result.first_page = first_page;
    result.page_count = pages;
    result.host = host;
    return result;
}

TEST(MemoryArgument, WholePagesKnownFlagsZeroReserve) {
    mshv::UserMemoryRegion good = argument(1, 1, kHost);
    EXPECT_EQ(check_memory_argument(good), 0);
    mshv::UserMemoryRegion bad = good;
    bad.size = 0;
    EXPECT_EQ(check_memory_argument(bad), -EINVAL);
    bad = good;
    bad.size += 1;
    EXPECT_EQ(check_memory_argument(bad), -EINVAL);
    bad = good;
    bad.userspace_address += 8;
    EXPECT_EQ(check_memory_argument(bad), -EINVAL);
    bad = good;
    bad.flags = 8;
    EXPECT_EQ(check_memory_argument(bad), -EINVAL);
    bad = good;
    bad.reserved[6] = 1;
    EXPECT_EQ(check_memory_argument(bad), -EINVAL);
}

TEST(MemoryOverlap, NewKernelsLookAtTheWholeRange) {
    const std::vector<MemoryRegion> regions = {region(10, 2, kHost)};
    const auto check = [&](uint64_t first, uint64_t pages) {
        return check_memory_overlap(regions, argument(first, pages, kHost + 0x100000),
                                    Kernel::kNew);
    };
    EXPECT_EQ(check(8, 2), 0);
    EXPECT_EQ(check(12, 1), 0);
    EXPECT_EQ(check(9, 2), -EEXIST);
    EXPECT_EQ(check(11, 4), -EEXIST);
    EXPECT_EQ(check(0, 100), -EEXIST);
}

TEST(MemoryOverlap, OldKernelsLookAtTheEnds) {
    const std::vector<MemoryRegion> regions = {region(10, 2, kHost)};
    const auto check = [&](uint64_t first, uint64_t pages) {
        return check_memory_overlap(regions, argument(first, pages, kHost + 0x100000),
                                    Kernel::kOld);
    };
    EXPECT_EQ(check(9, 2), -EEXIST);
    EXPECT_EQ(check(11, 4), -EEXIST);
    EXPECT_EQ(check(0, 100), 0);
}

TEST(MemoryOverlap, OnlyOldKernelsRefuseAliases) {
    const std::vector<MemoryRegion> regions = {region(10, 2, kHost)};
    const mshv::UserMemoryRegion alias = argument(20, 1, kHost + mshv::kHvPageSize);
    EXPECT_EQ(check_memory_overlap(regions, alias, Kernel::kNew), 0);
    EXPECT_EQ(check_memory_overlap(regions, alias, Kernel::kOld), -EEXIST);
}

TEST(MemoryUnmap, WantsTheExactTriple) {
    const std::vector<MemoryRegion> regions = {region(10, 2, kHost), region(20, 2, kHost)};
    const auto find = [&](uint64_t first, uint64_t pages, uint64_t host) {
        return find_memory_to_unmap(regions, argument(first, pages, host), Kernel::kNew);
    };
    EXPECT_EQ(find(20, 2, kHost), 1);
    EXPECT_EQ(find(21, 1, kHost), -EINVAL);
    EXPECT_EQ(find(20, 1, kHost), -EINVAL);
    EXPECT_EQ(find(20, 2, kHost + mshv::kHvPageSize), -EINVAL);
    EXPECT_EQ(find(30, 2, kHost), -ENOENT);
    EXPECT_EQ(find_memory_to_unmap(regions, argument(30, 2, kHost), Kernel::kOld), -EINVAL);
}

TEST(Routes, Checks) {
    using Entry = mshv::UserIrqEntry;
    EXPECT_EQ(check_routes(std::vector<Entry>{{1, 0, 0, 0}, {4095, 0, 0, 0}}), 0);
    EXPECT_EQ(check_routes(std::vector<Entry>{{4096, 0, 0, 0}}), -EINVAL);
    EXPECT_EQ(check_routes(std::vector<Entry>{{1, 0, 1, 0}}), -EINVAL);
    EXPECT_EQ(check_routes(std::vector<Entry>{{1, 0, 0, 0}, {1, 0, 0, 0}}), -EINVAL);
    // The driver does not notice this one.
    EXPECT_EQ(check_routes(std::vector<Entry>{{0, 0, 0, 0}, {0, 0, 0, 0}}), 0);
}

TEST(Routes, OnlyDestinationModeVectorAndTriggerCount) {
    // The base is an IOAPIC's, as of a VMM that computes from there; hint and remapping bits are
    // set.
    const MsiMessage message =
        msi_of_route({.gsi = 3, .address_low = 0xfec05fec, .address_high = 0, .data = 0xffffc131});
    EXPECT_EQ(message.address_low, 0xfee05004U);
    EXPECT_EQ(message.address_high, 0U);
    EXPECT_EQ(message.data, 0xc131U);
}

TEST(AssertedInterrupt, IsTheMessageOfItsFields) {
    mshv::AssertInterruptInput input{};
    input.control = static_cast<uint64_t>(mshv::InterruptType::kNmi) |
                    mshv::kInterruptLevelTriggered | mshv::kInterruptLogicalDestination;
    input.destination = 0x1234;
    input.vector = 0x55;
    const MsiMessage message = msi_message(input);
    EXPECT_EQ(message.address_low, 0xfee34004U);
    EXPECT_EQ(message.address_high, 0x1200U);
    EXPECT_EQ(message.data, 0xc455U);
}

TEST(Statuses, AreTheDriversErrnos) {
    EXPECT_EQ(status_to_errno(HvStatus::kSuccess), 0);
    EXPECT_EQ(status_to_errno(HvStatus::kInvalidParameter), -EINVAL);
    EXPECT_EQ(status_to_errno(HvStatus::kInvalidRegisterValue), -EINVAL);
    EXPECT_EQ(status_to_errno(HvStatus::kInvalidVpIndex), -EINVAL);
    EXPECT_EQ(status_to_errno(HvStatus::kInsufficientMemory), -ENOMEM);
    EXPECT_EQ(status_to_errno(HvStatus::kInvalidPartitionState), -EIO);
    EXPECT_EQ(status_to_errno(HvStatus::kOperationFailed), -EIO);
    EXPECT_EQ(status_to_errno(HvStatus{0x1234}), -EIO);
}

}  // namespace
}  // namespace halcyon::emulator
