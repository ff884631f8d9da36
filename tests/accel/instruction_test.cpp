// The executor's dealings with the bus: fetch, checks before writes, what stops an instruction.
#include "accel/mshv/instruction.h"

#include <gtest/gtest.h>

#include "tests/accel/instruction_guest.h"

namespace halcyon::testing_support {

namespace {

using InstructionFetch = InstructionGuest;
using InstructionAccess = InstructionGuest;
using InstructionOutcome = InstructionGuest;

TEST_F(InstructionFetch, WhatIsGivenIsNotFetched) {
    registers.gpr[kRcx] = kDataAt;
    expect_done({0x89, 0x01});  // mov [rcx], eax
    EXPECT_EQ(bus.log, (std::vector<Access>{{Access::kWrite, kDataAt, 4, 0}}));
}

TEST_F(InstructionFetch, MissingBytesAreFetched) {
    registers.gpr[kRax] = 0x12345678;
    registers.gpr[kRcx] = kDataAt;
    bus.put<uint32_t>(kCodeAt, 0x90104189);  // mov [rcx+10h], eax
    const Result result = run({0x89});
    EXPECT_EQ(result.outcome, Outcome::kDone);
    EXPECT_EQ(registers.rip, kCodeAt + 3);
    EXPECT_EQ(bus.get<uint32_t>(kDataAt + 0x10), 0x12345678U);
    ASSERT_EQ(bus.log.size(), 2U);
    EXPECT_EQ(bus.log[0], (Access{Access::kFetch, kCodeAt + 1, 14, 0}));
}

TEST_F(InstructionFetch, NoneGivenIsAllFetched) {
    registers.gpr[kRcx] = kDataAt;
    bus.put<uint16_t>(kCodeAt, 0x0189);
    EXPECT_EQ(run({}).outcome, Outcome::kDone);
    EXPECT_EQ(registers.rip, kCodeAt + 2);
}

TEST_F(InstructionFetch, NextPageIsFetchedOnlyWhenTheInstructionReachesIt) {
    constexpr uint64_t kPageEnd = 0x2000;
    bus.set_rights(kPageEnd, PageRights::kNone);
    registers.gpr[kRcx] = kDataAt;
    registers.rip = kPageEnd - 2;
    bus.put<uint16_t>(kPageEnd - 2, 0x0189);
    EXPECT_EQ(run({}).outcome, Outcome::kDone);
    registers.rip = kPageEnd - 2;
    bus.put<uint16_t>(kPageEnd - 2, 0x4189);  // has a displacement
    expect_exception({}, FakeBus::kPageFault, 0, kPageEnd);
}

TEST_F(InstructionFetch, ItGoesOverTheEndOfAPage) {
    constexpr uint64_t kPageEnd = 0x2000;
    registers.gpr[kRcx] = kDataAt;
    registers.rip = kPageEnd - 3;
    bus.put<uint64_t>(kPageEnd - 3, 0x11223344'01c7);  // mov dword [rcx], 11223344h
    EXPECT_EQ(run({}).outcome, Outcome::kDone);
    EXPECT_EQ(registers.rip, kPageEnd + 3);
    EXPECT_EQ(bus.get<uint32_t>(kDataAt), 0x11223344U);
    EXPECT_FALSE(bus.misused);
}

TEST_F(InstructionFetch, BeyondTheCodeSegmentIsProtectionFault) {
    use_protected_mode();
    registers.cs.limit = kCodeAt + 2;
    registers.gpr[kRcx] = kDataAt;
    bus.put<uint32_t>(kCodeAt, 0x00004189);
    EXPECT_EQ(run({}).outcome, Outcome::kDone);
    registers.rip = kCodeAt + 1;
    bus.put<uint32_t>(kCodeAt + 1, 0x00004189);
    expect_exception({}, kProtection, 0);
    expect_exception({0x89, 0x41, 0x00}, kProtection, 0);
}

TEST_F(InstructionFetch, LongestIsFifteenBytes) {
    registers.gpr[kRcx] = kDataAt;
    expect_done(
        {0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x89, 0x01});
    expect_exception({0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e,
                      0x2e, 0x89, 0x01},
                     kProtection, 0);
}

TEST_F(InstructionAccess, WriteOverTheEndOfAPageIsCheckedFirst) {
    registers.gpr[kRax] = 0x11223344;
    registers.gpr[kRcx] = 0x4ffe;
    expect_done({0x89, 0x01});
    EXPECT_EQ(bus.log, (std::vector<Access>{{Access::kCheck, 0x4ffe, 2, 0},
                                            {Access::kCheck, 0x5000, 2, 0},
                                            {Access::kWrite, 0x4ffe, 2, 0x3344},
                                            {Access::kWrite, 0x5000, 2, 0x1122}}));
}

TEST_F(InstructionAccess, NothingIsWrittenWhenTheSecondPageFaults) {
    bus.set_rights(0x5000, PageRights::kRead);
    registers.gpr[kRax] = 0x11223344;
    registers.gpr[kRcx] = 0x4ffe;
    expect_exception({0x89, 0x01}, FakeBus::kPageFault, 3, 0x5000);
    EXPECT_EQ(bus.get<uint16_t>(0x4ffe), 0);
}

TEST_F(InstructionAccess, NothingIsReadWhenTheSecondPageFaults) {
    bus.set_rights(0x5000, PageRights::kNone);
    registers.gpr[kRcx] = 0x4ffe;
    expect_exception({0x8b, 0x01}, FakeBus::kPageFault, 0, 0x5000);
    for (const Access& access : bus.log) {
        EXPECT_EQ(access.kind, Access::kCheck);
    }
}

TEST_F(InstructionAccess, ReadModifyWriteIsCheckedBeforeItReads) {
    registers.gpr[kRcx] = kDataAt;
    bus.put<uint32_t>(kDataAt, 5);
    expect_done({0xf0, 0xff, 0x01});  // lock inc dword [rcx]
    EXPECT_EQ(bus.log, (std::vector<Access>{{Access::kCheck, kDataAt, 4, 0},
                                            {Access::kRead, kDataAt, 4, 0},
                                            {Access::kWrite, kDataAt, 4, 6}}));
    bus.log.clear();
    bus.set_rights(kDataAt, PageRights::kRead);
    expect_exception({0xff, 0x01}, FakeBus::kPageFault, 3, kDataAt);
    EXPECT_EQ(bus.log.size(), 1U);
}

TEST_F(InstructionAccess, ComparisonsOnlyRead) {
    registers.gpr[kRcx] = kDataAt;
    bus.set_rights(kDataAt, PageRights::kRead);
    expect_done({0x83, 0x39, 0x00});        // cmp dword [rcx], 0
    expect_done({0xf6, 0x01, 0x01});        // test byte [rcx], 1
    expect_done({0x0f, 0xba, 0x21, 0x01});  // bt dword [rcx], 1
    expect_done({0x48, 0x0f, 0x44, 0x01});  // cmovz rax, [rcx]
    EXPECT_EQ(bus.log, (std::vector<Access>{{Access::kRead, kDataAt, 4, 0},
                                            {Access::kRead, kDataAt, 1, 0},
                                            {Access::kRead, kDataAt, 4, 0},
                                            {Access::kRead, kDataAt, 8, 0}}));
}

TEST_F(InstructionAccess, CompareExchangeWritesAlsoWhenItFails) {
    registers.gpr[kRax] = 1;
    registers.gpr[kRcx] = kDataAt;
    registers.gpr[kRdx] = 2;
    bus.put<uint8_t>(kDataAt, 7);
    expect_done({0x0f, 0xb0, 0x11});  // cmpxchg [rcx], dl
    EXPECT_EQ(registers.gpr[kRax], 7U);
    ASSERT_EQ(bus.log.size(), 3U);
    EXPECT_EQ(bus.log[2], (Access{Access::kWrite, kDataAt, 1, 7}));
}

TEST_F(InstructionAccess, StackThatIsNoMemoryIsUsedLikeAnyOther) {
    registers.gpr[kRax] = 0x1122334455667788;
    expect_done({0x50});  // push rax
    EXPECT_EQ(bus.log, (std::vector<Access>{{Access::kWrite, 0x7ff8, 8, 0x1122334455667788}}));
    expect_done({0x59});  // pop rcx
    EXPECT_EQ(registers.gpr[kRcx], registers.gpr[kRax]);
    EXPECT_EQ(registers.gpr[kRsp], 0x8000U);
}

TEST_F(InstructionAccess, CallPushesTheNextInstruction) {
    EXPECT_EQ(run({0xe8, 0x00, 0x01, 0x00, 0x00}).outcome, Outcome::kDone);
    EXPECT_EQ(registers.rip, kCodeAt + 0x105);
    EXPECT_EQ(bus.get<uint64_t>(0x7ff8), kCodeAt + 5);
}

TEST_F(InstructionAccess, CallBeyondTheCodeSegmentPushesNothing) {
    use_protected_mode();
    registers.cs.limit = 0x1fff;
    expect_exception({0xe8, 0x00, 0x10, 0x00, 0x00}, kProtection, 0);
    EXPECT_TRUE(bus.log.empty());
}

TEST_F(InstructionAccess, FlushingALineTouchesNothing) {
    registers.gpr[kRcx] = kDataAt;
    expect_done({0x0f, 0xae, 0x39});        // clflush [rcx]
    expect_done({0x66, 0x0f, 0xae, 0x39});  // clflushopt [rcx]
    expect_done({0x66, 0x0f, 0xae, 0x31});  // clwb [rcx]
    EXPECT_TRUE(bus.log.empty());
}

TEST_F(InstructionOutcome, DoneClearsTheResumeFlag) {
    registers.rflags |= kResume;
    registers.gpr[kRcx] = kDataAt;
    expect_done({0x89, 0x01});
    EXPECT_EQ(registers.rflags & kResume, 0U);
}

TEST_F(InstructionOutcome, SingleStepIsReported) {
    registers.gpr[kRcx] = kDataAt;
    EXPECT_FALSE(run({0x89, 0x01}).single_step);
    registers.rflags |= kTrap;
    EXPECT_TRUE(run({0x89, 0x01}).single_step);
    registers.gpr[kRcx] = kMemorySize;
    EXPECT_FALSE(run({0x89, 0x01}).single_step);
}

TEST_F(InstructionOutcome, FailureOfTheHostIsPassedOn) {
    class FailingBus : public FakeBus {
    public:
        using FakeBus::FakeBus;
        std::optional<mshv::AccessFault> read(uint64_t, std::span<std::byte>) override {
            return mshv::AccessFault{{}, "the host is on fire"};
        }
    };
    FailingBus failing(0, kMemorySize);
    const std::byte code[] = {std::byte{0x8b}, std::byte{0x01}};
    const VcpuRegisters start = registers;
    const Result result = mshv::execute_instruction(registers, code, failing);
    EXPECT_EQ(result.outcome, Outcome::kFailed);
    EXPECT_EQ(result.detail, "the host is on fire");
    EXPECT_EQ(registers, start);
}

TEST_F(InstructionOutcome, UnsupportedInstructionIsNamed) {
    expect_unsupported({0x0f, 0xae, 0x01}, "unsupported instruction 0f ae 01 (fxsave [rcx])");
    expect_unsupported({0x0f, 0x20, 0xc0}, "unsupported instruction 0f 20 c0 (mov rax, cr0)");
    expect_unsupported({0xff, 0x19}, "unsupported instruction ff 19 (call far [rcx])");
    expect_unsupported({0xf2, 0x0f, 0xc2, 0x01, 0x00},
                       "unsupported instruction f2 0f c2 01 00 (cmpsd xmm0, [rcx], 0x00)");
}

TEST_F(InstructionOutcome, VexEncodingIsUnsupported) {
    expect_unsupported({0xc5, 0xfa, 0x6f, 0x01},
                       "unsupported instruction c5 fa 6f 01 (vmovdqu xmm0, [rcx])");
}

TEST_F(InstructionOutcome, UndefinedInstructionIsUnsupportedWithItsBytes) {
    expect_unsupported({0x06}, "undefined instruction 06");
}

TEST_F(InstructionOutcome, IllegalLockIsUndefinedOpcode) {
    expect_exception({0xf0, 0x89, 0x01}, kUndefinedOpcode, std::nullopt);
    expect_exception({0xf0, 0x01, 0xc1}, kUndefinedOpcode, std::nullopt);
}

TEST_F(InstructionOutcome, VectorsNeedTheirUnit) {
    registers.gpr[kRcx] = kDataAt;
    expect_done({0x0f, 0x28, 0x01});  // movaps xmm0, [rcx]
    registers.cr0 |= 8;
    expect_exception({0x0f, 0x28, 0x01}, kNoDevice, std::nullopt);
    expect_exception({0x0f, 0x6f, 0x01}, kNoDevice, std::nullopt);
    registers.cr4 &= ~uint64_t{0x200};
    expect_exception({0x0f, 0x28, 0x01}, kUndefinedOpcode, std::nullopt);
    expect_exception({0x0f, 0x6f, 0x01}, kNoDevice, std::nullopt);
    registers.cr0 |= 4;
    expect_exception({0x0f, 0x6f, 0x01}, kUndefinedOpcode, std::nullopt);
}

TEST_F(InstructionOutcome, MmxWithoutAccessToItIsUnsupported) {
    registers.gpr[kRcx] = kDataAt;
    bus.has_mmx = false;
    expect_unsupported({0x0f, 0x6f, 0x01}, "unsupported instruction 0f 6f 01 (movq mm0, [rcx])");
    EXPECT_TRUE(bus.log.empty());
}

}  // namespace

}  // namespace halcyon::testing_support
