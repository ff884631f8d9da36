#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "daemon/hmp/disassembly.h"
#include "daemon/hmp/memory_dump.h"
#include "daemon/hmp/registers.h"

namespace halcyon::hmp {
namespace {

std::string format_of(std::string_view text) {
    const Result<DumpFormat> format = read_format(text);
    if (!format) {
        return format.error().message();
    }
    return std::to_string(format->count) + format->notation + std::to_string(format->size) + " " +
           std::string(text);
}

TEST(HmpFormat, IsReadFromTheFront) {
    EXPECT_EQ(format_of("0x10"), "1x4 0x10");
    EXPECT_EQ(format_of("/4xb 0"), "4x1 0");
    EXPECT_EQ(format_of("/gd  5"), "1d8 5");
    EXPECT_EQ(format_of("/12"), "12x4 ");
    EXPECT_EQ(format_of("/99999999999999999999x 0"), std::to_string(kMaxDump + 1) + "x4 0");
    EXPECT_EQ(format_of("/4z 0"), "invalid char in format: 'z'");
    EXPECT_EQ(format_of("/-1x 0"), "invalid char in format: '-'");
}

/// Memory that begins with `bytes` at 0 and ends there.
ReadMemory memory_of(std::vector<uint8_t> bytes) {
    return [bytes = std::move(bytes)](uint64_t address, std::span<std::byte> out) {
        if (address + out.size() > bytes.size()) {
            return false;
        }
        std::memcpy(out.data(), bytes.data() + address, out.size());
        return true;
    };
}

/// The lines for memory that begins with `bytes` at 0 and ends there.
std::string dump(std::string_view format, std::vector<uint8_t> bytes) {
    return dump_memory(0, *read_format(format), memory_of(std::move(bytes)));
}

// The expected lines are those of QEMU 7.2 for the same memory.
TEST(HmpDump, LooksAsQemus) {
    const std::vector<uint8_t> memory = {'C', '$', 0x83, 0xc4, ' ',  '[',  '^', '_',  ']',  0xc3,
                                         'U', 'W', 'V',  'S',  0x83, 0xec, 8,   0x89, 0xc6, 0x89};
    EXPECT_EQ(dump("/4xb", memory), "0000000000000000: 0x43 0x24 0x83 0xc4\n");
    EXPECT_EQ(dump("/4ob", memory), "0000000000000000: 0103 044 0203 0304\n");
    EXPECT_EQ(dump("/3db", memory), "0000000000000000:  67  36 131\n");
    EXPECT_EQ(dump("/3uh", memory), "0000000000000000:  9283 50307 23328\n");
    EXPECT_EQ(dump("/3oh", memory), "0000000000000000: 022103 0142203 055440\n");
    EXPECT_EQ(dump("/3ow", memory), "0000000000000000: 030440622103 013727455440 012725341535\n");
    EXPECT_EQ(dump("/20cb", memory),
              "0000000000000000: 'C' '$' '\\x83' '\\xc4' ' ' '[' '^' '_'\n"
              "0000000000000008: ']' '\\xc3' 'U' 'W' 'V' 'S' '\\x83' '\\xec'\n"
              "0000000000000010: '\\x08' '\\x89' '\\xc6' '\\x89'\n");
    EXPECT_EQ(dump("/3cw", memory),
              "0000000000000000: 'C' '$' '\\x83' '\\xc4' ' ' '[' '^' '_' ']' '\\xc3' 'U' 'W'\n");
    const std::vector<uint8_t> reset = {0xea, 0x5b, 0xe0, 0x00, 0xf0, 0x30, 0x36, 0x2f,
                                        0x32, 0x33, 0x2f, 0x39, 0x39, 0x00, 0xfc, 0x00};
    EXPECT_EQ(dump("/2xg", reset), "0000000000000000: 0x2f3630f000e05bea 0x00fc0039392f3332\n");
    EXPECT_EQ(dump("/2dg", reset), "0000000000000000:  3401960375889976298    70931939903615794\n");
    EXPECT_EQ(dump("/2og", reset),
              "0000000000000000: 0274661417000070055752   03740003447113631462\n");
    EXPECT_EQ(dump("/dw", {0, 0, 0, 0}), "0000000000000000:          0\n");
}

TEST(HmpDump, EndsWhereNothingCanBeRead) {
    EXPECT_EQ(dump("/16xb", std::vector<uint8_t>(8)),
              "0000000000000000: 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x00\n"
              "0000000000000008: Cannot access memory\n");
}

TEST(HmpDump, IsBounded) {
    const std::string text = dump("/999999999xb", std::vector<uint8_t>(1 << 20));
    EXPECT_EQ(std::ranges::count(text, '\n'), static_cast<ptrdiff_t>(kMaxDump / 8 + 1));
    EXPECT_TRUE(text.ends_with(kShownEnd));
}

TEST(HmpDump, SaysThatTheRestIsLeftOutOnlyWhenItIs) {
    const std::vector<uint8_t> bytes(1 << 20);
    EXPECT_FALSE(dump("/65536xb", bytes).ends_with(kShownEnd));
    EXPECT_TRUE(dump("/65537xb", bytes).ends_with(kShownEnd));
    EXPECT_FALSE(dump("/8192xg", bytes).ends_with(kShownEnd));
    EXPECT_TRUE(dump("/8193xg", bytes).ends_with(kShownEnd));
}

TEST(HmpRegisters, AfterResetAreInTheLayoutOf32Bits) {
    const std::string text = format_registers(reset_registers());
    EXPECT_NE(text.find("EIP=0000fff0 EFL=00000002 [-------] CPL=0 "), std::string::npos) << text;
    EXPECT_NE(text.find("\nCS =f000 ffff0000 0000ffff 00009b00\n"), std::string::npos) << text;
    EXPECT_NE(text.find("\nGDT=     00000000 0000ffff\n"), std::string::npos) << text;
    EXPECT_NE(text.find("\nEFER=0000000000000000\n"), std::string::npos) << text;
}

TEST(HmpRegisters, ProtectedModeShowsDescriptors) {
    VcpuRegisters registers = reset_registers();
    registers.cr0 |= 1;
    registers.cs = {.base = 0, .limit = 0xffffffff, .selector = 8, .attributes = 0xc09b};
    registers.ds = {.base = 0, .limit = 0xffffffff, .selector = 16, .attributes = 0xc093};
    registers.tr = {.base = 0x1000, .limit = 0x67, .selector = 24, .attributes = 0x008b};
    const std::string text = format_registers(registers);
    EXPECT_NE(text.find("CS =0008 00000000 ffffffff 00c09b00 DPL=0 CS32 [-RA]\n"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("DS =0010 00000000 ffffffff 00c09300 DPL=0 DS   [-WA]\n"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("TR =0018 00001000 00000067 00008b00 DPL=0 TSS32-busy\n"),
              std::string::npos)
        << text;
}

TEST(HmpRegisters, LongModeIsWide) {
    VcpuRegisters registers = reset_registers();
    registers.cr0 |= 0x80000001;
    registers.efer = 0x500;
    registers.cs = {.base = 0, .limit = 0xffffffff, .selector = 8, .attributes = 0xa09b};
    registers.gpr[kR15] = 0x123456789abcdef0;
    registers.rflags = 0x246;
    const std::string text = format_registers(registers);
    EXPECT_NE(text.find(" R15=123456789abcdef0\n"), std::string::npos) << text;
    EXPECT_NE(text.find(" RFL=00000246 [---Z-P-] "), std::string::npos) << text;
    EXPECT_NE(text.find("CS =0008 0000000000000000 ffffffff 00a09b00 DPL=0 CS64 [-RA]\n"),
              std::string::npos)
        << text;
}

TEST(HmpRegisters, AreKnownByName) {
    VcpuRegisters registers = reset_registers();
    registers.gpr[kRbx] = 7;
    registers.gpr[kR8] = 8;
    for (const auto& [name, value] :
         std::vector<std::pair<const char*, int64_t>>{{"ebx", 7},
                                                      {"rbx", 7},
                                                      {"r8", 8},
                                                      {"eip", 0xfff0},
                                                      {"pc", 0xfffffff0},
                                                      {"cs", 0xf000},
                                                      {"cs.base", 0xffff0000},
                                                      {"cs.limit", 0xffff}}) {
        EXPECT_EQ(find_register(registers, name), value) << name;
    }
    EXPECT_EQ(find_register(registers, "8"), std::nullopt);
    EXPECT_EQ(find_register(registers, "e8"), std::nullopt);
    EXPECT_EQ(find_register(registers, "cs.x"), std::nullopt);
    EXPECT_EQ(find_register(registers, ""), std::nullopt);
}

// The layout, and what the bytes mean, are those of QEMU 7.2; the spelling is Zydis's.
TEST(HmpDisassembly, ShowsAddressBytesAndInstruction) {
    EXPECT_EQ(disassemble(0, 3, CodeWidth::k16,
                          memory_of({0xea, 0x5b, 0xe0, 0x00, 0xf0, 0x31, 0xd2, 0xf4})),
              "0x00000000:  ea 5b e0 00 f0           ljmp 0xf000:0xe05b\n"
              "0x00000005:  31 d2                    xor %dx, %dx\n"
              "0x00000007:  f4                       hlt\n");
}

TEST(HmpDisassembly, ReadsBytesByTheWidthOfTheCode) {
    const std::vector<uint8_t> bytes = {0x48, 0x89, 0xd8};
    EXPECT_EQ(disassemble(0, 1, CodeWidth::k64, memory_of(bytes)),
              "0x00000000:  48 89 d8                 mov %rbx, %rax\n");
    EXPECT_EQ(disassemble(0, 2, CodeWidth::k32, memory_of(bytes)),
              "0x00000000:  48                       dec %eax\n"
              "0x00000001:  89 d8                    mov %ebx, %eax\n");
    EXPECT_EQ(disassemble(0, 2, CodeWidth::k16, memory_of(bytes)),
              "0x00000000:  48                       dec %ax\n"
              "0x00000001:  89 d8                    mov %bx, %ax\n");
}

TEST(HmpDisassembly, GoesOnBehindABadByteAndEndsWithTheMemory) {
    EXPECT_EQ(disassemble(0, 9, CodeWidth::k64, memory_of({0x06, 0x90, 0x0f})),
              "0x00000000:  06                       .byte 0x06\n"
              "0x00000001:  90                       nop\n"
              "0x00000002:  0f                       .byte 0x0f\n"
              "0x00000003: unable to read memory\n");
}

TEST(HmpDisassembly, BreaksLongInstructions) {
    EXPECT_EQ(disassemble(0, 1, CodeWidth::k64,
                          memory_of({0x48, 0xb8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11})),
              "0x00000000:  48 b8 88 77 66 55 44 33  mov $0x1122334455667788, %rax\n"
              "0x00000008:  22 11 \n");
}

TEST(HmpDisassembly, ShowsNoMoreThanACommandMay) {
    const std::vector<uint8_t> bytes(kMaxDump, 0x90);
    const std::string text = disassemble(0, kMaxDump, CodeWidth::k64, memory_of(bytes));
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), kMaxDump / 15 + 1);
    EXPECT_TRUE(text.ends_with(kShownEnd));
    EXPECT_FALSE(
        disassemble(0, kMaxDump / 15, CodeWidth::k64, memory_of(bytes)).ends_with(kShownEnd));
}

TEST(HmpDisassembly, KnowsTheWidthOfCode) {
    VcpuRegisters registers{};
    EXPECT_EQ(code_width(registers), CodeWidth::k16);
    registers.cs.attributes = 1 << 14;
    EXPECT_EQ(code_width(registers), CodeWidth::k32);
    registers.cs.attributes = 1 << 13;
    EXPECT_EQ(code_width(registers), CodeWidth::k16) << "the bit means nothing without long mode";
    registers.efer = 1 << 10;
    EXPECT_EQ(code_width(registers), CodeWidth::k64);
}

}  // namespace
}  // namespace halcyon::hmp
