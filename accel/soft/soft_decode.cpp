// SoftCpu: prefixes, ModR/M and SIB bytes (Intel SDM 2A chapter 2), and which instructions are left
// to the library.
#include <array>

#include "accel/soft/soft_cpu.h"

namespace halcyon {

namespace {

enum Property : uint8_t {
    kModrm = 1,    ///< has a ModR/M byte
    kLibrary = 2,  ///< the library executes it, perhaps depending on the ModR/M byte
    kWrites = 4,   ///< writes its memory operand
    kByte = 8,     ///< its memory operand is a byte whatever the operand size
    kWord = 16,    ///< its memory operand is a word whatever the operand size
};
using Properties = std::array<uint8_t, 256>;

constexpr void set_range(Properties& table, unsigned first, unsigned last, unsigned value) {
    for (unsigned i = first; i <= last; ++i) {
        table[i] = static_cast<uint8_t>(value);
    }
}

constexpr Properties one_byte_properties() {
    Properties table{};
    for (unsigned group = 0; group < 8; ++group) {  // ADD OR ADC SBB AND SUB XOR CMP
        const unsigned base = group * 8;
        const unsigned write = group == 7 ? 0U : 0U + kWrites;
        table[base] = static_cast<uint8_t>(kModrm | kLibrary | write | kByte);
        table[base + 1] = static_cast<uint8_t>(kModrm | kLibrary | write);
        table[base + 2] = kModrm | kLibrary | kByte;
        table[base + 3] = kModrm | kLibrary;
        table[base + 4] = table[base + 5] = kLibrary;
    }
    set_range(table, 0x40, 0x5f, kLibrary);         // INC DEC PUSH POP
    table[0x62] = kModrm;                           // BOUND
    table[0x63] = kModrm | kWrites | kWord;         // ARPL
    table[0x68] = table[0x6a] = kLibrary;           // PUSH immediate
    table[0x69] = table[0x6b] = kModrm | kLibrary;  // IMUL
    table[0x80] = table[0x82] = kModrm | kLibrary | kWrites | kByte;
    table[0x81] = table[0x83] = kModrm | kLibrary | kWrites;
    table[0x84] = kModrm | kLibrary | kByte;  // TEST
    table[0x85] = kModrm | kLibrary;
    table[0x86] = table[0x88] = kModrm | kLibrary | kWrites | kByte;  // XCHG MOV
    table[0x87] = table[0x89] = kModrm | kLibrary | kWrites;
    table[0x8a] = kModrm | kLibrary | kByte;
    table[0x8b] = kModrm | kLibrary;
    table[0x8c] = kModrm | kLibrary | kWrites | kWord;  // MOV from segment
    table[0x8d] = kModrm | kLibrary;                    // LEA
    table[0x8e] = table[0x8f] = kModrm;
    set_range(table, 0x90, 0x99, kLibrary);  // XCHG CBW CWD
    set_range(table, 0xa8, 0xa9, kLibrary);  // TEST
    set_range(table, 0xb0, 0xbf, kLibrary);  // MOV immediate
    table[0xc0] = table[0xc1] = kModrm;
    table[0xc4] = table[0xc5] = kModrm;
    table[0xc6] = kModrm | kLibrary | kWrites | kByte;
    table[0xc7] = kModrm | kLibrary | kWrites;
    table[0xc9] = kLibrary;  // LEAVE
    set_range(table, 0xd0, 0xd3, kModrm);
    set_range(table, 0xd8, 0xdf, kModrm);
    table[0xf5] = table[0xf8] = table[0xf9] = table[0xfc] = table[0xfd] = kLibrary;
    table[0xf6] = table[0xfe] = kModrm | kLibrary | kWrites | kByte;
    table[0xf7] = table[0xff] = kModrm | kLibrary | kWrites;
    return table;
}

constexpr Properties two_byte_properties() {
    Properties table{};
    set_range(table, 0x00, 0x03, kModrm);
    table[0x0d] = kModrm;
    set_range(table, 0x10, 0x23, kModrm);
    set_range(table, 0x28, 0x2f, kModrm);
    set_range(table, 0x40, 0x7f, kModrm);
    set_range(table, 0x90, 0x9f, kModrm | kLibrary | kWrites | kByte);  // SETcc
    set_range(table, 0xa3, 0xa5, kModrm);
    set_range(table, 0xab, 0xae, kModrm);
    table[0xaf] = kModrm | kLibrary;  // IMUL
    set_range(table, 0xb0, 0xb5, kModrm);
    table[0xb6] = table[0xbe] = kModrm | kLibrary | kByte;  // MOVZX MOVSX
    table[0xb7] = table[0xbf] = kModrm | kLibrary | kWord;
    set_range(table, 0xb8, 0xbd, kModrm);
    set_range(table, 0xc0, 0xc7, kModrm);
    set_range(table, 0xc8, 0xcf, kLibrary);  // BSWAP
    return table;
}

constexpr Properties kOneByte = one_byte_properties();
constexpr Properties kTwoByte = two_byte_properties();

constexpr uint8_t properties(bool two_byte, uint8_t opcode) {
    return two_byte ? kTwoByte[opcode] : kOneByte[opcode];
}

}  // namespace

uint8_t SoftCpu::next8() {
    const unsigned at = kPrefixRoom + insn_.next;
    if (at + 1 > code_end_) {
        fault(kProtection, 0);
        return 0;
    }
    ++insn_.next;
    return code_[at];
}

uint16_t SoftCpu::next16() {
    const uint16_t low = next8();
    return static_cast<uint16_t>(low | (next8() << 8));
}

uint32_t SoftCpu::next32() {
    const uint32_t low = next16();
    return low | (static_cast<uint32_t>(next16()) << 16);
}

/// Decodes up to and including the ModR/M byte.
void SoftCpu::decode_prefixes() {
    bool operand_prefix = false;
    bool address_prefix = false;
    for (bool prefix = true; prefix && !fault_.set;) {
        insn_.opcode_at = insn_.next;
        const uint8_t byte = next8();
        insn_.opcode = byte;
        if ((byte & 0xe7) == 0x26) {  // 26 2E 36 3E: ES CS SS DS
            insn_.segment = (byte >> 3) & 3;
        } else if (byte < 0x64) {
            prefix = false;
        } else if (byte <= 0x65) {
            insn_.segment = byte == 0x64 ? kFs : kGs;
        } else if (byte == 0x66) {
            operand_prefix = true;
        } else if (byte == 0x67) {
            address_prefix = true;
        } else if (byte == 0xf0) {
            insn_.lock = true;
        } else if (byte == 0xf2 || byte == 0xf3) {
            insn_.repeat = byte;
        } else {
            prefix = false;
        }
    }
    insn_.operand32 = code32() != operand_prefix;
    insn_.address32 = code32() != address_prefix;
    if (insn_.opcode == 0x0f && !fault_.set) {
        insn_.two_byte = true;
        insn_.opcode = next8();
    }
    insn_.mod = 3;
    if ((properties(insn_.two_byte, insn_.opcode) & kModrm) != 0) {
        const uint8_t modrm = next8();
        insn_.mod = modrm >> 6;
        insn_.reg = (modrm >> 3) & 7;
        insn_.rm = modrm & 7;
    }
    if (insn_.lock && !fault_.set && !lock_allowed()) {
        fault(kInvalidOpcode);
    }
}

/// LOCK is only for certain instructions that write memory (Intel SDM 2A, LOCK).
bool SoftCpu::lock_allowed() const {
    if (!insn_.memory()) {
        return false;
    }
    const uint8_t opcode = insn_.opcode;
    if (insn_.two_byte) {
        return opcode == 0xab || opcode == 0xb3 || opcode == 0xbb || opcode == 0xb0 ||
               opcode == 0xb1 || opcode == 0xc0 || opcode == 0xc1 ||
               (opcode == 0xba && insn_.reg >= 5) || (opcode == 0xc7 && insn_.reg == 1);
    }
    if (opcode < 0x38) {
        return (opcode & 7) < 2;
    }
    if (opcode >= 0x80 && opcode <= 0x83) {
        return insn_.reg != 7;
    }
    return opcode == 0x86 || opcode == 0x87 ||
           ((opcode == 0xf6 || opcode == 0xf7) && (insn_.reg == 2 || insn_.reg == 3)) ||
           ((opcode == 0xfe || opcode == 0xff) && insn_.reg < 2);
}

bool SoftCpu::library_executes() const {
    const uint8_t opcode = insn_.opcode;
    const uint8_t property = properties(insn_.two_byte, opcode);
    if ((property & kLibrary) == 0) {
        return false;
    }
    if (insn_.two_byte || (property & kModrm) == 0) {
        return opcode != 0x90 || insn_.two_byte || insn_.repeat != 0xf3;  // not PAUSE
    }
    switch (opcode) {
        case 0x8c:
            return insn_.reg < 6;
        case 0x8d:
            return insn_.memory();
        case 0xc6:
        case 0xc7:
            return insn_.reg == 0;
        case 0xf6:
        case 0xf7:
            return insn_.reg < 6;  // not DIV, IDIV
        case 0xfe:
            return insn_.reg < 2;
        case 0xff:
            return insn_.reg < 2 || insn_.reg == 6;  // not CALL, JMP
    }
    return true;
}

/// Whether the library's instruction writes its memory operand.
bool SoftCpu::library_writes() const {
    if ((properties(insn_.two_byte, insn_.opcode) & kWrites) == 0) {
        return false;
    }
    if (insn_.two_byte) {
        return true;
    }
    switch (insn_.opcode) {
        case 0x80:
        case 0x81:
        case 0x82:
        case 0x83:
            return insn_.reg != 7;
        case 0xf6:
        case 0xf7:
            return insn_.reg == 2 || insn_.reg == 3;
        case 0xff:
            return insn_.reg < 2;
    }
    return true;
}

unsigned SoftCpu::library_access_size() const {
    const uint8_t property = properties(insn_.two_byte, insn_.opcode);
    if ((property & kByte) != 0) {
        return 1;
    }
    return (property & kWord) != 0 ? 2 : insn_.operand_size();
}

/// Decodes the rest of a memory operand: SIB byte and displacement. `pop_adjust` is added to ESP as
/// a base, for POP, which counts from the popped stack pointer.
void SoftCpu::decode_operand(uint32_t pop_adjust) {
    if (!insn_.memory()) {
        return;
    }
    insn_.data_segment = kDs;
    insn_.offset = insn_.address32 ? decode_address32(pop_adjust) : decode_address16();
    if (insn_.segment != kNoSegment) {
        insn_.data_segment = insn_.segment;
    }
}

uint32_t SoftCpu::decode_address16() {
    enum : unsigned { kBx = 3, kBp = 5, kSi = 6, kDi = 7 };
    if (insn_.mod == 0 && insn_.rm == 6) {
        return next16();
    }
    uint32_t offset = 0;
    switch (insn_.rm) {
        case 0:
            offset = gpr(kBx) + gpr(kSi);
            break;
        case 1:
            offset = gpr(kBx) + gpr(kDi);
            break;
        case 2:
            offset = gpr(kBp) + gpr(kSi);
            break;
        case 3:
            offset = gpr(kBp) + gpr(kDi);
            break;
        case 4:
            offset = gpr(kSi);
            break;
        case 5:
            offset = gpr(kDi);
            break;
        case 6:
            offset = gpr(kBp);
            break;
        case 7:
            offset = gpr(kBx);
            break;
    }
    if (insn_.rm == 2 || insn_.rm == 3 || insn_.rm == 6) {
        insn_.data_segment = kSs;
    }
    if (insn_.mod == 1) {
        offset += static_cast<uint32_t>(static_cast<int8_t>(next8()));
    } else if (insn_.mod == 2) {
        offset += next16();
    }
    return offset & 0xffff;
}

uint32_t SoftCpu::decode_address32(uint32_t pop_adjust) {
    constexpr unsigned kEsp = 4;
    constexpr unsigned kEbp = 5;
    uint32_t offset = 0;
    unsigned base = insn_.rm;
    if (base == kEsp) {
        const uint8_t sib = next8();
        base = sib & 7;
        const unsigned index = (sib >> 3) & 7;
        if (index != kEsp) {
            offset = gpr(index) << (sib >> 6);
        }
        if (base == kEsp) {
            offset += pop_adjust;
        }
    }
    if (base == kEbp && insn_.mod == 0) {
        return offset + next32();
    }
    offset += gpr(base);
    if (base == kEsp || base == kEbp) {
        insn_.data_segment = kSs;
    }
    if (insn_.mod == 1) {
        offset += static_cast<uint32_t>(static_cast<int8_t>(next8()));
    } else if (insn_.mod == 2) {
        offset += next32();
    }
    return offset;
}

}  // namespace halcyon
