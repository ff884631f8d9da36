// What every backend must do: registers and reset.
#include "tests/accel/guest_fixture.h"

namespace halcyon::testing_support {
namespace {

class RegistersConformance : public BackendTest {};
FOR_EVERY_BACKEND(RegistersConformance);

/// EDX holds the processor's signature after a reset, which is the host's affair.
VcpuRegisters without_signature(VcpuRegisters registers) {
    registers.gpr[kRdx] = 0;
    return registers;
}

/// Equality, said part by part.
void expect_equal(const VcpuRegisters& got, const VcpuRegisters& want) {
    for (size_t i = 0; i < got.gpr.size(); ++i) {
        EXPECT_EQ(got.gpr[i], want.gpr[i]) << "general register " << i;
    }
    EXPECT_EQ(got.rip, want.rip);
    EXPECT_EQ(got.rflags, want.rflags);
    const auto segment = [](const char* name, const SegmentRegister& a, const SegmentRegister& b) {
        EXPECT_EQ(a.base, b.base) << name;
        EXPECT_EQ(a.limit, b.limit) << name;
        EXPECT_EQ(a.selector, b.selector) << name;
        EXPECT_EQ(a.attributes, b.attributes) << name;
    };
    segment("cs", got.cs, want.cs);
    segment("ds", got.ds, want.ds);
    segment("es", got.es, want.es);
    segment("fs", got.fs, want.fs);
    segment("gs", got.gs, want.gs);
    segment("ss", got.ss, want.ss);
    segment("tr", got.tr, want.tr);
    segment("ldt", got.ldt, want.ldt);
    EXPECT_EQ(got.gdt, want.gdt);
    EXPECT_EQ(got.idt, want.idt);
    EXPECT_EQ(got.cr0, want.cr0);
    EXPECT_EQ(got.cr2, want.cr2);
    EXPECT_EQ(got.cr3, want.cr3);
    EXPECT_EQ(got.cr4, want.cr4);
    EXPECT_EQ(got.efer, want.efer);
}

TEST_P(RegistersConformance, ANewVcpuIsInItsResetState) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    expect_equal(without_signature(guest.registers()), reset_registers());
}

TEST_P(RegistersConformance, EdxHoldsTheProcessorSignatureAfterReset) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    EXPECT_NE(guest.registers().gpr[kRdx], 0u);
}

TEST_P(RegistersConformance, RealModeRegistersReadBackAsWritten) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    VcpuRegisters registers = real_mode_registers();
    for (size_t i = 0; i < 8; ++i) {
        registers.gpr[i] = 0x11111111u * (i + 1);
    }
    registers.rip = 0x4321;
    registers.rflags = 0x2 | 0x1 | 0x40 | 0x400;  // CF, ZF, DF
    registers.ds = {.base = 0x12340, .limit = 0xffff, .selector = 0x1234, .attributes = 0x93};
    registers.es = {.base = 0x56780, .limit = 0xffff, .selector = 0x5678, .attributes = 0x93};
    registers.gdt = {.base = 0x6000, .limit = 0x27};
    registers.idt = {.base = 0x7000, .limit = 0x3ff};
    guest.set_registers(registers);
    expect_equal(guest.registers(), registers);
}

TEST_P(RegistersConformance, ProtectedModeRegistersReadBackAsWritten) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    VcpuRegisters registers = protected_mode_registers();
    registers.gdt = {.base = 0x6000, .limit = 0x27};
    registers.idt = {.base = 0x7000, .limit = 0x7ff};
    registers.tr = {.base = 0x9000, .limit = 0x67, .selector = 0x18, .attributes = 0x8b};
    registers.ldt = {.base = 0xb000, .limit = 0xff, .selector = 0x20, .attributes = 0x82};
    registers.cr2 = 0xcafe0000;
    registers.cr3 = 0x5000;
    guest.set_registers(registers);
    expect_equal(guest.registers(), registers);
}

TEST_P(RegistersConformance, LongModeRegistersReadBackAsWritten) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    VcpuRegisters registers = protected_mode_registers();
    for (size_t i = 0; i < registers.gpr.size(); ++i) {
        registers.gpr[i] = 0x0101010101010101u * (i + 1);
    }
    registers.cs.attributes = 0xa09b;  // L, G
    registers.cr0 |= 0x80000000;       // PG
    registers.cr3 = 0x5000;
    registers.cr4 = 0x20;    // PAE
    registers.efer = 0x500;  // LME, LMA
    if (const auto set = guest.vcpu().set_registers(registers); !set) {
        GTEST_SKIP() << "no long mode here: " << set.error().message();
    }
    expect_equal(guest.registers(), registers);
}

TEST_P(RegistersConformance, TheGuestSeesWhatWasWrittenAndItsWorkReadsBack) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.load(kCode, {
                          0x01, 0xd8,  // add ax, bx
                          0x89, 0xc1,  // mov cx, ax
                          0xe6, 0xf4,  // out 0xf4, al
                      });
    VcpuRegisters registers = real_mode_registers();
    registers.gpr[kRax] = 0x1200;
    registers.gpr[kRbx] = 0x0034;
    guest.set_registers(registers);
    const VcpuRegisters after = guest.run_to_done();
    EXPECT_EQ(after.gpr[kRcx] & 0xffff, 0x1234u);
    EXPECT_EQ(after.rip, kCode + 6u);
}

TEST_P(RegistersConformance, ResetGoesBackToTheResetStateAfterARun) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.start_protected_mode({
        0xb8, 0x78, 0x56, 0x34, 0x12,  // mov eax, 0x12345678
        0xe6, 0xf4,                    // out 0xf4, al
    });
    EXPECT_EQ(guest.run_to_done().gpr[kRax], 0x12345678u);
    const auto reset = guest.vcpu().reset();
    ASSERT_TRUE(reset) << reset.error().message();
    expect_equal(without_signature(guest.registers()), reset_registers());
}

TEST_P(RegistersConformance, AfterResetTheGuestRunsFromTheResetVector) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    auto rom = Mapping::anonymous(0x10000, "ROM");
    ASSERT_TRUE(rom);
    const Code code = {
        0xb0, 0x5a,  // mov al, 0x5a
        0xe6, 0x80,  // out 0x80, al
        0xe6, 0xf4,  // out 0xf4, al
        0xeb, 0xf8,  // jmp back to the start
    };
    std::memcpy(rom->data() + 0xfff0, code.data(), code.size());
    const auto mapped = guest.partition().map_memory({Gpa(0xffff0000), 0x10000}, rom->data(),
                                                     MemoryAccess::kReadOnly);
    ASSERT_TRUE(mapped) << mapped.error().message();
    for (int round = 0; round < 3; ++round) {
        ASSERT_TRUE(guest.vcpu().reset());
        EXPECT_EQ(guest.run_to_done().rip, 0xfff6u);
        EXPECT_EQ(guest.io().accesses().size(), static_cast<size_t>(round) + 1);
    }
    guest.destroy();
}

TEST_P(RegistersConformance, CountersTellOfEntriesAndExits) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    const VcpuCounters* counters = guest.vcpu().counters();
    if (counters == nullptr) {
        GTEST_SKIP() << "this backend does not count";
    }
    guest.start_real_mode({
        0xe6, 0x80,  // out 0x80, al
        0xe6, 0x80,  // out 0x80, al
        0xe6, 0xf4,  // out 0xf4, al
    });
    guest.run_to_done();
    EXPECT_EQ(counters->pio_exits.value(), 3u);
    EXPECT_GE(counters->entries.value(), 3u);
}

}  // namespace
}  // namespace halcyon::testing_support
