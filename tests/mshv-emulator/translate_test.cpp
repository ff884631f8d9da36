/// The page walk, on page tables made by hand.
#include "tools/mshv-emulator/translate.h"

#include <cstring>
#include <functional>
#include <vector>

#include <gtest/gtest.h>

namespace halcyon::emulator {
namespace {

using mshv::TranslateResult;

constexpr uint64_t kPresent = 1;
constexpr uint64_t kWritable = 2;
constexpr uint64_t kUser = 4;
constexpr uint64_t kAccessed = 0x20;
constexpr uint64_t kDirty = 0x40;
constexpr uint64_t kLarge = 0x80;
constexpr uint64_t kNoExecute = uint64_t{1} << 63;
constexpr uint64_t kAll = kPresent | kWritable | kUser;

constexpr uint64_t kCr0Paging = 0x80000001;
constexpr uint64_t kCr0Wp = 0x10000;
constexpr uint64_t kCr4Pse = 0x10;
constexpr uint64_t kCr4Pae = 0x20;
constexpr uint64_t kCr4La57 = 0x1000;
constexpr uint64_t kCr4Smep = 0x100000;
constexpr uint64_t kCr4Smap = 0x200000;
constexpr uint64_t kEferLong = 0x500;
constexpr uint64_t kEferNxe = 0x800;
constexpr uint64_t kRflagsAc = 0x40000;

constexpr uint64_t kRead = mshv::kTranslateValidateRead;
constexpr uint64_t kWrite = mshv::kTranslateValidateWrite;
constexpr uint64_t kExecute = mshv::kTranslateValidateExecute;
constexpr uint64_t kMark = mshv::kTranslateSetPageTableBits;

/// 64 KiB of guest memory from 0, of which the first `read_only_below` bytes cannot be written.
class TestMemory final : public PhysicalMemory {
public:
    bool read(uint64_t gpa, void* to, uint64_t size) const override {
        if (gpa + size > bytes.size()) {
            return false;
        }
        std::memcpy(to, bytes.data() + gpa, size);
        return true;
    }
    [[nodiscard]] Access access(uint64_t gpa) const override {
        if (gpa >= bytes.size()) {
            return Access::kNone;
        }
        return gpa < read_only_below ? Access::kReadOnly : Access::kReadWrite;
    }
    void set_entry_bits(uint64_t gpa, uint64_t bits) override {
        put(gpa, get(gpa) | static_cast<uint32_t>(bits));
    }
    void put(uint64_t gpa, uint64_t value) {
        std::memcpy(bytes.data() + gpa, &value, sizeof(value));
    }
    void put32(uint64_t gpa, uint32_t value) {
        std::memcpy(bytes.data() + gpa, &value, sizeof(value));
    }
    [[nodiscard]] uint64_t get(uint64_t gpa) const {
        uint64_t value = 0;
        std::memcpy(&value, bytes.data() + gpa, sizeof(value));
        return value;
    }

    std::vector<uint8_t> bytes = std::vector<uint8_t>(0x10000);
    uint64_t read_only_below = 0;
};

/// Four levels at 1000h, 2000h, 3000h, 4000h: page 0 is at 5000h, with all rights.
class LongModeTest : public testing::Test {
protected:
    LongModeTest() {
        state.cr0 = kCr0Paging | kCr0Wp;
        state.cr3 = 0x1000;
        state.cr4 = kCr4Pae;
        state.efer = kEferLong | kEferNxe;
        state.physical_width = 40;
        memory.put(0x1000, 0x2000 | kAll);
        memory.put(0x2000, 0x3000 | kAll);
        memory.put(0x3000, 0x4000 | kAll);
        memory.put(0x4000, 0x5000 | kAll);
    }
    Translation run(uint64_t flags, uint64_t gva = 0x123) {
        return translate(memory, state, gva, flags);
    }

