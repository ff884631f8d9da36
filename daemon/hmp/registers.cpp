#include "daemon/hmp/registers.h"

#include <array>
#include <utility>

#include <spdlog/fmt/fmt.h>

namespace halcyon::hmp {

namespace {

constexpr uint64_t kCr0ProtectionEnable = 1;
constexpr uint64_t kEferLongModeActive = 1 << 10;

// SegmentRegister::attributes.
constexpr uint16_t kAccessed = 1 << 0;
constexpr uint16_t kReadOrWrite = 1 << 1;
constexpr uint16_t kConformingOrDown = 1 << 2;
constexpr uint16_t kCode = 1 << 3;
constexpr uint16_t kNoSystem = 1 << 4;
constexpr uint16_t kPresent = 1 << 7;
constexpr uint16_t kLong = 1 << 13;
constexpr uint16_t kBig = 1 << 14;

bool long_mode(const VcpuRegisters& registers) {
    return (registers.efer & kEferLongModeActive) != 0;
}

bool code_is_64_bit(const VcpuRegisters& registers) {
    return long_mode(registers) && (registers.cs.attributes & kLong) != 0;
}

/// System descriptors in 32-bit and in long mode (Intel SDM 3A table 3-2).
std::string_view system_type(unsigned type, bool is_long) {
    constexpr std::array<std::string_view, 16> kLegacy = {
        "Reserved",   "TSS16-avl",  "LDT",       "TSS16-busy", "CallGate16", "TaskGate",
        "IntGate16",  "TrapGate16", "Reserved",  "TSS32-avl",  "Reserved",   "TSS32-busy",
        "CallGate32", "Reserved",   "IntGate32", "TrapGate32"};
    constexpr std::array<std::string_view, 16> kLongMode = {
        "<hiword>",   "Reserved", "LDT",       "Reserved",  "Reserved", "Reserved",
        "Reserved",   "Reserved", "Reserved",  "TSS64-avl", "Reserved", "TSS64-busy",
        "CallGate64", "Reserved", "IntGate64", "TrapGate64"};
    return (is_long ? kLongMode : kLegacy)[type % 16];
}

std::string describe_descriptor(uint16_t attributes, bool is_long) {
    std::string text = fmt::format(" DPL={} ", attributes >> 5 & 3);
    const auto flag = [&](uint16_t bit, char letter) {
        return (attributes & bit) != 0 ? letter : '-';
    };
    if ((attributes & kNoSystem) == 0) {
        return text + std::string(system_type(attributes & 0xf, is_long));
    }
    if ((attributes & kCode) != 0) {
        text += (attributes & kLong) != 0 ? "CS64" : (attributes & kBig) != 0 ? "CS32" : "CS16";
        text += fmt::format(" [{}{}", flag(kConformingOrDown, 'C'), flag(kReadOrWrite, 'R'));
    } else {
        text += (attributes & kBig) != 0 || is_long ? "DS  " : "DS16";
        text += fmt::format(" [{}{}", flag(kConformingOrDown, 'E'), flag(kReadOrWrite, 'W'));
    }
    return text + fmt::format("{}]", flag(kAccessed, 'A'));
}

std::string format_segment(const char* name, const SegmentRegister& segment,
                           const VcpuRegisters& registers) {
    // The attributes are where a descriptor's second dword has them.
    std::string text = fmt::format("{:<3}={:04x} {:0{}x} {:08x} {:08x}", name, segment.selector,
                                   segment.base, code_is_64_bit(registers) ? 16 : 8, segment.limit,
                                   static_cast<uint32_t>(segment.attributes) << 8);
    if ((registers.cr0 & kCr0ProtectionEnable) != 0 && (segment.attributes & kPresent) != 0) {
        text += describe_descriptor(segment.attributes, long_mode(registers));
    }
    return text + "\n";
}

std::string format_flags(uint64_t flags) {
    constexpr std::array<std::pair<unsigned, char>, 7> kFlags = {
        {{10, 'D'}, {11, 'O'}, {7, 'S'}, {6, 'Z'}, {4, 'A'}, {2, 'P'}, {0, 'C'}}};
    std::string text;
    for (const auto& [bit, letter] : kFlags) {
        text += (flags >> bit & 1) != 0 ? letter : '-';
    }
    return text;
}

std::string format_general(const VcpuRegisters& registers) {
    const auto& gpr = registers.gpr;
    const unsigned cpl = registers.ss.attributes >> 5 & 3;
    const std::string state =
        fmt::format("[{}] CPL={} A20=1 SMM=0\n", format_flags(registers.rflags), cpl);
    if (!code_is_64_bit(registers)) {
        const auto low = [](uint64_t value) { return static_cast<uint32_t>(value); };
        return fmt::format("EAX={:08x} EBX={:08x} ECX={:08x} EDX={:08x}\n", low(gpr[kRax]),
                           low(gpr[kRbx]), low(gpr[kRcx]), low(gpr[kRdx])) +
               fmt::format("ESI={:08x} EDI={:08x} EBP={:08x} ESP={:08x}\n", low(gpr[kRsi]),
                           low(gpr[kRdi]), low(gpr[kRbp]), low(gpr[kRsp])) +
               fmt::format("EIP={:08x} EFL={:08x} ", low(registers.rip), low(registers.rflags)) +
               state;
    }
    return fmt::format("RAX={:016x} RBX={:016x} RCX={:016x} RDX={:016x}\n", gpr[kRax], gpr[kRbx],
                       gpr[kRcx], gpr[kRdx]) +
           fmt::format("RSI={:016x} RDI={:016x} RBP={:016x} RSP={:016x}\n", gpr[kRsi], gpr[kRdi],
                       gpr[kRbp], gpr[kRsp]) +
           fmt::format("R8 ={:016x} R9 ={:016x} R10={:016x} R11={:016x}\n", gpr[kR8], gpr[kR9],
                       gpr[kR10], gpr[kR11]) +
           fmt::format("R12={:016x} R13={:016x} R14={:016x} R15={:016x}\n", gpr[kR12], gpr[kR13],
                       gpr[kR14], gpr[kR15]) +
           fmt::format("RIP={:016x} RFL={:08x} ", registers.rip, registers.rflags) + state;
}

std::optional<uint64_t> find_segment_part(const VcpuRegisters& registers, std::string_view name) {
    const std::array<std::pair<std::string_view, const SegmentRegister*>, 6> segments = {
        {{"cs", &registers.cs},
         {"ds", &registers.ds},
         {"es", &registers.es},
         {"fs", &registers.fs},
         {"gs", &registers.gs},
         {"ss", &registers.ss}}};
    for (const auto& [segment_name, segment] : segments) {
        if (!name.starts_with(segment_name)) {
            continue;
        }
        const std::string_view part = name.substr(segment_name.size());
        if (part.empty()) {
            return segment->selector;
        }
        if (part == ".base") {
            return segment->base;
        }
        if (part == ".limit") {
            return segment->limit;
        }
    }
    return std::nullopt;
}

}  // namespace

std::optional<int64_t> find_register(const VcpuRegisters& registers, std::string_view name) {
    constexpr std::array<std::string_view, 16> kNames = {"ax", "cx", "dx", "bx", "sp", "bp",
                                                         "si", "di", "8",  "9",  "10", "11",
                                                         "12", "13", "14", "15"};
    const bool wide = name.starts_with('r');
    const std::string_view stem = wide || name.starts_with('e') ? name.substr(1) : name;
    for (size_t i = 0; i < kNames.size(); ++i) {
        if (stem == kNames[i] && (i < 8 || wide)) {
            return static_cast<int64_t>(registers.gpr[i]);
        }
    }
    const std::array<std::pair<std::string_view, uint64_t>, 12> others = {{
        {"eip", registers.rip},
        {"rip", registers.rip},
        {"pc", registers.rip + (code_is_64_bit(registers) ? 0 : registers.cs.base)},
        {"eflags", registers.rflags},
        {"rflags", registers.rflags},
        {"cr0", registers.cr0},
        {"cr2", registers.cr2},
        {"cr3", registers.cr3},
        {"cr4", registers.cr4},
        {"efer", registers.efer},
        {"gdt.base", registers.gdt.base},
        {"idt.base", registers.idt.base},
    }};
    for (const auto& [other_name, value] : others) {
        if (name == other_name) {
            return static_cast<int64_t>(value);
        }
    }
    const std::optional<uint64_t> segment = find_segment_part(registers, name);
    return segment ? std::optional(static_cast<int64_t>(*segment)) : std::nullopt;
}

std::string format_registers(const VcpuRegisters& registers) {
    const int wide = long_mode(registers) ? 16 : 8;
    std::string text = format_general(registers);
    text += format_segment("ES", registers.es, registers);
    text += format_segment("CS", registers.cs, registers);
    text += format_segment("SS", registers.ss, registers);
    text += format_segment("DS", registers.ds, registers);
    text += format_segment("FS", registers.fs, registers);
    text += format_segment("GS", registers.gs, registers);
    text += format_segment("LDT", registers.ldt, registers);
    text += format_segment("TR", registers.tr, registers);
    text += fmt::format("GDT=     {:0{}x} {:08x}\n", registers.gdt.base, wide, registers.gdt.limit);
    text += fmt::format("IDT=     {:0{}x} {:08x}\n", registers.idt.base, wide, registers.idt.limit);
    text += fmt::format("CR0={:08x} CR2={:0{}x} CR3={:0{}x} CR4={:08x}\n", registers.cr0,
                        registers.cr2, wide, registers.cr3, wide, registers.cr4);
    return text + fmt::format("EFER={:016x}\n", registers.efer);
}

}  // namespace halcyon::hmp
