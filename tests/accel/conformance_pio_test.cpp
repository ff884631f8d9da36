// What every backend must do: port accesses, plain and string, HLT, triple fault.
#include <numeric>

#include "tests/accel/guest_fixture.h"

namespace halcyon::testing_support {
namespace {

class PioConformance : public BackendTest {};
FOR_EVERY_BACKEND(PioConformance);

constexpr uint64_t kPort = 0x1234;

Access in(size_t width, uint64_t value, uint64_t port = kPort) {
    return {AccessKind::kPioRead, port, width, value};
}
Access out(size_t width, uint64_t value, uint64_t port = kPort) {
    return {AccessKind::kPioWrite, port, width, value};
}

/// Answers reads with 1, 2, 3...
std::function<uint64_t(const Access&)> counting() {
    return [count = uint64_t{0}](const Access&) mutable { return ++count; };
}

TEST_P(PioConformance, OutOfEveryWidth) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.start_real_mode({
        0x66, 0xb8, 0x44, 0x33, 0x22, 0x11,  // mov eax, 0x11223344
        0xba, 0x34, 0x12,                    // mov dx, 0x1234
        0xee,                                // out dx, al
        0xef,                                // out dx, ax
        0x66, 0xef,                          // out dx, eax
        0xe6, 0x80,                          // out 0x80, al
        0xe7, 0x82,                          // out 0x82, ax
        0x66, 0xe7, 0x84,                    // out 0x84, eax
        0xe6, 0xf4,                          // out 0xf4, al
    });
    guest.run_to_done();
    EXPECT_EQ(guest.io().accesses(),
              (std::vector{out(1, 0x44), out(2, 0x3344), out(4, 0x11223344), out(1, 0x44, 0x80),
                           out(2, 0x3344, 0x82), out(4, 0x11223344, 0x84)}));
}

TEST_P(PioConformance, InOfEveryWidthReplacesWhatItsWidthDoes) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.io().on_read = [](const Access&) { return 0x8899aabb; };
    guest.start_real_mode({
        0xba, 0x34, 0x12,                    // mov dx, 0x1234
        0x66, 0xb8, 0x44, 0x33, 0x22, 0x11,  // mov eax, 0x11223344
        0xec,                                // in al, dx
        0x66, 0x89, 0xc3,                    // mov ebx, eax
        0x66, 0xb8, 0x44, 0x33, 0x22, 0x11,  // mov eax, 0x11223344
        0xed,                                // in ax, dx
        0x66, 0x89, 0xc1,                    // mov ecx, eax
        0x66, 0xed,                          // in eax, dx
        0x66, 0x89, 0xc6,                    // mov esi, eax
        0xe4, 0x71,                          // in al, 0x71
        0xe6, 0xf4,                          // out 0xf4, al
    });
    const VcpuRegisters after = guest.run_to_done();
    EXPECT_EQ(after.gpr[kRbx], 0x112233bbu);
    EXPECT_EQ(after.gpr[kRcx], 0x1122aabbu);
    EXPECT_EQ(after.gpr[kRsi], 0x8899aabbu);
    EXPECT_EQ(guest.io().accesses(),
              (std::vector{in(1, 0xbb), in(2, 0xaabb), in(4, 0x8899aabb), in(1, 0xbb, 0x71)}));
}

TEST_P(PioConformance, ALoneOutsAndInsMoveOneElement) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.io().on_read = counting();
    guest.write<uint8_t>(kData, 0x99);
    guest.start_real_mode({
        0xfc,              // cld
        0xba, 0x34, 0x12,  // mov dx, 0x1234
        0xbe, 0x00, 0x20,  // mov si, 0x2000
        0xbf, 0x10, 0x20,  // mov di, 0x2010
        0x6e,              // outsb
        0x6c,              // insb
        0xe6, 0xf4,        // out 0xf4, al
    });
    const VcpuRegisters after = guest.run_to_done();
    EXPECT_EQ(after.gpr[kRsi], 0x2001u);
    EXPECT_EQ(after.gpr[kRdi], 0x2011u);
    EXPECT_EQ(guest.read<uint8_t>(kData + 0x10), 1);
    EXPECT_EQ(guest.io().accesses(), (std::vector{out(1, 0x99), in(1, 1)}));
}

