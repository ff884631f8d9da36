// Interrupts, exceptions, mode switches and system registers of the interpreted processor.
#include "tests/accel/soft_guest_test.h"

namespace halcyon::testing_support {
namespace {

constexpr uint32_t kGdt = 0x600;
constexpr uint32_t kIdt = 0x800;
constexpr uint64_t kInterruptFlag = 0x200;

class SoftSystem : public SoftGuestTest {
protected:
    void SetUp() override {
        guest_.write<uint64_t>(kGdt + 0x08, 0x00cf9b000000ffff);  // flat 32-bit code
        guest_.write<uint64_t>(kGdt + 0x10, 0x00cf93000000ffff);  // flat data
        guest_.write<uint64_t>(kGdt + 0x18, 0x00009b000000ffff);  // 16-bit code
        guest_.write<uint64_t>(kGdt + 0x20, 0x000093000000ffff);  // 16-bit data
        guest_.write<uint64_t>(kGdt + 0x28, 0x00cf91000000ffff);  // read-only data
        guest_.write<uint64_t>(kGdt + 0x30, 0x00cf13000000ffff);  // not present
        // The operands of LGDT and LIDT.
        guest_.write<uint16_t>(0x500, 0x37);
        guest_.write<uint32_t>(0x502, kGdt);
        guest_.write<uint16_t>(0x508, 0x7ff);
        guest_.write<uint32_t>(0x50a, kIdt);
    }
    /// A gate to kHandler + 16 * vector; `type` 8Eh is an interrupt gate, 8Fh a trap gate.
    void gate(uint8_t vector, uint8_t type = 0x8e) {
        const uint64_t handler = kHandler + 16u * vector;
        guest_.load(handler, finished({}));
        guest_.write<uint64_t>(kIdt + vector * 8u,
                               (handler & 0xffff) | 0x80000u | static_cast<uint64_t>(type) << 40);
    }
    VcpuRegisters flat() {
        VcpuRegisters registers = protected_mode_registers();
        registers.gdt = {.base = kGdt, .limit = 0x37};
        registers.idt = {.base = kIdt, .limit = 0x7ff};
        return registers;
    }
};

TEST_F(SoftSystem, InterruptInstructionUsesTheVectorTable) {
    catch_interrupt(0x10);
    VcpuRegisters start = real_mode_registers();
    start.rflags |= kInterruptFlag;
    const VcpuRegisters end = run_real({0xcd, 0x10}, start);
    EXPECT_EQ(end.rip, after_handler(0x10));
    EXPECT_EQ(end.rflags & kInterruptFlag, 0u);
    EXPECT_EQ(guest_.read<uint16_t>(kStackTop - 6), kCode + 2);
    EXPECT_EQ(guest_.read<uint16_t>(kStackTop - 2), 0x202);
}

TEST_F(SoftSystem, InterruptReturnRestoresFlags) {
    guest_.load(kHandler, {0xcf});  // iret
    guest_.write<uint32_t>(0x10 * 4, kHandler);
    VcpuRegisters start = real_mode_registers();
    start.rflags |= kInterruptFlag | 1;
    const VcpuRegisters end = run_real({0xcd, 0x10}, start);
    EXPECT_EQ(end.rip, kCode + 4u);
    EXPECT_EQ(end.rflags, 0x203u);
}

TEST_F(SoftSystem, IntoProtectedModeAndBackKeepsBigSegments) {
    const VcpuRegisters end = run_real({
        0x0f, 0x01, 0x16, 0x00, 0x05,        // lgdt [500h]
        0x0f, 0x20, 0xc0,                    // mov eax, cr0
        0x0c, 0x01,                          // or al, 1
        0x0f, 0x22, 0xc0,                    // mov cr0, eax
        0xb9, 0x10, 0x00,                    // mov cx, 10h
        0x8e, 0xc1,                          // mov es, cx
        0x24, 0xfe,                          // and al, 0feh
        0x0f, 0x22, 0xc0,                    // mov cr0, eax
        0x31, 0xc9,                          // xor cx, cx
        0x8e, 0xc1,                          // mov es, cx
        0x66, 0xbb, 0x00, 0x00, 0x02, 0x00,  // mov ebx, 20000h
        0x26, 0x67, 0xc7, 0x03, 0x34, 0x12,  // mov word es:[ebx], 1234h
    });
    EXPECT_EQ(end.cr0 & 1, 0u);
    EXPECT_EQ(end.es.limit, 0xffffffffu);
    EXPECT_EQ(end.es.base, 0u);
    EXPECT_EQ(guest_.read<uint16_t>(0x20000), 0x1234u);
}

TEST_F(SoftSystem, FarJumpIntoFlatCode) {
    guest_.load(kData, finished({0xb8, 0x44, 0x33, 0x22, 0x11}));  // mov eax, 11223344h
    const VcpuRegisters end = run_real({
        0x0f, 0x01, 0x16, 0x00, 0x05,                    // lgdt [500h]
        0x0f, 0x01, 0xe0,                                // smsw ax
        0x0c, 0x01,                                      // or al, 1
        0x0f, 0x01, 0xf0,                                // lmsw ax
        0x66, 0xea, 0x00, 0x20, 0x00, 0x00, 0x08, 0x00,  // jmp 8:2000h
    });
    EXPECT_EQ(end.gpr[kRax], 0x11223344u);
    EXPECT_EQ(end.cs.selector, 8u);
}

TEST_F(SoftSystem, ProtectionFaultPushesItsErrorCode) {
    gate(13);
    VcpuRegisters start = flat();
    start.gpr[kRax] = 0x40;                                        // beyond the table
    const VcpuRegisters end = run_protected({0x8e, 0xd8}, start);  // mov ds, ax
    EXPECT_EQ(end.rip, after_handler(13));
    EXPECT_EQ(end.gpr[kRsp], kStackTop - 16u);
    EXPECT_EQ(guest_.read<uint32_t>(kStackTop - 16), 0x40u);
    EXPECT_EQ(guest_.read<uint32_t>(kStackTop - 12), kCode);
    EXPECT_EQ(end.ds.selector, 0x10u);
}

TEST_F(SoftSystem, SegmentNotPresent) {
    gate(11);
    VcpuRegisters start = flat();
    start.gpr[kRax] = 0x30;
    EXPECT_EQ(run_protected({0x8e, 0xd8}, start).rip, after_handler(11));
    EXPECT_EQ(guest_.read<uint32_t>(kStackTop - 16), 0x30u);
}

TEST_F(SoftSystem, WriteToReadOnlySegmentFaults) {
    gate(13);
    VcpuRegisters start = flat();
    start.gpr[kRax] = 0x28;
    start.gpr[kRbx] = kData;
    // mov ds, ax; mov ecx, [ebx]; mov [ebx], ecx
    EXPECT_EQ(run_protected({0x8e, 0xd8, 0x8b, 0x0b, 0x89, 0x0b}, start).rip, after_handler(13));
    EXPECT_EQ(guest_.read<uint32_t>(kStackTop - 12), kCode + 4u);
}

TEST_F(SoftSystem, UseOfANullSegmentFaults) {
    gate(13);
    // xor eax, eax; mov ds, ax; mov al, [eax]
    EXPECT_EQ(run_protected({0x31, 0xc0, 0x8e, 0xd8, 0x8a, 0x00}, flat()).rip, after_handler(13));
}

TEST_F(SoftSystem, InterruptGateClearsTheInterruptFlagAndTrapGateDoesNot) {
    gate(0x20, 0x8e);
    gate(0x21, 0x8f);
    VcpuRegisters start = flat();
    start.rflags |= kInterruptFlag;
    EXPECT_EQ(run_protected({0xcd, 0x20}, start).rflags & kInterruptFlag, 0u);
    EXPECT_NE(run_protected({0xcd, 0x21}, start).rflags & kInterruptFlag, 0u);
}

TEST_F(SoftSystem, SecondFaultBecomesADoubleFault) {
    gate(8);  // no gate for 13
    const VcpuRegisters end = run_protected({0x0f, 0x00, 0xd8, 0xcd, 0x0d}, flat());  // ltr ax
    EXPECT_EQ(end.rip, after_handler(8));
    EXPECT_EQ(guest_.read<uint32_t>(kStackTop - 16), 0u);
}

TEST_F(SoftSystem, NoTableAtAllIsATripleFault) {
    const RunOutcome end = outcome({0x0f, 0x0b}, protected_mode_registers());  // ud2
    EXPECT_EQ(end.stop, RunStop::kTripleFault);
    EXPECT_EQ(guest_.registers().rip, kCode);
}

TEST_F(SoftSystem, SingleStepTrapsAfterTheInstruction) {
    catch_interrupt(1);
    VcpuRegisters start = real_mode_registers();
    start.rflags |= 0x100;
    const VcpuRegisters end = run_real({0x40, 0x40}, start);  // inc ax; inc ax
    EXPECT_EQ(end.rip, after_handler(1));
    EXPECT_EQ(end.gpr[kRax], 1u);
    EXPECT_EQ(end.rflags & 0x100, 0u);
}

TEST_F(SoftSystem, EnablingPagingStopsWithAReason) {
    const RunOutcome end = outcome({0x0f, 0x20, 0xc0,              // mov eax, cr0
                                    0x0d, 0x00, 0x00, 0x00, 0x80,  // or eax, 80000000h
                                    0x0f, 0x22, 0xc0},             // mov cr0, eax
                                   protected_mode_registers());
    EXPECT_EQ(end.stop, RunStop::kFault);
    EXPECT_NE(end.detail.find("the guest enabled paging at CS:EIP 0008:00001008"),
              std::string::npos)
        << end.detail;
    EXPECT_EQ(guest_.registers().rip, kCode + 8u);
}

TEST_F(SoftSystem, LongModeStopsWithAReason) {
    const RunOutcome end = outcome({0xb9, 0x80, 0x00, 0x00, 0xc0,  // mov ecx, EFER
                                    0xb8, 0x00, 0x01, 0x00, 0x00,  // mov eax, 100h
                                    0x31, 0xd2,                    // xor edx, edx
                                    0x0f, 0x30},                   // wrmsr
                                   protected_mode_registers());
    EXPECT_EQ(end.stop, RunStop::kFault);
    EXPECT_NE(end.detail.find("long mode"), std::string::npos);
}

TEST_F(SoftSystem, RegistersOfAnUnreachableModeAreRefused) {
    VcpuRegisters registers = protected_mode_registers();
    registers.cr0 |= 0x80000000;
    EXPECT_FALSE(guest_.vcpu().set_registers(registers));
}

TEST_F(SoftSystem, UnknownModelRegisterFaults) {
    catch_interrupt(13);
    VcpuRegisters start = real_mode_registers();
    start.gpr[kRcx] = 0x12345;
    EXPECT_EQ(run_real({0x0f, 0x32}, start).rip, after_handler(13));
}

TEST_F(SoftSystem, RangeRegistersKeepWhatIsWritten) {
    VcpuRegisters start = real_mode_registers();
    start.gpr[kRcx] = 0x26f;
    start.gpr[kRax] = 0x06060606;
    start.gpr[kRdx] = 0x05050505;
    // wrmsr; xor eax, eax; xor edx, edx; rdmsr
    const VcpuRegisters end =
        run_real({0x0f, 0x30, 0x66, 0x31, 0xc0, 0x66, 0x31, 0xd2, 0x0f, 0x32}, start);
    EXPECT_EQ(end.gpr[kRax], 0x06060606u);
    EXPECT_EQ(end.gpr[kRdx], 0x05050505u);
}

TEST_F(SoftSystem, TimeStampCounterGoesOnFromWhatIsWritten) {
    VcpuRegisters start = real_mode_registers();
    start.gpr[kRcx] = 0x10;
    start.gpr[kRdx] = 0x1000;
    const VcpuRegisters end = run_real({0x0f, 0x30, 0x0f, 0x31}, start);  // wrmsr; rdtsc
    EXPECT_EQ(end.gpr[kRdx], 0x1000u);
}

TEST_F(SoftSystem, ProcessorSaysWhatItIs) {
    VcpuRegisters start = real_mode_registers();
    const VcpuRegisters vendor = run_real({0x0f, 0xa2}, start);
    EXPECT_EQ(vendor.gpr[kRax], 1u);
    EXPECT_EQ(vendor.gpr[kRbx], 0x636c6148u);
    start.gpr[kRax] = 1;
    const VcpuRegisters features = run_real({0x0f, 0xa2}, start);
    EXPECT_NE(features.gpr[kRdx] & (1u << 9), 0u) << "local APIC";
    EXPECT_EQ(features.gpr[kRdx] & 1u, 0u) << "no coprocessor";
    EXPECT_NE(features.gpr[kRcx] & (1u << 31), 0u) << "hypervisor";
}

TEST_F(SoftSystem, InterruptFlagHoldsOneInstructionLonger) {
    guest_.load(kHandler, finished({}));
    guest_.write<uint32_t>(0x20 * 4, kHandler);
    guest_.io().on_acknowledge = [] { return std::optional<uint8_t>(0x20); };
    guest_.partition().set_extint(true);
    // sti; inc ax; inc ax
    const VcpuRegisters end = run_real({0xfb, 0x40, 0x40});
    EXPECT_EQ(end.rip, kHandler + 2u);
    EXPECT_EQ(end.gpr[kRax], 1u);
}

TEST_F(SoftSystem, StackSegmentLoadHoldsInterruptsForOneInstruction) {
    guest_.load(kHandler, finished({}));
    guest_.write<uint32_t>(0x20 * 4, kHandler);
    guest_.io().on_acknowledge = [] { return std::optional<uint8_t>(0x20); };
    guest_.io().on_read = [this](const Access&) {
        guest_.partition().set_extint(true);
        return 0;
    };
    VcpuRegisters start = real_mode_registers();
    start.rflags |= kInterruptFlag;
    start.ds = {.base = kHole, .limit = 0xffff, .selector = 0xa000, .attributes = 0x93};
    // mov ss, [0], which raises INTR; inc ax; inc ax
    const VcpuRegisters end = run_real({0x8e, 0x16, 0x00, 0x00, 0x40, 0x40}, start);
    EXPECT_EQ(end.rip, kHandler + 2u);
    EXPECT_EQ(end.gpr[kRax], 1u);
}

TEST_F(SoftSystem, InnerStackComesFromTheTaskState) {
    constexpr uint32_t kTask = 0x7000;
    gate(0x30, 0xee);  // callable from level 3
    guest_.write<uint32_t>(kTask + 4, 0x6000);
    guest_.write<uint32_t>(kTask + 8, 0x10);
    VcpuRegisters start = flat();
    start.tr = {.base = kTask, .limit = 0x67, .selector = 0x38, .attributes = 0x8b};
    start.cs = {.base = 0, .limit = 0xffffffff, .selector = 0x43, .attributes = 0xc0fb};
    start.ss = {.base = 0, .limit = 0xffffffff, .selector = 0x4b, .attributes = 0xc0f3};
    const VcpuRegisters end = run_protected({0xcd, 0x30}, start);
    EXPECT_EQ(end.cs.selector, 8u);
    EXPECT_EQ(end.ss.selector, 0x10u);
    EXPECT_EQ(end.gpr[kRsp], 0x6000u - 20);
    EXPECT_EQ(guest_.read<uint32_t>(0x6000 - 4), 0x4bu);
    EXPECT_EQ(guest_.read<uint32_t>(0x6000 - 8), kStackTop);
}

}  // namespace
}  // namespace halcyon::testing_support
