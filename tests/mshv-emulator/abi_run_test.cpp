/// RUN_VP's messages, and what the program's register page does to the guest.
#include <array>

#include "tests/mshv-emulator/abi_run_fixture.h"

namespace halcyon::mshv {
namespace {

constexpr unsigned kRax = 0;
constexpr unsigned kRcx = 1;
constexpr unsigned kRdx = 2;
constexpr unsigned kRsi = 6;
constexpr unsigned kRdi = 7;

constexpr auto gpr_name(unsigned number) {
    return static_cast<RegisterName>(static_cast<uint32_t>(RegisterName::kRax) + number);
}

TEST_F(AbiRunTest, OutIsAMessageWithRipAtIt) {
    load({0xb0, 0x5a, 0xe6, 0x80});  // mov al, 0x5a; out 0x80, al
    const auto io = expect_io();
    EXPECT_EQ(io.header.rip, kCode + 2);
    EXPECT_EQ(io.header.instruction_length(), 2U);
    EXPECT_EQ(io.header.access, InterceptAccess::kWrite);
    EXPECT_EQ(io.header.execution_state, 0);
    EXPECT_EQ(io.header.cs.base, 0U);
    EXPECT_EQ(io.port, 0x80);
    EXPECT_EQ(io.access_size(), 1U);
    EXPECT_FALSE(io.is_string());
    EXPECT_EQ(io.rax & 0xff, 0x5aU);
    EXPECT_EQ(io.instruction_byte_count, kInstructionBytes);
    EXPECT_EQ(io.instruction_bytes[0], 0xe6);
}

TEST_F(AbiRunTest, NothingWrittenIsTheSameMessageAgain) {
    load({0xe6, 0x80, 0xe6, 0x80, 0xf4});
    const Message first = (expect_io(), message);
    for (int i = 0; i < 3; ++i) {
        expect_io();
        EXPECT_EQ(std::memcmp(&first, &message, sizeof(message)), 0);
    }
    step_over(2);
    EXPECT_EQ(expect_io().header.rip, kCode + 2);
}

TEST_F(AbiRunTest, WideOutOfOneAfterTheOther) {
    // out dx, ax; out dx, ax; out dx, eax; out dx, al
    load({0xef, 0xef, 0x66, 0xef, 0xee});
    ASSERT_EQ(set(gpr_name(kRdx), 0x1234), 0);
    uint64_t rip = kCode;
    for (const auto& [size, length] : {std::array{2U, 1U}, {2U, 1U}, {4U, 2U}, {1U, 1U}}) {
        const auto io = expect_io();
        EXPECT_EQ(io.header.rip, rip);
        EXPECT_EQ(io.access_size(), size);
        EXPECT_EQ(io.header.instruction_length(), length);
        EXPECT_EQ(io.port, 0x1234);
        step_over(length);
        rip += length;
    }
}

TEST_F(AbiRunTest, InTakesWhatThePageSays) {
    load({0xec, 0xe6, 0x80});  // in al, dx; out 0x80, al
    ASSERT_EQ(set(gpr_name(kRax), 0x1122334455667788), 0);
    const auto io = expect_io();
    EXPECT_EQ(io.header.access, InterceptAccess::kRead);
    EXPECT_EQ(io.header.rip, kCode);
    EXPECT_EQ(io.rax, 0x1122334455667788U);
    page().gpr[kRax] = 0x11223344556677aa;
    page().dirty |= kDirtyGpr;
    step_over(io.header.instruction_length());
    const auto after = expect_io();
    EXPECT_EQ(after.header.rip, kCode + 1);
    EXPECT_EQ(after.rax, 0x11223344556677aaU);
    EXPECT_EQ(page().dirty, 0U);
}

TEST_F(AbiRunTest, InTakesWhatAHypercallSays) {
    load({0x66, 0xed, 0xe6, 0x80});  // in eax, dx
    const auto io = expect_io();
    EXPECT_EQ(io.access_size(), 4U);
    EXPECT_EQ(get(RegisterName::kRip).low, kCode);
    ASSERT_EQ(set(gpr_name(kRax), 0xcafef00d), 0);
    ASSERT_EQ(set(RegisterName::kRip, kCode + io.header.instruction_length()), 0);
    EXPECT_EQ(expect_io().rax, 0xcafef00dU);
}

TEST_F(AbiRunTest, InThatIsLeftAloneComesAgain) {
    load({0xec, 0xf4});
    ASSERT_EQ(set(gpr_name(kRax), 0x77), 0);
    for (int i = 0; i < 3; ++i) {
        const auto io = expect_io();
        EXPECT_EQ(io.header.rip, kCode);
        EXPECT_EQ(io.rax, 0x77U);
    }
}

TEST_F(AbiRunTest, AReadMayBeAnsweredByGoingElsewhere) {
    load({0xec, 0xf4});
    ram[0x2000] = 0xe6;  // out 0x90, al
    ram[0x2001] = 0x90;
    expect_io();
    page().rip = 0x2000;
    page().gpr[kRax] = 0x99;
    page().dirty |= kDirtyRip | kDirtyGpr;
    const auto io = expect_io();
    EXPECT_EQ(io.port, 0x90);
    EXPECT_EQ(io.rax, 0x99U);
}

TEST_F(AbiRunTest, StringOutHasItsRegistersBefore) {
    load({0xf3, 0x6e, 0xe6, 0x80});  // rep outsb
    ASSERT_EQ(set(gpr_name(kRdx), 0x402), 0);
    ASSERT_EQ(set(gpr_name(kRsi), 0x3000), 0);
    ASSERT_EQ(set(gpr_name(kRcx), 3), 0);
    for (int i = 0; i < 2; ++i) {
        const auto io = expect_io();
        EXPECT_TRUE(io.is_string());
        EXPECT_TRUE(io.has_rep());
        EXPECT_EQ(io.header.rip, kCode);
        EXPECT_EQ(io.header.rflags & 0x10000, 0U);
        EXPECT_EQ(io.rsi, 0x3000U);
        EXPECT_EQ(io.rcx, 3U);
    }
    page().gpr[kRsi] = 0x3003;
    page().gpr[kRcx] = 0;
    page().dirty |= kDirtyGpr;
    step_over(2);
    EXPECT_EQ(expect_io().port, 0x80);
}

TEST_F(AbiRunTest, StringInLeavesMemoryAlone) {
    load({0xf3, 0x6d, 0xe6, 0x80});  // rep insw
    ASSERT_EQ(set(gpr_name(kRdi), 0x3000), 0);
    ASSERT_EQ(set(gpr_name(kRcx), 4), 0);
    std::memset(ram + 0x3000, 0xd7, 16);
    expect_io();
    const auto io = expect_io();
    EXPECT_EQ(io.access_size(), 2U);
    EXPECT_EQ(io.rdi, 0x3000U);
    EXPECT_EQ(io.rcx, 4U);
    std::memcpy(ram + 0x3000, "\1\2\3\4\5\6\7\10", 8);  // as the program does it
    page().gpr[kRdi] = 0x3008;
    page().gpr[kRcx] = 0;
    page().dirty |= kDirtyGpr;
    step_over(2);
    expect_io();
    EXPECT_EQ(std::memcmp(ram + 0x3000, "\1\2\3\4\5\6\7\10\xd7", 9), 0);
}

TEST_F(AbiRunTest, StoreToNothingIsUnmappedGpa) {
    load({0x89, 0x07, 0xf4});  // mov [bx], ax
    ASSERT_EQ(set(gpr_name(3), kHole + 0x10), 0);
    for (int i = 0; i < 2; ++i) {
        const auto memory = expect<MemoryIntercept>(MessageType::kUnmappedGpa);
        EXPECT_EQ(memory.header.rip, kCode);
        EXPECT_EQ(memory.header.access, InterceptAccess::kWrite);
        EXPECT_EQ(memory.guest_physical_address, kHole + 0x10);
        EXPECT_EQ(memory.guest_virtual_address, kHole + 0x10);
        EXPECT_EQ(memory.access_info, kGvaValid | kGvaGpaValid);
        EXPECT_EQ(memory.instruction_byte_count, kInstructionBytes);
        EXPECT_EQ(memory.instruction_bytes[0], 0x89);
    }
}

TEST_F(AbiRunTest, LoadFromNothingTakesWhatThePageSays) {
    load({0x8b, 0x07, 0xe6, 0x80});  // mov ax, [bx]; out 0x80, al
    ASSERT_EQ(set(gpr_name(3), kHole), 0);
    ASSERT_EQ(set(gpr_name(kRax), 0xaaaa5555), 0);
    const auto memory = expect<MemoryIntercept>(MessageType::kUnmappedGpa);
    EXPECT_EQ(memory.header.access, InterceptAccess::kRead);
    EXPECT_EQ(memory.header.rip, kCode);
    page().gpr[kRax] = 0xaaaa1234;
    page().dirty |= kDirtyGpr;
    step_over(2);
    const auto io = expect_io();
    EXPECT_EQ(io.rax, 0xaaaa1234U);
    EXPECT_EQ(io.header.rip, kCode + 2);
}

TEST_F(AbiRunTest, ReadModifyWriteIsOneReadAndItsEffectsAreThePrograms) {
    load({0x09, 0x07, 0xe6, 0x80});  // or [bx], ax
    ASSERT_EQ(set(gpr_name(3), kHole), 0);
    ASSERT_EQ(set(RegisterName::kRflags, 0x2), 0);
    const auto memory = expect<MemoryIntercept>(MessageType::kUnmappedGpa);
    EXPECT_EQ(memory.header.access, InterceptAccess::kRead);
    page().rflags = 0x82;
    page().dirty |= kDirtyRflags;
    step_over(2);
    EXPECT_EQ(expect_io().header.rflags, 0x82U);
}

TEST_F(AbiRunTest, MoveFromNothingToMemoryChangesNoMemory) {
    load({0xf3, 0xa4, 0xe6, 0x80});  // rep movsb
    ASSERT_EQ(set(gpr_name(kRsi), kHole), 0);
    ASSERT_EQ(set(gpr_name(kRdi), 0x3000), 0);
    ASSERT_EQ(set(gpr_name(kRcx), 0x800), 0);
    std::memset(ram + 0x3000, 0xd7, 16);
    for (int i = 0; i < 2; ++i) {
        const auto memory = expect<MemoryIntercept>(MessageType::kUnmappedGpa);
        EXPECT_EQ(memory.guest_virtual_address, kHole);
        EXPECT_EQ(page().gpr[kRcx], 0x800U);
        EXPECT_EQ(page().gpr[kRsi], kHole);
    }
    page().gpr[kRcx] = 0;
    page().dirty |= kDirtyGpr;
    step_over(2);
    expect_io();
    EXPECT_EQ(ram[0x3000], 0xd7);
    EXPECT_EQ(ram[0x3001], 0xd7);
}

TEST_F(AbiRunTest, PushAndCallToNothingHaveTheStackBefore) {
    load({0x50, 0xf4});
    ASSERT_EQ(set(gpr_name(4), kHole + 0x100), 0);
    auto memory = expect<MemoryIntercept>(MessageType::kUnmappedGpa);
    EXPECT_EQ(memory.guest_physical_address, kHole + 0xfe);
    EXPECT_EQ(memory.header.rip, kCode);
    EXPECT_EQ(page().gpr[4], kHole + 0x100);
    load({0xe8, 0x10, 0x00, 0xf4});
    ASSERT_EQ(set(gpr_name(4), kHole + 0x100), 0);
    memory = expect<MemoryIntercept>(MessageType::kUnmappedGpa);
    EXPECT_EQ(memory.header.rip, kCode);
    EXPECT_EQ(page().gpr[4], kHole + 0x100);
}

TEST_F(AbiRunTest, StoreToReadOnlyMemoryIsGpaIntercept) {
    load({0xa3, 0x10, 0x80, 0xa1, 0x10, 0x80, 0xe6, 0x80});  // mov [0x8010], ax; mov ax, [0x8010]
    rom[0x10] = 0x42;
    const auto memory = expect<MemoryIntercept>(MessageType::kGpaIntercept);
    EXPECT_EQ(memory.header.access, InterceptAccess::kWrite);
    EXPECT_EQ(memory.header.rip, kCode);
    EXPECT_EQ(memory.guest_physical_address, kRamSize + 0x10);
    step_over(3);
    EXPECT_EQ(expect_io().rax & 0xff, 0x42U);
    EXPECT_EQ(rom[0x10], 0x42);
}

TEST_F(AbiRunTest, JumpToNothingIsAnExecuteAccess) {
    load({0xb8, 0x00, 0xa0, 0xff, 0xe0});  // mov ax, 0xa000; jmp ax
    const auto memory = expect<MemoryIntercept>(MessageType::kUnmappedGpa);
    EXPECT_EQ(memory.header.access, InterceptAccess::kExecute);
    EXPECT_EQ(memory.guest_physical_address, kHole);
    EXPECT_EQ(memory.header.rip, kHole);
    EXPECT_EQ(memory.instruction_byte_count, 0);
}

TEST_F(AbiRunTest, TripleFaultIsUnrecoverable) {
    load({0x0f, 0x0b});  // ud2, in protected mode without an interrupt table
    enter_protected_mode();
    ASSERT_EQ(set(RegisterName::kIdtr, RegisterValue{0, 0}), 0);
    const auto header = expect<InterceptHeader>(MessageType::kUnrecoverableException);
    EXPECT_EQ(header.vp_index, 0U);
}

TEST_F(AbiRunTest, HaltWithoutLocalApicIsAMessageBehindIt) {
    make_partition(0);
    load({0xf4, 0xe6, 0x80});
    const auto header = expect<InterceptHeader>(MessageType::kX64Halt);
    EXPECT_EQ(header.rip, kCode + 1);
    EXPECT_EQ(expect_io().header.rip, kCode + 1);
}

TEST_F(AbiRunTest, PageIsValidAfterAMessageAndShowsTheState) {
    load({0xe6, 0x80});
    for (unsigned i = 5; i < 16; ++i) {
        ASSERT_EQ(set(gpr_name(i), 0x100 + i), 0);
    }
    expect_io();
    EXPECT_EQ(page().version, 1);
    EXPECT_EQ(page().is_valid, 1);
    EXPECT_EQ(page().rip, kCode);
    EXPECT_EQ(page().cs.limit, 0xffffU);
    EXPECT_EQ(page().cr0 & 1, 0U);
    for (unsigned i = 5; i < 16; ++i) {
        EXPECT_EQ(page().gpr[i], 0x100U + i);
    }
}

TEST_F(AbiRunTest, PageImportsEachGroup) {
    load({0xe6, 0x80, 0x0f, 0x11, 0x07});
    expect_io();
    page().gpr[15] = 0x1515151515151515;
    page().rflags |= 1;
    page().xmm[3][1] = 0x3333333333333333;
    page().es.base = 0x20;
    page().es.selector = 2;
    page().dirty = kDirtyGpr | kDirtyRflags | kDirtyXmm | kDirtySegments;
    expect_io();
    EXPECT_EQ(page().dirty, 0U);
    EXPECT_EQ(get(gpr_name(15)).low, 0x1515151515151515U);
    EXPECT_EQ(get(RegisterName::kRflags).low & 1, 1U);
    EXPECT_EQ(get(static_cast<RegisterName>(0x30003)).high, 0x3333333333333333U);
    EXPECT_EQ(get(RegisterName::kEs).low, 0x20U);
}

TEST_F(AbiRunTest, MessagePageHasTheMessage) {
    load({0xe6, 0x80});
    void* mapped = mmap_message_page();
    ASSERT_NE(mapped, nullptr);
    expect_io();
    EXPECT_EQ(std::memcmp(mapped, &message, sizeof(message)), 0);
}

TEST_F(AbiRunTest, MessageThatCannotBeHandedOverIsEfault) {
    load({0xe6, 0x80});
    EXPECT_EQ(run_into(nullptr), EFAULT);
    EXPECT_EQ(expect_io().header.rip, kCode);
}

TEST_F(AbiRunTest, BreakpointIsAMessageWhenAskedFor) {
    InstallInterceptInput input{
        .partition_id = 0, .access_mask = 4, .type = InterceptType::kException, .parameter = 3};
    ASSERT_EQ(hypercall(partition, HypercallCode::kInstallIntercept, &input, sizeof(input)), 0);
    load({0xcc, 0xf4});
    ram[3 * 4 + 1] = 0x20;  // the guest's own handler, at 0x2000, if it is not reported
    ram[0x2000] = 0xe6;
    ASSERT_EQ(run(), 0);
    if (message.type == MessageType::kX64IoPortIntercept) {
        GTEST_SKIP() << "this KVM does not report breakpoints of code that it emulates";
    }
    load({0xcc, 0xf4});
    const auto exception = expect<ExceptionIntercept>(MessageType::kX64ExceptionIntercept);
    EXPECT_EQ(exception.vector, 3);
    EXPECT_EQ(exception.header.rip, kCode);
}

}  // namespace
}  // namespace halcyon::mshv