TEST_P(PioConformance, RepOutsOfEveryWidthMakesOneCallPerElement) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    for (unsigned i = 0; i < 16; ++i) {
        guest.write<uint8_t>(kData + i, static_cast<uint8_t>(i));
    }
    guest.start_real_mode({
        0xfc,              // cld
        0xba, 0x34, 0x12,  // mov dx, 0x1234
        0xbe, 0x00, 0x20,  // mov si, 0x2000
        0xb9, 0x02, 0x00,  // mov cx, 2
        0xf3, 0x6e,        // rep outsb
        0xb9, 0x03, 0x00,  // mov cx, 3
        0xf3, 0x6f,        // rep outsw
        0xb9, 0x02, 0x00,  // mov cx, 2
        0xf3, 0x66, 0x6f,  // rep outsd
        0xe6, 0xf4,        // out 0xf4, al
    });
    const VcpuRegisters after = guest.run_to_done();
    EXPECT_EQ(after.gpr[kRsi], kData + 16u);
    EXPECT_EQ(after.gpr[kRcx], 0u);
    EXPECT_EQ(guest.io().accesses(),
              (std::vector{out(1, 0x00), out(1, 0x01), out(2, 0x0302), out(2, 0x0504),
                           out(2, 0x0706), out(4, 0x0b0a0908), out(4, 0x0f0e0d0c)}));
}

TEST_P(PioConformance, RepInsOfEveryWidthFillsMemory) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.io().on_read = counting();
    guest.start_real_mode({
        0xfc,              // cld
        0xba, 0x34, 0x12,  // mov dx, 0x1234
        0xbf, 0x00, 0x20,  // mov di, 0x2000
        0xb9, 0x03, 0x00,  // mov cx, 3
        0xf3, 0x6c,        // rep insb
        0xb9, 0x02, 0x00,  // mov cx, 2
        0xf3, 0x6d,        // rep insw
        0xb9, 0x02, 0x00,  // mov cx, 2
        0xf3, 0x66, 0x6d,  // rep insd
        0xe6, 0xf4,        // out 0xf4, al
    });
    const VcpuRegisters after = guest.run_to_done();
    EXPECT_EQ(after.gpr[kRdi], kData + 15u);
    EXPECT_EQ(after.gpr[kRcx], 0u);
    EXPECT_EQ(guest.read<uint32_t>(kData), 0x04030201u);  // bytes 1 2 3, low half of word 4
    EXPECT_EQ(guest.read<uint32_t>(kData + 3), 0x00050004u);
    EXPECT_EQ(guest.read<uint32_t>(kData + 7), 6u);
    EXPECT_EQ(guest.read<uint32_t>(kData + 11), 7u);
    EXPECT_EQ(guest.io().accesses().size(), 7u);
}

TEST_P(PioConformance, ALongRepInsCrossesPagesWithoutLosingAnElement) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.io().on_read = counting();
    guest.start_real_mode({
        0xfc,              // cld
        0xba, 0x34, 0x12,  // mov dx, 0x1234
        0xbf, 0xf0, 0x8f,  // mov di, 0x8ff0
        0xb9, 0x00, 0x18,  // mov cx, 0x1800
        0xf3, 0x6d,        // rep insw
        0xe6, 0xf4,        // out 0xf4, al
    });
    const VcpuRegisters after = guest.run_to_done();
    EXPECT_EQ(after.gpr[kRcx], 0u);
    EXPECT_EQ(after.gpr[kRdi], 0x8ff0u + 2 * 0x1800);
    for (unsigned i = 0; i < 0x1800; ++i) {
        ASSERT_EQ(guest.read<uint16_t>(0x8ff0 + 2 * i), i + 1) << "element " << i;
    }
}

