// String instructions: repetitions, ports, and what is left when one stops in the middle.
#include <gtest/gtest.h>

#include "tests/accel/instruction_guest.h"

namespace halcyon::testing_support {

namespace {

using InstructionString = InstructionGuest;
using InstructionPort = InstructionGuest;

TEST_F(InstructionString, LongRepetitionIsDoneInBatches) {
    registers.rflags |= kResume;
    registers.gpr[kRcx] = mshv::kRepBatch + 2;
    registers.gpr[kRdi] = kDataAt;
    registers.gpr[kRax] = 0xaa;
    EXPECT_EQ(run({0xf3, 0xaa}).outcome, Outcome::kDone);  // rep stosb
    EXPECT_EQ(registers.rip, kCodeAt);
    EXPECT_EQ(registers.gpr[kRcx], 2U);
    EXPECT_EQ(registers.gpr[kRdi], kDataAt + mshv::kRepBatch);
    EXPECT_NE(registers.rflags & kResume, 0U);
    expect_done({0xf3, 0xaa});
    EXPECT_EQ(registers.gpr[kRcx], 0U);
    EXPECT_EQ(registers.rflags & kResume, 0U);
    EXPECT_EQ(bus.get<uint16_t>(kDataAt + mshv::kRepBatch), 0xaaaaU);
    EXPECT_EQ(bus.get<uint8_t>(kDataAt + mshv::kRepBatch + 2), 0);
}

TEST_F(InstructionString, RepetitionOfExactlyABatchEnds) {
    registers.gpr[kRcx] = mshv::kRepBatch;
    registers.gpr[kRdi] = kDataAt;
    expect_done({0xf3, 0xaa});
}

TEST_F(InstructionString, RepetitionOfNothingTouchesNothing) {
    registers.gpr[kRcx] = 0;
    registers.gpr[kRdi] = kMemorySize;
    expect_done({0xf3, 0xaa});
    expect_done({0xf3, 0x6c});
    EXPECT_TRUE(bus.log.empty());
    EXPECT_EQ(registers.gpr[kRdi], kMemorySize);
}

TEST_F(InstructionString, CountHasTheAddressSize) {
    use_real_mode();
    registers.gpr[kRcx] = 0x70002;
    registers.gpr[kRdi] = 0x50010;
    expect_done({0xf3, 0xaa});
    EXPECT_EQ(registers.gpr[kRcx], 0x70000U);
    EXPECT_EQ(registers.gpr[kRdi], 0x50012U);
    EXPECT_EQ(bus.log.size(), 2U);
}

TEST_F(InstructionString, SingleStepIsOneElement) {
    registers.rflags |= kTrap;
    registers.gpr[kRcx] = 3;
    registers.gpr[kRdi] = kDataAt;
    EXPECT_TRUE(run({0xf3, 0xaa}).single_step);
    EXPECT_EQ(registers.gpr[kRcx], 2U);
    EXPECT_EQ(registers.rip, kCodeAt);
}

TEST_F(InstructionString, FaultInTheMiddleKeepsWhatWasDone) {
    registers.gpr[kRcx] = 10;
    registers.gpr[kRdi] = 0x4ffc;
    bus.set_rights(0x5000, PageRights::kNone);
    const Result result = run({0xf3, 0xaa});
    EXPECT_EQ(result.outcome, Outcome::kException);
    EXPECT_EQ(result.exception, (mshv::GuestException{FakeBus::kPageFault, 2, 0x5000}));
    EXPECT_EQ(registers.gpr[kRcx], 6U);
    EXPECT_EQ(registers.gpr[kRdi], 0x5000U);
    EXPECT_EQ(registers.rip, kCodeAt);
}

TEST_F(InstructionString, MoveReadsNothingThatItCannotWrite) {
    registers.gpr[kRsi] = kDataAt;
    registers.gpr[kRdi] = 0x5000;
    bus.set_rights(0x5000, PageRights::kRead);
    expect_exception({0xa5}, FakeBus::kPageFault, 3, 0x5000);
    for (const Access& access : bus.log) {
        EXPECT_EQ(access.kind, Access::kCheck);
    }
}

TEST_F(InstructionString, OnePageIsCheckedOncePerCall) {
    registers.gpr[kRcx] = 3;
    registers.gpr[kRsi] = kDataAt;
    registers.gpr[kRdi] = 0x5000;
    expect_done({0xf3, 0xa5});
    EXPECT_EQ(bus.log.size(), 1U + 3 * 2);
    EXPECT_EQ(bus.log[0], (Access{Access::kCheck, 0x5000, 4, 0}));
}

TEST_F(InstructionString, CompareStopsAtTheFirstDifference) {
    registers.gpr[kRcx] = 8;
    registers.gpr[kRsi] = kDataAt;
    registers.gpr[kRdi] = 0x5000;
    bus.put<uint8_t>(0x5002, 1);
    expect_done({0xf3, 0xa6});  // repe cmpsb
    EXPECT_EQ(registers.gpr[kRcx], 5U);
    EXPECT_EQ(registers.gpr[kRsi], kDataAt + 3);
    EXPECT_EQ(registers.rflags & (kZero | kCarry), kCarry);
}

TEST_F(InstructionString, ScanStopsAtTheFirstMatch) {
    registers.gpr[kRcx] = 8;
    registers.gpr[kRdi] = kDataAt;
    registers.gpr[kRax] = 7;
    bus.put<uint8_t>(kDataAt + 4, 7);
    expect_done({0xf2, 0xae});  // repne scasb
    EXPECT_EQ(registers.gpr[kRdi], kDataAt + 5);
    EXPECT_EQ(registers.rflags & kZero, kZero);
}

TEST_F(InstructionPort, InputGoesToTheExtraSegment) {
    use_real_mode();
    registers.es.base = 0x6000;
    registers.gpr[kRdx] = 0x12340170;
    registers.gpr[kRdi] = 0x10;
    expect_done({0x3e, 0x6d});  // insw, with an override that does not matter
    EXPECT_EQ(bus.get<uint16_t>(0x6010), 0x0201U);
    EXPECT_EQ(registers.gpr[kRdi], 0x12U);
    ASSERT_EQ(bus.log.size(), 3U);
    EXPECT_EQ(bus.log[1], (Access{Access::kIn, 0x170, 2, 0}));
}

TEST_F(InstructionPort, OutputComesFromTheOverriddenSegment) {
    use_real_mode();
    registers.fs.base = 0x6000;
    registers.gpr[kRdx] = 0x80;
    registers.gpr[kRsi] = 0x20;
    bus.put<uint8_t>(0x6020, 0x55);
    expect_done({0x64, 0x6e});  // outsb
    ASSERT_EQ(bus.log.size(), 2U);
    EXPECT_EQ(bus.log[1], (Access{Access::kOut, 0x80, 1, 0x55}));
    EXPECT_EQ(registers.gpr[kRsi], 0x21U);
}

TEST_F(InstructionPort, RepeatedOutputGoesDownWithTheDirectionFlag) {
    registers.rflags |= kDown;
    registers.gpr[kRcx] = 2;
    registers.gpr[kRdx] = 0x3f8;
    registers.gpr[kRsi] = kDataAt + 4;
    bus.put<uint32_t>(kDataAt, 0x11111111);
    bus.put<uint32_t>(kDataAt + 4, 0x22222222);
    expect_done({0xf3, 0x6f});  // rep outsd
    ASSERT_EQ(bus.log.size(), 4U);
    EXPECT_EQ(bus.log[1], (Access{Access::kOut, 0x3f8, 4, 0x22222222}));
    EXPECT_EQ(bus.log[3], (Access{Access::kOut, 0x3f8, 4, 0x11111111}));
    EXPECT_EQ(registers.gpr[kRsi], kDataAt - 4);
}

TEST_F(InstructionPort, SixtyFourBitPrefixDoesNotWidenAPort) {
    registers.gpr[kRdi] = kDataAt;
    expect_done({0x48, 0x6d});
    EXPECT_EQ(registers.gpr[kRdi], kDataAt + 4);
    EXPECT_EQ(bus.log[1], (Access{Access::kIn, 0, 4, 0}));
}

TEST_F(InstructionPort, ShortAddressesInLongModeClearTheUpperHalf) {
    registers.gpr[kRcx] = 0xffffffff00000001;
    registers.gpr[kRdi] = 0xffffffff00000000 | kDataAt;
    expect_done({0x67, 0xf3, 0x6c});
    EXPECT_EQ(registers.gpr[kRcx], 0U);
    EXPECT_EQ(registers.gpr[kRdi], kDataAt + 1);
}

TEST_F(InstructionPort, InputThatCannotBeWrittenDoesNotReadThePort) {
    registers.gpr[kRcx] = 4;
    registers.gpr[kRdi] = 0x4ffe;
    bus.set_rights(0x5000, PageRights::kRead);
    const Result result = run({0xf3, 0x6c});
    EXPECT_EQ(result.exception, (mshv::GuestException{FakeBus::kPageFault, 3, 0x5000}));
    EXPECT_EQ(registers.gpr[kRcx], 2U);
    EXPECT_EQ(bus.next_input, 3);
}

TEST_F(InstructionPort, OutputThatCannotBeReadDoesNotWriteThePort) {
    registers.gpr[kRsi] = kMemorySize;
    expect_exception({0x6e}, FakeBus::kPageFault, 0, kMemorySize);
    EXPECT_EQ(bus.log.size(), 1U);
}

}  // namespace

}  // namespace halcyon::testing_support
