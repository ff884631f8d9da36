// Processor modes and segments, where they cannot be run on the processor in a process: real and
// virtual-8086 mode, code through CS, addresses that are not canonical, privilege.
#include <gtest/gtest.h>

#include "tests/accel/instruction_guest.h"

namespace halcyon::testing_support {

namespace {

using InstructionRealMode = InstructionGuest;
using InstructionVirtual8086 = InstructionGuest;
using InstructionProtectedMode = InstructionGuest;
using InstructionLongMode = InstructionGuest;

TEST_F(InstructionRealMode, AddressesAreSegmentedAndWrapAt64K) {
    use_real_mode();
    registers.gpr[kRax] = 0x11;
    registers.gpr[kRbx] = 0xffff;
    registers.gpr[kRsi] = 0x21;
    expect_done({0x88, 0x00});  // mov [bx+si], al
    EXPECT_EQ(bus.log, (std::vector<Access>{{Access::kWrite, kDataAt + 0x20, 1, 0x11}}));
}

TEST_F(InstructionRealMode, BasePointerMeansTheStackSegment) {
    use_real_mode();
    registers.ss.base = 0x6000;
    registers.gpr[kRbp] = 0x10;
    bus.put<uint16_t>(0x6012, 0xabcd);
    expect_done({0x8b, 0x46, 0x02});  // mov ax, [bp+2]
    EXPECT_EQ(registers.gpr[kRax], 0xabcdU);
}

TEST_F(InstructionRealMode, WordAtTheEndIsAFaultWithoutErrorCode) {
    use_real_mode();
    registers.gpr[kRbx] = 0xffff;
    registers.gpr[kRbp] = 0xffff;
    expect_exception({0x8b, 0x07}, kProtection, std::nullopt);        // mov ax, [bx]
    expect_exception({0x8b, 0x46, 0x00}, kStackFault, std::nullopt);  // mov ax, [bp]
    expect_done({0x8a, 0x07});                                        // mov al, [bx]
}

TEST_F(InstructionRealMode, LimitOfABiggerSegmentHolds) {
    use_real_mode();
    registers.ds.limit = 0xffffffff;
    registers.gpr[kRbx] = 0x12000;
    bus.put<uint32_t>(kDataAt + 0x12000, 0x12345678);
    expect_done({0x67, 0x66, 0x8b, 0x03});  // mov eax, [ebx]
    EXPECT_EQ(registers.gpr[kRax], 0x12345678U);
    registers.ds.limit = 0xffff;
    expect_exception({0x67, 0x66, 0x8b, 0x03}, kProtection, std::nullopt);
}

TEST_F(InstructionRealMode, CodeSegmentCanBeWritten) {
    use_real_mode();
    registers.gpr[kRax] = 0x77;
    expect_done({0x2e, 0xa2, 0x00, 0x02});  // mov cs:[200h], al
    EXPECT_EQ(bus.get<uint8_t>(kCodeAt + 0x200), 0x77);
}

TEST_F(InstructionRealMode, SegmentRegisterIsLoadedFromMemory) {
    use_real_mode();
    bus.put<uint16_t>(kDataAt + 0x10, 0x0600);
    expect_done({0x8e, 0x06, 0x10, 0x00});  // mov es, [10h]
    EXPECT_EQ(registers.es, (SegmentRegister{0x6000, 0xffff, 0x600, kData16}));
}

TEST_F(InstructionRealMode, StackPointerWrapsAt64K) {
    use_real_mode();
    registers.gpr[kRsp] = 0x50000;
    registers.gpr[kRax] = 0x1234;
    expect_done({0x50});
    EXPECT_EQ(registers.gpr[kRsp], 0x5fffeU);
    EXPECT_EQ(bus.get<uint16_t>(kDataAt + 0xfffe), 0x1234);
}

TEST_F(InstructionVirtual8086, FaultsHaveAnErrorCode) {
    use_virtual8086_mode();
    registers.gpr[kRbx] = 0xffff;
    expect_done({0x8a, 0x07});
    expect_exception({0x8b, 0x07}, kProtection, 0);
}

TEST_F(InstructionVirtual8086, SegmentAttributesDoNotMatter) {
    use_virtual8086_mode();
    registers.ds.attributes = 0;
    registers.cs.attributes = 0x4000;
    registers.ss.attributes = 0x4000;
    expect_done({0xa3, 0x00, 0x02});  // mov [200h], ax
    registers.gpr[kRsp] = 0;
    expect_done({0x50});
    EXPECT_EQ(bus.log.back(), (Access{Access::kWrite, kDataAt + 0xfffe, 2, 0}));
}

TEST_F(InstructionVirtual8086, PushingFlagsNeedsIoPrivilege) {
    use_virtual8086_mode();
    expect_exception({0x9c}, kProtection, 0);
    registers.rflags |= kIoPrivilege3;
    expect_done({0x9c});
    EXPECT_EQ(bus.get<uint16_t>(kDataAt + 0x7ffe), 0x3002);
}

TEST_F(InstructionProtectedMode, CodeIsReadableIfItSaysSoAndNeverWritable) {
    use_protected_mode();
    registers.gpr[kRbx] = kDataAt;
    expect_done({0x2e, 0x8b, 0x03});
    expect_exception({0x2e, 0x89, 0x03}, kProtection, 0);
    registers.ds.attributes = 0xc099;  // execute only
    expect_exception({0x8b, 0x03}, kProtection, 0);
}

TEST_F(InstructionProtectedMode, AbsentSegmentFaults) {
    use_protected_mode();
    registers.gpr[kRbx] = kDataAt;
    registers.gpr[kRbp] = kDataAt;
    registers.ds.attributes = registers.ss.attributes = 0x4013;
    expect_exception({0x8b, 0x03}, kProtection, 0);
    expect_exception({0x8b, 0x45, 0x00}, kStackFault, 0);
}

TEST_F(InstructionProtectedMode, ExpandDownSegmentBeginsAboveItsLimit) {
    use_protected_mode();
    registers.ds.attributes = 0x97;  // expand-down, up to FFFFh
    registers.ds.limit = kDataAt;
    registers.gpr[kRbx] = kDataAt;
    expect_exception({0x8a, 0x03}, kProtection, 0);
    registers.gpr[kRbx] = kDataAt + 1;
    expect_done({0x8a, 0x03});
    registers.gpr[kRbx] = 0xffff;
    expect_done({0x8a, 0x03});
    expect_exception({0x66, 0x8b, 0x03}, kProtection, 0);
}

TEST_F(InstructionProtectedMode, LinearAddressesWrapAt4G) {
    use_protected_mode();
    registers.ds.base = 0xfffff000;
    registers.gpr[kRax] = 0x99;
    registers.gpr[kRbx] = kDataAt + 0x1000;
    expect_done({0x88, 0x03});
    EXPECT_EQ(bus.get<uint8_t>(kDataAt), 0x99);
}

TEST_F(InstructionProtectedMode, NextInstructionWrapsAt4G) {
    use_protected_mode();
    registers.gpr[kRbx] = kDataAt;
    registers.rip = 0xfffffffe;
    EXPECT_EQ(run({0x88, 0x03}).outcome, Outcome::kDone);
    EXPECT_EQ(registers.rip, 0U);
}

TEST_F(InstructionProtectedMode, LoadingASegmentRegisterIsUnsupported) {
    use_protected_mode();
    registers.gpr[kRbx] = kDataAt;
    expect_unsupported({0x8e, 0x03}, "unsupported instruction 8e 03 (mov es, [ebx])");
}

TEST_F(InstructionProtectedMode, AlignmentIsCheckedForUsersOnly) {
    use_protected_mode();
    registers.cr0 |= 0x40000;
    registers.rflags |= kAlignmentCheck;
    registers.gpr[kRbx] = kDataAt + 1;
    expect_done({0x8b, 0x03});
    registers.ss.attributes |= 0x60;
    expect_exception({0x8b, 0x03}, kAlignment, 0);
    expect_done({0x8a, 0x03});
}

TEST_F(InstructionProtectedMode, CompatibilityModeIsNotLongMode) {
    use_long_mode();
    registers.cs.attributes = kCode32;
    registers.gpr[kRax] = 0x5a;
    registers.gpr[kRbx] = 0xffffffff00000000 | kDataAt;
    expect_done({0x88, 0x03});
    EXPECT_EQ(bus.get<uint8_t>(kDataAt), 0x5a);
}

TEST_F(InstructionLongMode, AddressThatIsNotCanonicalFaults) {
    registers.gpr[kRbx] = 0x800000000000;
    registers.gpr[kRbp] = 0x800000000000;
    expect_exception({0x8b, 0x03}, kProtection, 0);
    expect_exception({0x8b, 0x45, 0x00}, kStackFault, 0);
    registers.gpr[kRbx] = 0x7ffffffffffd;
    expect_exception({0x8b, 0x03}, kProtection, 0);  // its last byte
    EXPECT_TRUE(bus.log.empty());
}

TEST_F(InstructionLongMode, FiveLevelPagingHasMoreCanonicalAddresses) {
    registers.cr4 |= 0x1000;
    registers.gpr[kRbx] = 0x800000000000;
    expect_exception({0x8b, 0x03}, FakeBus::kPageFault, 0, 0x800000000000);
    registers.gpr[kRbx] = 0x100000000000000;
    expect_exception({0x8b, 0x03}, kProtection, 0);
}

TEST_F(InstructionLongMode, BranchToWhatIsNotCanonicalFaults) {
    registers.gpr[kRbx] = kDataAt;
    bus.put<uint64_t>(kDataAt, 0x800000000000);
    expect_exception({0xff, 0x23}, kProtection, 0);  // jmp [rbx]
}

TEST_F(InstructionLongMode, OnlyFsAndGsHaveABase) {
    registers.ds.base = registers.es.base = registers.ss.base = 0x1111;
    registers.ds.limit = 0;
    registers.ds.attributes = 0;
    registers.gs.base = 0x1000;
    registers.gs.attributes = 0;
    registers.gpr[kRbx] = kDataAt;
    expect_done({0x8a, 0x03});
    expect_done({0x65, 0x8a, 0x03});
    EXPECT_EQ(bus.log, (std::vector<Access>{{Access::kRead, kDataAt, 1, 0},
                                            {Access::kRead, kDataAt + 0x1000, 1, 0}}));
}

}  // namespace

}  // namespace halcyon::testing_support