TEST_P(PioConformance, WithTheDirectionFlagStringsGoDownwards) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.io().on_read = counting();
    guest.write<uint32_t>(kData, 0x44332211);
    guest.start_real_mode({
        0xfd,              // std
        0xba, 0x34, 0x12,  // mov dx, 0x1234
        0xbe, 0x02, 0x20,  // mov si, 0x2002
        0xb9, 0x02, 0x00,  // mov cx, 2
        0xf3, 0x6f,        // rep outsw
        0xbf, 0x13, 0x20,  // mov di, 0x2013
        0xb9, 0x04, 0x00,  // mov cx, 4
        0xf3, 0x6c,        // rep insb
        0xe6, 0xf4,        // out 0xf4, al
    });
    const VcpuRegisters after = guest.run_to_done();
    EXPECT_EQ(after.gpr[kRsi], 0x1ffeu);
    EXPECT_EQ(after.gpr[kRdi], 0x200fu);
    EXPECT_EQ(guest.read<uint32_t>(kData + 0x10), 0x01020304u);
    const auto accesses = guest.io().accesses();
    ASSERT_GE(accesses.size(), 2u);
    EXPECT_EQ(accesses[0], out(2, 0x4433));
    EXPECT_EQ(accesses[1], out(2, 0x2211));
}

TEST_P(PioConformance, WithACountOfZeroNothingMoves) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.write<uint32_t>(kData, 0x44332211);
    guest.start_real_mode({
        0xfc,              // cld
        0xba, 0x34, 0x12,  // mov dx, 0x1234
        0xbe, 0x00, 0x20,  // mov si, 0x2000
        0xbf, 0x00, 0x20,  // mov di, 0x2000
        0x31, 0xc9,        // xor cx, cx
        0xf3, 0x6e,        // rep outsb
        0xf3, 0x6d,        // rep insw
        0xe6, 0xf4,        // out 0xf4, al
    });
    const VcpuRegisters after = guest.run_to_done();
    EXPECT_EQ(after.gpr[kRsi], kData);
    EXPECT_EQ(after.gpr[kRdi], kData);
    EXPECT_EQ(guest.read<uint32_t>(kData), 0x44332211u);
    EXPECT_TRUE(guest.io().accesses().empty());
}

TEST_P(PioConformance, SixteenBitStringsUseLowHalvesAndWrapAround) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.write<uint8_t>(0xffff, 0xaa);
    guest.write<uint8_t>(0x0000, 0xbb);
    guest.load(kCode, {
                          0xfc,              // cld
                          0xba, 0x34, 0x12,  // mov dx, 0x1234
                          0xf3, 0x6e,        // rep outsb
                          0xe6, 0xf4,        // out 0xf4, al
                      });
    VcpuRegisters registers = real_mode_registers();
    registers.gpr[kRsi] = 0x7777ffff;
    registers.gpr[kRcx] = 0x55550002;
    guest.set_registers(registers);
    const VcpuRegisters after = guest.run_to_done();
    EXPECT_EQ(after.gpr[kRsi], 0x77770001u);
    EXPECT_EQ(after.gpr[kRcx], 0x55550000u);
    EXPECT_EQ(guest.io().accesses(), (std::vector{out(1, 0xaa), out(1, 0xbb)}));
}

TEST_P(PioConformance, ThirtyTwoBitAddressSizeInRealMode) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.io().on_read = counting();
    guest.write<uint16_t>(kData, 0x2211);
    guest.start_real_mode({
        0xfc,                                // cld
        0xba, 0x34, 0x12,                    // mov dx, 0x1234
        0x66, 0xbe, 0x00, 0x20, 0x00, 0x00,  // mov esi, 0x2000
        0x66, 0xbf, 0x10, 0x20, 0x00, 0x00,  // mov edi, 0x2010
        0x66, 0xb9, 0x02, 0x00, 0x00, 0x00,  // mov ecx, 2
        0xf3, 0x67, 0x6e,                    // a32 rep outsb
        0x66, 0xb9, 0x02, 0x00, 0x00, 0x00,  // mov ecx, 2
        0xf3, 0x67, 0x6c,                    // a32 rep insb
        0xe6, 0xf4,                          // out 0xf4, al
    });
    const VcpuRegisters after = guest.run_to_done();
    EXPECT_EQ(after.gpr[kRsi], 0x2002u);
    EXPECT_EQ(after.gpr[kRdi], 0x2012u);
    EXPECT_EQ(after.gpr[kRcx], 0u);
    EXPECT_EQ(guest.read<uint16_t>(kData + 0x10), 0x0201);
    EXPECT_EQ(guest.io().accesses(), (std::vector{out(1, 0x11), out(1, 0x22), in(1, 1), in(1, 2)}));
}

