// Instructions that libx86emu lacks or gets wrong, one test each.
#include "tests/accel/soft_guest_test.h"

namespace halcyon::testing_support {
namespace {

constexpr uint64_t kCarry = 1;
constexpr uint64_t kZero = 1 << 6;
constexpr uint64_t kOverflow = 1 << 11;
constexpr uint8_t kDivideError = 0;
constexpr uint8_t kInvalidOpcode = 6;
constexpr uint8_t kProtection = 13;

class SoftInstruction : public SoftGuestTest {};

TEST_F(SoftInstruction, DisplacementFromBasePointerUsesTheStackSegment) {
    VcpuRegisters start = real_mode_registers();
    start.ss = {.base = 0x4000, .limit = 0xffff, .selector = 0x400, .attributes = 0x93};
    start.gpr[kRbp] = 0x100;
    guest_.write<uint32_t>(0x4000 + 0x104, 0x11223344);
    // mov eax, [ebp + 4]
    EXPECT_EQ(run_real({0x67, 0x66, 0x8b, 0x45, 0x04}, start).gpr[kRax], 0x11223344u);
}

TEST_F(SoftInstruction, RepeatedOperandPrefixCountsOnce) {
    // mov eax, 0x12345678 with two prefixes
    EXPECT_EQ(run_real({0x66, 0x66, 0xb8, 0x78, 0x56, 0x34, 0x12}).gpr[kRax], 0x12345678u);
}

TEST_F(SoftInstruction, LongerThanFifteenBytesIsAProtectionFault) {
    catch_interrupt(kProtection);
    Code code(15, 0xf3);
    code.push_back(0x90);
    EXPECT_EQ(run_real(code).rip, after_handler(kProtection));
}

TEST_F(SoftInstruction, EndlessPrefixesAreAProtectionFault) {
    catch_interrupt(kProtection);
    EXPECT_EQ(run_real(Code(4000, 0xf2)).rip, after_handler(kProtection));
    EXPECT_EQ(guest_.read<uint16_t>(kStackTop - 6), kCode);
}

TEST_F(SoftInstruction, AamByZeroIsADivideError) {
    catch_interrupt(kDivideError);
    EXPECT_EQ(run_real({0xd4, 0x00}).rip, after_handler(kDivideError));
    EXPECT_EQ(guest_.read<uint16_t>(kStackTop - 6), kCode);
}

TEST_F(SoftInstruction, MostNegativeDividendByMinusOneIsADivideError) {
    catch_interrupt(kDivideError);
    VcpuRegisters start = real_mode_registers();
    start.gpr[kRdx] = 0x80000000;
    start.gpr[kRcx] = 0xffffffff;
    EXPECT_EQ(run_real({0x66, 0xf7, 0xf9}, start).rip, after_handler(kDivideError));  // idiv ecx
    start.gpr[kRdx] = 0x8000;
    EXPECT_EQ(run_real({0xf7, 0xf9}, start).rip, after_handler(kDivideError));  // idiv cx
}

TEST_F(SoftInstruction, ConditionalMoveComparesSignAndOverflow) {
    VcpuRegisters start = real_mode_registers();
    start.rflags = 0x882;  // SF and OF: not less
    start.gpr[kRcx] = 7;
    EXPECT_EQ(run_real({0x0f, 0x4c, 0xc1}, start).gpr[kRax], 0u);  // cmovl ax, cx
    EXPECT_EQ(run_real({0x0f, 0x4d, 0xc1}, start).gpr[kRax], 7u);  // cmovge ax, cx
}

TEST_F(SoftInstruction, ShiftCountIsMasked) {
    VcpuRegisters start = real_mode_registers();
    start.gpr[kRax] = 1;
    start.gpr[kRcx] = 33;
    EXPECT_EQ(run_real({0x66, 0xd3, 0xe0}, start).gpr[kRax], 2u);  // shl eax, cl
    start.gpr[kRcx] = 32;
    EXPECT_EQ(run_real({0x66, 0xd3, 0xe0}, start).gpr[kRax], 1u);
}

TEST_F(SoftInstruction, BitTestReachesBeyondItsOperand) {
    VcpuRegisters start = real_mode_registers();
    start.gpr[kRbx] = kData;
    start.gpr[kRax] = 100;
    run_real({0x66, 0x0f, 0xab, 0x07}, start);  // bts [bx], eax
    EXPECT_EQ(guest_.read<uint32_t>(kData + 12), 1u << 4);
    start.gpr[kRax] = 0xfffffff0;
    run_real({0x66, 0x0f, 0xab, 0x07}, start);
    EXPECT_EQ(guest_.read<uint32_t>(kData - 4), 1u << 16);
}

TEST_F(SoftInstruction, BitScanOfZeroLeavesTheDestination) {
    VcpuRegisters start = real_mode_registers();
    start.gpr[kRax] = 0x1234;
    const VcpuRegisters end = run_real({0x0f, 0xbc, 0xc1}, start);  // bsf ax, cx
    EXPECT_EQ(end.gpr[kRax], 0x1234u);
    EXPECT_NE(end.rflags & kZero, 0u);
}

TEST_F(SoftInstruction, CompareAndExchange) {
    VcpuRegisters start = real_mode_registers();
    start.gpr[kRbx] = kData;
    start.gpr[kRax] = 5;
    start.gpr[kRcx] = 9;
    guest_.write<uint16_t>(kData, 5);
    VcpuRegisters end = run_real({0xf0, 0x0f, 0xb1, 0x0f}, start);  // lock cmpxchg [bx], cx
    EXPECT_NE(end.rflags & kZero, 0u);
    EXPECT_EQ(guest_.read<uint16_t>(kData), 9u);
    end = run_real({0xf0, 0x0f, 0xb1, 0x0f}, start);
    EXPECT_EQ(end.rflags & kZero, 0u);
    EXPECT_EQ(end.gpr[kRax], 9u);
}

TEST_F(SoftInstruction, CompareAndExchangeEightBytes) {
    VcpuRegisters start = real_mode_registers();
    start.gpr[kRsi] = kData;
    start.gpr[kRax] = 1;
    start.gpr[kRdx] = 2;
    start.gpr[kRbx] = 3;
    start.gpr[kRcx] = 4;
    guest_.write<uint64_t>(kData, 0x0000000200000001);
    run_real({0x0f, 0xc7, 0x0c}, start);  // cmpxchg8b [si]
    EXPECT_EQ(guest_.read<uint64_t>(kData), 0x0000000400000003u);
}

TEST_F(SoftInstruction, ExchangeAndAdd) {
    VcpuRegisters start = real_mode_registers();
    start.gpr[kRbx] = kData;
    start.gpr[kRax] = 0xffff;
    guest_.write<uint16_t>(kData, 2);
    const VcpuRegisters end = run_real({0x0f, 0xc1, 0x07}, start);  // xadd [bx], ax
    EXPECT_EQ(end.gpr[kRax], 2u);
    EXPECT_EQ(guest_.read<uint16_t>(kData), 1u);
    EXPECT_NE(end.rflags & kCarry, 0u);
}

TEST_F(SoftInstruction, LoopCountsByAddressSize) {
    VcpuRegisters start = real_mode_registers();
    start.gpr[kRcx] = 0x10001;
    // addr32 loop to itself: 10001h rounds, not 1
    EXPECT_EQ(run_real({0x67, 0xe2, 0xfd}, start).gpr[kRcx], 0u);
}

TEST_F(SoftInstruction, PopToMemoryCountsFromThePoppedStackPointer) {
    VcpuRegisters start = protected_mode_registers();
    start.gpr[kRsp] = 0x7000;
    guest_.write<uint32_t>(0x7000, 0xcafe);
    run_protected({0x8f, 0x04, 0x24}, start);  // pop [esp]
    EXPECT_EQ(guest_.read<uint32_t>(0x7004), 0xcafeu);
}

TEST_F(SoftInstruction, LockOnAReadIsInvalid) {
    catch_interrupt(kInvalidOpcode);
    EXPECT_EQ(run_real({0xf0, 0x8b, 0x07}).rip, after_handler(kInvalidOpcode));
}

TEST_F(SoftInstruction, FaultLeavesRegistersAsTheyWere) {
    catch_interrupt(kProtection);
    VcpuRegisters start = real_mode_registers();
    start.gpr[kRbx] = 0xffff;
    start.gpr[kRax] = 0x5555;
    const VcpuRegisters end = run_real({0x8b, 0x07}, start);  // mov ax, [bx]: crosses the limit
    EXPECT_EQ(end.rip, after_handler(kProtection));
    EXPECT_EQ(end.gpr[kRax], 0x5555u);
    EXPECT_EQ(guest_.read<uint16_t>(kStackTop - 6), kCode);
}

TEST_F(SoftInstruction, FaultingStoreChangesNoMemory) {
    catch_interrupt(kProtection);
    VcpuRegisters start = real_mode_registers();
    start.gpr[kRbx] = 0xfffe;
    start.gpr[kRax] = 0x55555555;
    run_real({0x66, 0x89, 0x07}, start);  // mov [bx], eax
    EXPECT_EQ(guest_.read<uint32_t>(0xfffe), 0u);
}

TEST_F(SoftInstruction, FaultInARepetitionKeepsWhatIsDone) {
    catch_interrupt(kProtection);
    VcpuRegisters start = real_mode_registers();
    start.gpr[kRdi] = 0xfffa;
    start.gpr[kRcx] = 100;
    start.gpr[kRax] = 0x77777777;
    start.rflags |= 0x400;  // downwards, so that nothing is batched
    start.gpr[kRdi] = 5;
    const VcpuRegisters end = run_real({0xf3, 0xab}, start);  // rep stosw, wraps to FFFFh
    EXPECT_EQ(end.rip, after_handler(kProtection));
    EXPECT_EQ(end.gpr[kRcx], 97u);
    EXPECT_EQ(end.gpr[kRdi], 0xffffu);
}

TEST_F(SoftInstruction, CopyOntoItselfRepeatsThePattern) {
    VcpuRegisters start = real_mode_registers();
    guest_.write<uint16_t>(kData, 0xbeef);
    start.gpr[kRsi] = kData;
    start.gpr[kRdi] = kData + 2;
    start.gpr[kRcx] = 50;
    run_real({0xf3, 0xa5}, start);  // rep movsw
    EXPECT_EQ(guest_.read<uint16_t>(kData + 100), 0xbeefu);
}

TEST_F(SoftInstruction, RepeatedFillCrossesPages) {
    VcpuRegisters start = protected_mode_registers();
    start.gpr[kRdi] = 0x10003;
    start.gpr[kRcx] = 5000;
    start.gpr[kRax] = 0x01020304;
    const VcpuRegisters end = run_protected({0xf3, 0xab}, start);  // rep stosd
    EXPECT_EQ(end.gpr[kRdi], 0x10003u + 20000);
    EXPECT_EQ(end.gpr[kRcx], 0u);
    for (uint32_t i = 0; i < 5000; ++i) {
        ASSERT_EQ(guest_.read<uint32_t>(0x10003 + 4 * i), 0x01020304u) << i;
    }
    EXPECT_EQ(guest_.read<uint8_t>(0x10002), 0u);
    EXPECT_EQ(guest_.read<uint8_t>(0x10003 + 20000), 0u);
}

TEST_F(SoftInstruction, RepeatedCompareStopsAtTheDifference) {
    VcpuRegisters start = real_mode_registers();
    start.gpr[kRsi] = kData;
    start.gpr[kRdi] = kData + 0x100;
    start.gpr[kRcx] = 10;
    guest_.write<uint8_t>(kData + 3, 1);
    const VcpuRegisters end = run_real({0xf3, 0xa6}, start);  // repe cmpsb
    EXPECT_EQ(end.gpr[kRcx], 6u);
    EXPECT_EQ(end.rflags & kZero, 0u);
}

TEST_F(SoftInstruction, OutOfStringUsesItsSegmentAndStride) {
    VcpuRegisters start = real_mode_registers();
    start.gpr[kRsi] = kData;
    start.gpr[kRdx] = 0x80;
    start.gpr[kRcx] = 2;
    guest_.write<uint32_t>(kData, 0x22221111);
    EXPECT_EQ(run_real({0xf3, 0x6f}, start).gpr[kRsi], kData + 4u);  // rep outsw
    EXPECT_EQ(guest_.io().accesses(),
              (std::vector<Access>{{AccessKind::kPioWrite, 0x80, 2, 0x1111},
                                   {AccessKind::kPioWrite, 0x80, 2, 0x2222}}));
}

TEST_F(SoftInstruction, RotateThroughCarryOfMoreThanTheWidth) {
    VcpuRegisters start = real_mode_registers();
    start.gpr[kRax] = 0x81;
    const VcpuRegisters end = run_real({0xc0, 0xd0, 0x0a}, start);  // rcl al, 10: as by 1
    EXPECT_EQ(end.gpr[kRax], 0x02u);
    EXPECT_NE(end.rflags & kCarry, 0u);
}

TEST_F(SoftInstruction, ShiftByZeroLeavesFlags) {
    VcpuRegisters start = real_mode_registers();
    start.rflags = 2 | kOverflow | kCarry;
    const VcpuRegisters end = run_real({0xd3, 0xe0}, start);  // shl ax, cl
    EXPECT_EQ(end.rflags & (kOverflow | kCarry), kOverflow | kCarry);
}

TEST_F(SoftInstruction, NoCoprocessorIsFoundAndKillsNothing) {
    guest_.write<uint16_t>(kData, 0x5a5a);
    // fninit; fnstsw [kData]
    run_real({0xdb, 0xe3, 0xdd, 0x3e, 0x00, 0x20});
    EXPECT_EQ(guest_.read<uint16_t>(kData), 0x5a5au);
}

TEST_F(SoftInstruction, NearJumpBeyondTheLimitFaultsAtTheJump) {
    catch_interrupt(kProtection);
    run_real({0x66, 0xe9, 0x00, 0x00, 0x10, 0x00});  // o32 jmp +100000h
    EXPECT_EQ(guest_.read<uint16_t>(kStackTop - 6), kCode);
}

TEST_F(SoftInstruction, PushOfASegmentWritesAWord) {
    VcpuRegisters start = protected_mode_registers();
    start.gpr[kRsp] = 0x7004;
    guest_.write<uint32_t>(0x7000, 0xaaaaaaaa);
    EXPECT_EQ(run_protected({0x1e}, start).gpr[kRsp], 0x7000u);  // push ds
    EXPECT_EQ(guest_.read<uint32_t>(0x7000), 0xaaaa0010u);
}

TEST_F(SoftInstruction, AccessAcrossPagesAndIntoTheHole) {
    VcpuRegisters start = protected_mode_registers();
    start.gpr[kRbx] = kHole - 2;
    guest_.write<uint16_t>(kHole - 2, 0x2211);
    guest_.io().on_read = [](const Access& access) { return access.address & 0xff; };
    EXPECT_EQ(run_protected({0x8b, 0x03}, start).gpr[kRax], 0x01002211u);  // mov eax, [ebx]
}

TEST_F(SoftInstruction, CodeOutsideMemoryReadsAsOnes) {
    catch_interrupt(kInvalidOpcode);
    VcpuRegisters start = real_mode_registers();
    start.cs = {.base = kHole, .limit = 0xffff, .selector = 0xa000, .attributes = 0x9b};
    EXPECT_EQ(run_real({}, start).rip, after_handler(kInvalidOpcode));
    EXPECT_TRUE(guest_.io().accesses().empty());
}

}  // namespace
}  // namespace halcyon::testing_support