    TestMemory memory;
    PagingState state;
};

TEST(Translate, RealModeIsOneToOne) {
    TestMemory memory;
    PagingState state;
    const Translation result = translate(memory, state, 0xffff0, kWrite);
    EXPECT_EQ(result.result, TranslateResult::kSuccess);
    EXPECT_EQ(result.gpa, 0xffff0U);
}

TEST(Translate, TwoLevels) {
    TestMemory memory;
    PagingState state;
    state.cr0 = kCr0Paging;
    state.cr3 = 0x1000;
    memory.put32(0x1000 + 4 * 0x301, 0x2000 | kAll);
    memory.put32(0x2000 + 4 * 0x002, 0x7000 | kAll);
    const Translation result = translate(memory, state, 0xc0402abc, kRead);
    EXPECT_EQ(result.result, TranslateResult::kSuccess);
    EXPECT_EQ(result.gpa, 0x7abcU);
}

TEST(Translate, FourMebibytePagesHaveFortyAddressBits) {
    TestMemory memory;
    PagingState state;
    state.cr0 = kCr0Paging;
    state.cr3 = 0x1000;
    memory.put32(0x1000, 0x00c00000 | 1U << 13 | kAll | kLarge);
    state.cr4 = kCr4Pse;
    EXPECT_EQ(translate(memory, state, 0x123456, kRead).gpa, 0x100d23456U);
    memory.put32(0x1000, 0x00c00000 | 1U << 21 | kAll | kLarge);
    EXPECT_EQ(translate(memory, state, 0x123456, kRead).result,
              TranslateResult::kInvalidPageTableFlags);
}

TEST(Translate, PaeTakesItsFirstLevelFromTheProcessorWhereItIsKnown) {
    TestMemory memory;
    PagingState state;
    state.cr0 = kCr0Paging;
    state.cr3 = 0x1020;
    state.cr4 = kCr4Pae;
    memory.put(0x1020 + 8, 0x2000 | kPresent);
    memory.put(0x2000, 0x3000 | kAll);
    memory.put(0x3000 + 8, 0x6000 | kAll);
    EXPECT_EQ(translate(memory, state, 0x40001010, kRead).gpa, 0x6010U);
    state.has_pdptes = true;
    EXPECT_EQ(translate(memory, state, 0x40001010, kRead).result, TranslateResult::kPageNotPresent);
    state.pdpte[1] = 0x2000 | kPresent;
    EXPECT_EQ(translate(memory, state, 0x40001010, kRead).gpa, 0x6010U);
}

TEST_F(LongModeTest, FourLevels) {
    const Translation result = run(kRead);
    EXPECT_EQ(result.result, TranslateResult::kSuccess);
    EXPECT_EQ(result.gpa, 0x5123U);
    EXPECT_FALSE(result.page_size_is_large);
}

TEST_F(LongModeTest, FiveLevels) {
    memory.put(0x6000, 0x1000 | kAll);
    state.cr3 = 0x6000;
    state.cr4 |= kCr4La57;
    EXPECT_EQ(run(kRead).gpa, 0x5123U);
    EXPECT_EQ(run(kRead, uint64_t{1} << 56).result, TranslateResult::kInvalidPageTableFlags);
    EXPECT_EQ(run(kRead, uint64_t{1} << 55).result, TranslateResult::kPageNotPresent);
}

TEST_F(LongModeTest, LargePages) {
    memory.put(0x3000, 0x40000000 | kAll | kLarge);
    EXPECT_EQ(run(kRead, 0x1abcde).gpa, 0x401abcdeU);
    EXPECT_TRUE(run(kRead).page_size_is_large);
    memory.put(0x2000, 0x80000000 | kAll | kLarge);
    EXPECT_EQ(run(kRead, 0x1abcdef).gpa, 0x81abcdefU);
}

TEST_F(LongModeTest, AddressesThatAreNotCanonical) {
    const Translation result = run(kRead, uint64_t{1} << 47);
    EXPECT_EQ(result.result, TranslateResult::kInvalidPageTableFlags);
    EXPECT_EQ(result.error_code, 0U);
}

TEST_F(LongModeTest, AnAbsentPageIsNotPresentAtEachLevel) {
    for (const uint64_t entry : {0x1000, 0x2000, 0x3000, 0x4000}) {
        const uint64_t before = memory.get(entry);
        memory.put(entry, before & ~kPresent);
        const Translation result = run(kWrite | mshv::kTranslateUserAccess);
        EXPECT_EQ(result.result, TranslateResult::kPageNotPresent);
        EXPECT_EQ(result.error_code, 6U);  // write, user
        memory.put(entry, before);
    }
}

TEST_F(LongModeTest, ReservedBits) {
    memory.put(0x4000, 0x5000 | kAll | uint64_t{1} << 40);
    EXPECT_EQ(run(kRead).result, TranslateResult::kInvalidPageTableFlags);
    EXPECT_EQ(run(kRead).error_code, 9U);  // present, reserved
    memory.put(0x4000, 0x5000 | kAll | kNoExecute);
    EXPECT_EQ(run(kRead).result, TranslateResult::kSuccess);
    state.efer &= ~kEferNxe;
    EXPECT_EQ(run(kRead).result, TranslateResult::kInvalidPageTableFlags);
}

TEST_F(LongModeTest, TablesThatAreNowhere) {
    memory.put(0x2000, 0x20000 | kAll);
    EXPECT_EQ(run(kRead).result, TranslateResult::kGpaUnmapped);
}

TEST_F(LongModeTest, APageThatIsNowhereTranslates) {
    memory.put(0x4000, 0xfee00000 | kAll);
    EXPECT_EQ(run(kRead).result, TranslateResult::kSuccess);
    EXPECT_EQ(run(kRead).gpa, 0xfee00123U);
}

TEST_F(LongModeTest, UserNeedsTheUserBitOfAllLevels) {
    memory.put(0x3000, memory.get(0x3000) & ~kUser);
    EXPECT_EQ(run(kRead).result, TranslateResult::kSuccess);
    state.cpl = 3;
    EXPECT_EQ(run(kRead).result, TranslateResult::kPrivilegeViolation);
    EXPECT_EQ(run(kRead | mshv::kTranslateSupervisorAccess).result, TranslateResult::kSuccess);
    EXPECT_EQ(run(kRead | mshv::kTranslatePrivilegeExempt).result, TranslateResult::kSuccess);
    state.cpl = 0;
    EXPECT_EQ(run(kRead | mshv::kTranslateUserAccess).error_code, 5U);  // present, user
}

TEST_F(LongModeTest, SupervisorWritesReadOnlyPagesWithoutWp) {
    memory.put(0x4000, 0x5000 | kPresent | kUser);
    EXPECT_EQ(run(kWrite).result, TranslateResult::kPrivilegeViolation);
    EXPECT_EQ(run(kWrite).error_code, 3U);  // present, write
    state.cr0 &= ~kCr0Wp;
    EXPECT_EQ(run(kWrite).result, TranslateResult::kSuccess);
    EXPECT_EQ(run(kWrite | mshv::kTranslateUserAccess).result,
              TranslateResult::kPrivilegeViolation);
}

TEST_F(LongModeTest, NoExecute) {
    memory.put(0x2000, memory.get(0x2000) | kNoExecute);
    EXPECT_EQ(run(kRead).result, TranslateResult::kSuccess);
    EXPECT_EQ(run(kExecute).result, TranslateResult::kPrivilegeViolation);
    EXPECT_EQ(run(kExecute).error_code, 0x11U);  // present, fetch
}

TEST_F(LongModeTest, SmepKeepsTheSupervisorFromExecutingUserPages) {
    EXPECT_EQ(run(kExecute).result, TranslateResult::kSuccess);
    state.cr4 |= kCr4Smep;
    EXPECT_EQ(run(kExecute).result, TranslateResult::kPrivilegeViolation);
    EXPECT_EQ(run(kRead).result, TranslateResult::kSuccess);
}

TEST_F(LongModeTest, SmapKeepsTheSupervisorFromUserPages) {
    state.cr4 |= kCr4Smap;
    EXPECT_EQ(run(kRead).result, TranslateResult::kPrivilegeViolation);
    EXPECT_EQ(run(kRead | mshv::kTranslateOverrideSmap).result, TranslateResult::kSuccess);
    state.rflags = kRflagsAc;
    EXPECT_EQ(run(kRead).result, TranslateResult::kSuccess);
    EXPECT_EQ(run(kRead | mshv::kTranslateEnforceSmap).result,
              TranslateResult::kPrivilegeViolation);
}

TEST_F(LongModeTest, NothingIsMarkedUnlessAskedFor) {
    run(kWrite);
    EXPECT_EQ(memory.get(0x4000) & (kAccessed | kDirty), 0U);
}

TEST_F(LongModeTest, AccessedAtAllLevelsDirtyAtTheLast) {
    run(kRead | kMark);
    for (const uint64_t entry : {0x1000, 0x2000, 0x3000, 0x4000}) {
        EXPECT_EQ(memory.get(entry) & (kAccessed | kDirty), kAccessed);
    }
    run(kWrite | kMark);
    EXPECT_EQ(memory.get(0x3000) & kDirty, 0U);
    EXPECT_EQ(memory.get(0x4000) & kDirty, kDirty);
}

TEST_F(LongModeTest, TablesInReadOnlyMemoryCannotBeMarked) {
    memory.read_only_below = 0x4000;
    EXPECT_EQ(run(kRead | kMark).result, TranslateResult::kGpaNoWriteAccess);
    EXPECT_EQ(run(kRead).result, TranslateResult::kSuccess);
}

TEST_F(LongModeTest, ReadLinearStopsWhereMemoryEnds) {
    memory.put(0x4008, 0x7000 | kAll);
    memory.bytes[0x5fff] = 0xab;
    memory.bytes[0x7000] = 0xcd;
    uint8_t bytes[2] = {};
    EXPECT_EQ(read_linear(memory, state, 0xfff, bytes, 2, kExecute), 2U);
    EXPECT_EQ(bytes[0], 0xab);
    EXPECT_EQ(bytes[1], 0xcd);
    memory.put(0x4008, 0);
    EXPECT_EQ(read_linear(memory, state, 0xfff, bytes, 2, kExecute), 1U);
}

TEST(PagingStateOf, PrivilegeLevelIsTheStackSegments) {
    kvm_regs regs{};
    kvm_sregs sregs{};
    sregs.ss.dpl = 3;
    EXPECT_EQ(paging_state(regs, sregs, 40).cpl, 0);
    sregs.cr0 = 1;
    EXPECT_EQ(paging_state(regs, sregs, 40).cpl, 3);
}

}  // namespace
}  // namespace halcyon::emulator