TEST_P(PioConformance, StringsInProtectedMode) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.io().on_read = counting();
    guest.write<uint32_t>(0x20000, 0x44332211);
    guest.start_protected_mode({
        0xfc,                          // cld
        0x66, 0xba, 0x34, 0x12,        // mov dx, 0x1234
        0xbe, 0x00, 0x00, 0x02, 0x00,  // mov esi, 0x20000
        0xbf, 0x00, 0x00, 0x03, 0x00,  // mov edi, 0x30000
        0x6f,                          // outsd
        0xb9, 0x02, 0x00, 0x00, 0x00,  // mov ecx, 2
        0xf3, 0x6d,                    // rep insd
        0xe6, 0xf4,                    // out 0xf4, al
    });
    const VcpuRegisters after = guest.run_to_done();
    EXPECT_EQ(after.gpr[kRsi], 0x20004u);
    EXPECT_EQ(after.gpr[kRdi], 0x30008u);
    EXPECT_EQ(guest.read<uint64_t>(0x30000), 0x0000000200000001u);
    EXPECT_EQ(guest.io().accesses(), (std::vector{out(4, 0x44332211), in(4, 1), in(4, 2)}));
}

TEST_P(PioConformance, ASegmentOverrideMovesTheSourceOfOuts) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.write<uint8_t>(kData, 0x11);
    guest.write<uint8_t>(kData + 0x5000, 0x22);
    guest.load(kCode, {
                          0xfc,              // cld
                          0xba, 0x34, 0x12,  // mov dx, 0x1234
                          0xbe, 0x00, 0x20,  // mov si, 0x2000
                          0x26, 0x6e,        // es outsb
                          0xbe, 0x00, 0x20,  // mov si, 0x2000
                          0x6e,              // outsb
                          0xe6, 0xf4,        // out 0xf4, al
                      });
    VcpuRegisters registers = real_mode_registers();
    registers.es.base = 0x5000;
    registers.es.selector = 0x500;
    guest.set_registers(registers);
    guest.run_to_done();
    EXPECT_EQ(guest.io().accesses(), (std::vector{out(1, 0x22), out(1, 0x11)}));
}

TEST_P(PioConformance, WithoutLocalApicHltEndsTheRunBehindIt) {
    Guest guest(accelerator(), {.local_apic = false});
    ASSERT_TRUE(guest.ok());
    guest.start_real_mode({
        0xe6, 0x80,  // out 0x80, al
        0xf4,        // hlt
        0xe6, 0x81,  // out 0x81, al
        0xf4,        // hlt
    });
    for (const uint64_t ip : {kCode + 3u, kCode + 6u}) {
        VcpuRun run(guest.vcpu());
        EXPECT_EQ(run.wait().stop, RunStop::kHalted);
        EXPECT_EQ(guest.registers().rip, ip);
    }
    EXPECT_EQ(guest.io().accesses(), (std::vector{out(1, 0, 0x80), out(1, 0, 0x81)}));
}

TEST_P(PioConformance, ExceptionsWithoutHandlersEndInATripleFault) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.start_protected_mode({
        0xe6, 0x80,  // out 0x80, al
        0x0f, 0x0b,  // ud2
    });
    VcpuRun run(guest.vcpu());
    const RunOutcome outcome = run.wait();
    EXPECT_EQ(outcome.stop, RunStop::kTripleFault) << to_string(outcome.stop) << outcome.detail;
    EXPECT_EQ(guest.io().accesses().size(), 1u);
}

TEST_P(PioConformance, AfterATripleFaultAResetVcpuRunsAgain) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.start_protected_mode({0x0f, 0x0b});  // ud2
    {
        VcpuRun run(guest.vcpu());
        ASSERT_EQ(run.wait().stop, RunStop::kTripleFault);
    }
    ASSERT_TRUE(guest.vcpu().reset());
    guest.start_real_mode({
        0xb0, 0x21,  // mov al, 0x21
        0xe6, 0xf4,  // out 0xf4, al
    });
    EXPECT_EQ(guest.run_to_done().gpr[kRax] & 0xff, 0x21u);
}

}  // namespace
}  // namespace halcyon::testing_support
