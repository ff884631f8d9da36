/// RUN_VP's messages of a guest in long mode with paging, and of unusual instructions.
#include <array>

#include "tests/mshv-emulator/abi_run_fixture.h"

namespace halcyon::mshv {
namespace {

constexpr uint64_t kPml4 = 0x5000;
constexpr uint64_t kPdpt = 0x6000;
constexpr uint64_t kDirectory = 0x7000;
/// The second 2 MiB of linear addresses, and of the upper half's, are the second of physical ones.
constexpr uint64_t kHigh = 0xffff800000000000;
constexpr uint64_t kLargePage = 0x200000;

constexpr auto kRbx = static_cast<RegisterName>(0x20003);
constexpr auto kRsp = static_cast<RegisterName>(0x20004);
constexpr auto kRdi = static_cast<RegisterName>(0x20007);

class AbiRunLongTest : public AbiRunTest {
protected:
    void put(uint64_t gpa, uint64_t value) { std::memcpy(ram + gpa, &value, sizeof(value)); }

    void load_long(std::initializer_list<uint8_t> code) {
        load(code);
        constexpr uint64_t kTable = 3;  // present, writable
        constexpr uint64_t kLarge = 0x83;
        put(kPml4, kPdpt | kTable);
        put(kPml4 + 256 * 8, kPdpt | kTable);
        put(kPdpt, kDirectory | kTable);
        put(kDirectory, kLarge);
        put(kDirectory + 8, kLargePage | kLarge);
        ASSERT_EQ(set(RegisterName::kCr3, kPml4), 0);
        ASSERT_EQ(set(RegisterName::kCr4, 0x620), 0);  // PAE, OSFXSR, OSXMMEXCPT
        ASSERT_EQ(set(RegisterName::kEfer, 0x500), 0);
        ASSERT_EQ(set(RegisterName::kCr0, 0x80000011), 0);
        set_segments({.base = 0, .limit = 0xffffffff, .selector = 8, .attributes = 0xa09b},
                     {.base = 0, .limit = 0xffffffff, .selector = 16, .attributes = 0xc093});
    }
};

TEST_F(AbiRunLongTest, LinearAndPhysicalAddressAreBothTold) {
    load_long({0x48, 0x8b, 0x47, 0x08, 0xe6, 0x80});  // mov rax, [rdi + 8]
    ASSERT_EQ(set(kRdi, kHigh + kLargePage + 0x100), 0);
    const auto memory = expect<MemoryIntercept>(MessageType::kUnmappedGpa);
    EXPECT_EQ(memory.header.access, InterceptAccess::kRead);
    EXPECT_EQ(memory.access_info, kGvaValid | kGvaGpaValid);
    EXPECT_EQ(memory.guest_virtual_address, kHigh + kLargePage + 0x108);
    EXPECT_EQ(memory.guest_physical_address, kLargePage + 0x108);
    EXPECT_EQ(memory.header.execution_state, kExecutionCr0Pe | kExecutionEferLma);
    page().gpr[0] = 0x1122334455667788;
    page().dirty |= kDirtyGpr;
    step_over(4);
    EXPECT_EQ(expect_io().rax, 0x1122334455667788U);
}

TEST_F(AbiRunLongTest, StoreOfEightBytesIsUndone) {
    load_long({0x48, 0x89, 0x1f, 0xe6, 0x80});  // mov [rdi], rbx
    ASSERT_EQ(set(kRdi, kHigh + kLargePage), 0);
    ASSERT_EQ(set(kRbx, 0x123456789abcdef0), 0);
    const auto memory = expect<MemoryIntercept>(MessageType::kUnmappedGpa);
    EXPECT_EQ(memory.header.rip, kCode);
    EXPECT_EQ(memory.header.access, InterceptAccess::kWrite);
    EXPECT_EQ(memory.guest_virtual_address, kHigh + kLargePage);
    step_over(3);
    EXPECT_EQ(expect_io().header.rip, kCode + 3);
}

TEST_F(AbiRunLongTest, VectorStoreIsOneMessageWithItsRegister) {
    load_long({0x0f, 0x11, 0x0f, 0xe6, 0x80});  // movups [rdi], xmm1
    ASSERT_EQ(set(kRdi, kLargePage + 0x40), 0);
    ASSERT_EQ(set(static_cast<RegisterName>(0x30001), RegisterValue{0x1111, 0x2222}), 0);
    const auto memory = expect<MemoryIntercept>(MessageType::kUnmappedGpa);
    EXPECT_EQ(memory.header.rip, kCode);
    EXPECT_EQ(memory.guest_physical_address, kLargePage + 0x40);
    EXPECT_EQ(page().xmm[1][0], 0x1111U);
    EXPECT_EQ(page().xmm[1][1], 0x2222U);
    step_over(3);
    EXPECT_EQ(expect_io().header.rip, kCode + 3);
}

TEST_F(AbiRunLongTest, VectorLoadLeavesTheRegisterToTheProgram) {
    load_long({0x0f, 0x10, 0x17, 0xe6, 0x80});  // movups xmm2, [rdi]
    constexpr auto kXmm2 = static_cast<RegisterName>(0x30002);
    ASSERT_EQ(set(kRdi, kLargePage), 0);
    ASSERT_EQ(set(kXmm2, RegisterValue{0x3333, 0x4444}), 0);
    expect<MemoryIntercept>(MessageType::kUnmappedGpa);
    expect<MemoryIntercept>(MessageType::kUnmappedGpa);
    EXPECT_EQ(get(kXmm2).low, 0x3333U);
    page().xmm[2][0] = 0x5555;
    page().dirty |= kDirtyXmm;
    step_over(3);
    expect_io();
    EXPECT_EQ(get(kXmm2).low, 0x5555U);
    EXPECT_EQ(get(kXmm2).high, 0x4444U);
}

TEST_F(AbiRunLongTest, PushOfWhatIsNotThereReadsFirst) {
    load_long({0xff, 0x37, 0xf4});  // push [rdi]
    ASSERT_EQ(set(kRdi, kLargePage), 0);
    put(kStack - 8, 0xd7d7d7d7);
    for (int i = 0; i < 2; ++i) {
        const auto memory = expect<MemoryIntercept>(MessageType::kUnmappedGpa);
        EXPECT_EQ(memory.header.access, InterceptAccess::kRead);
        EXPECT_EQ(get(kRsp).low, kStack);
    }
    EXPECT_EQ(ram[kStack - 8], 0xd7);
}

TEST_F(AbiRunLongTest, StoreAcrossTwoKindsOfMemoryIsOfTheFirst) {
    // mov [0x8ffe], eax: read-only memory, then nothing.
    load({0x66, 0xa3, 0xfe, 0x8f, 0xe6, 0x80});
    const auto memory = expect<MemoryIntercept>(MessageType::kGpaIntercept);
    EXPECT_EQ(memory.guest_physical_address, 0x8ffeU);
    EXPECT_EQ(memory.header.rip, kCode);
    step_over(4);
    EXPECT_EQ(expect_io().header.rip, kCode + 4);
}

TEST_F(AbiRunLongTest, ReadModifyWriteOfReadOnlyMemoryIsAWriteWithItsOperandsBefore) {
    load({0x87, 0x1e, 0x10, 0x80, 0xe6, 0x80});  // xchg [0x8010], bx
    rom[0x10] = 0x34;
    rom[0x11] = 0x12;
    ASSERT_EQ(set(kRbx, 0x5678), 0);
    const auto memory = expect<MemoryIntercept>(MessageType::kGpaIntercept);
    EXPECT_EQ(memory.header.access, InterceptAccess::kWrite);
    EXPECT_EQ(memory.header.rip, kCode);
    EXPECT_EQ(page().gpr[3], 0x5678U);
    EXPECT_EQ(rom[0x10], 0x34);
}

TEST_F(AbiRunLongTest, InstructionThatKvmDoesNotKnowIsAMessageAllTheSame) {
    load({0xd9, 0x07, 0xe6, 0x80});  // fld dword [bx]
    ASSERT_EQ(set(kRbx, kHole), 0);
    const auto memory = expect<MemoryIntercept>(MessageType::kUnmappedGpa);
    EXPECT_EQ(memory.header.access, InterceptAccess::kRead);
    EXPECT_EQ(memory.header.rip, kCode);
    EXPECT_EQ(memory.guest_physical_address, kHole);
    step_over(2);
    EXPECT_EQ(expect_io().header.rip, kCode + 2);
}

TEST_F(AbiRunLongTest, InterceptedMsrIsAMessageWithRipAtIt) {
    constexpr uint32_t kMsr = 0x12345;
    load({0x66, 0xb9, 0x45, 0x23, 0x01, 0x00, 0x0f, 0x32, 0xe6, 0x80});  // mov ecx, ..; rdmsr
    InstallInterceptInput input{
        .partition_id = 0, .access_mask = 3, .type = InterceptType::kMsr, .parameter = kMsr};
    ASSERT_EQ(hypercall(partition, HypercallCode::kInstallIntercept, &input, sizeof(input)), 0);
    for (int i = 0; i < 2; ++i) {
        const auto msr = expect<MsrIntercept>(MessageType::kX64MsrIntercept);
        EXPECT_EQ(msr.msr, kMsr);
        EXPECT_EQ(msr.header.rip, kCode + 6);
        EXPECT_EQ(msr.header.access, InterceptAccess::kRead);
        EXPECT_EQ(msr.header.instruction_length(), 2U);
    }
    page().gpr[0] = 0xabcd;
    page().gpr[2] = 0x1234;
    page().dirty |= kDirtyGpr;
    step_over(2);
    const auto io = expect_io();
    EXPECT_EQ(io.header.rip, kCode + 8);
    EXPECT_EQ(io.rax, 0xabcdU);
}

TEST_F(AbiRunLongTest, UnknownMsrReadsAsZeroWhenThePartitionSaysSo) {
    load({0x66, 0xb9, 0x45, 0x23, 0x01, 0x00, 0x0f, 0x32, 0xe6, 0x80});
    ASSERT_EQ(set(static_cast<RegisterName>(0x20000), 0x77), 0);
    EXPECT_EQ(expect_io().rax, 0U);
}

}  // namespace
}  // namespace halcyon::mshv
