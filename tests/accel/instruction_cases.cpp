// Segments, registers and memory for one encoding.
#include "tests/accel/instruction_cases.h"

#include <cpuid.h>

#include <cstring>
#include <iomanip>
#include <sstream>
#include <string_view>
#include <vector>

namespace halcyon::testing_support {

namespace {

constexpr uint64_t kAlignmentCheck = 0x40000;
constexpr uint64_t kPage = NativeProcessor::kPage;
constexpr uint64_t kData = NativeProcessor::kData;
constexpr uint64_t kWritableEnd = kData + NativeProcessor::kWritablePages * kPage;
constexpr unsigned kFs = 4;
constexpr unsigned kGs = 5;

/// Which exception comes when there are several reasons is each maker's own choice, and what
/// CMPXCHG does to the upper half of a register, and MOVSXD with 16 bits. The executor does as
/// Intel's.
bool is_intel() {
    unsigned eax = 0;
    unsigned ebx = 0;
    unsigned ecx = 0;
    unsigned edx = 0;
    return __get_cpuid(0, &eax, &ebx, &ecx, &edx) != 0 && ebx == signature_INTEL_ebx;
}

}  // namespace

CaseMaker::CaseMaker(uint64_t seed, NativeProcessor& native, FakeBus& bus)
    : random_(seed), native_(native), bus_(bus), intel_(is_intel()) {
    bus_.set_rights(kWritableEnd, PageRights::kRead);
    for (std::byte& byte : bus_.memory()) {
        byte = static_cast<std::byte>(random_.bits());
    }
    native_.set_data(bus_.memory());
}

void CaseMaker::choose_segments(unsigned code_bits, bool local) {
    segments_ = {};
    segments_.native.code_bits = code_bits;
    SegmentRegister code;
    code.limit = 0xffffffff;
    SegmentRegister flat;
    flat.limit = 0xffffffff;
    flat.selector = NativeProcessor::kData32;
    flat.attributes = 0xc0f3;
    if (local) {
        choose_local_segments(code_bits);
        return;
    }
    code.selector = code_bits == 64 ? NativeProcessor::kCode64 : NativeProcessor::kCode32;
    code.attributes = code_bits == 64 ? 0xa0fb : 0xc0fb;
    segments_.native.cs = code.selector;
    segments_.native.ss = NativeProcessor::kData32;
    segments_.executor = {flat, code, flat, flat, SegmentRegister{}, flat};
    if (code_bits == 64) {
        // Of the selectors only what MOV can see matters.
        const uint64_t gs_base = random_.below(2) * 0x1234560 + random_.below(0x1000);
        NativeProcessor::set_gs_base(gs_base);
        for (const unsigned index : {0U, 3U, 4U, 5U}) {
            segments_.executor.at(index).selector = 0;
        }
        segments_.executor[kFs].base = NativeProcessor::fs_base();
        segments_.executor[kGs].base = gs_base;
    } else {
        segments_.native.ds = segments_.native.es = segments_.native.gs = flat.selector;
    }
}

/// A segment through which the data is to be seen, all or part of it.
NativeDescriptor CaseMaker::random_window(bool stack) {
    NativeDescriptor window;
    window.big = random_.once_in(2);
    window.expand_down = random_.once_in(4);
    window.writable = stack || !random_.once_in(8);
    if (window.expand_down) {
        window.base = static_cast<uint32_t>(kData - 0x8000 - random_.below(0x2000));
        window.limit = static_cast<uint32_t>(random_.below(0x9000));
    } else {
        window.base = static_cast<uint32_t>(kData - kPage - random_.below(0x4000));
        window.limit =
            static_cast<uint32_t>(random_.once_in(3) ? 0x2000 + random_.below(0x7000) : 0xffff);
    }
    return window;
}

void CaseMaker::choose_local_segments(unsigned code_bits) {
    const auto set = [](unsigned entry, const NativeDescriptor& from) {
        SegmentRegister result;
        result.selector = NativeProcessor::set_descriptor(entry, from);
        result.base = from.base;
        result.limit = from.limit;
        result.attributes = from.attributes();
        return result;
    };
    NativeDescriptor code;
    code.code = true;
    code.base = static_cast<uint32_t>(NativeProcessor::kCode);
    code.limit = NativeProcessor::kCodeSize - 1;
    code.big = code_bits == 32;
    auto& [es, cs, ss, ds, fs, gs] = segments_.executor;
    cs = set(1, code);
    ss = set(2, random_window(true));
    ds = set(3, random_window(false));
    es = set(4, random_window(false));
    gs = set(5, random_window(false));
    segments_.native.code_base = code.base;
    segments_.native.cs = cs.selector;
    segments_.native.ss = ss.selector;
    segments_.native.ds = ds.selector;
    segments_.native.es = es.selector;
    segments_.native.gs = gs.selector;
}

/// A linear address for an operand: mostly where it can be written, often over the end of a page,
/// sometimes where that faults.
uint64_t CaseMaker::random_place() {
    const uint64_t inside = kData + random_.below(kWritableEnd - kData - 64);
    switch (random_.below(16)) {
        case 0:
        case 1:
            return kData + kPage - 1 - random_.below(16);
        case 2:
            return kWritableEnd - 1 - random_.below(16);
        case 3:
            return kWritableEnd + random_.below(kPage - 16);
        case 4:
            return kWritableEnd + kPage - 1 - random_.below(16);
        case 5:
            return kData - 1 - random_.below(16);
        case 6:
        case 7:
        case 8:
        case 9:
            return inside & ~uint64_t{15};
    }
    return inside;
}

void CaseMaker::point_register(Case& made, unsigned index, unsigned through, uint64_t linear,
                               unsigned bits) {
    const uint64_t mask = mask_of_bits(bits);
    const uint64_t offset = linear - segment(through).base;
    uint64_t& value = made.registers.gpr.at(index);
    value = (value & ~mask) | (offset & mask);
}

/// Makes the operand's offset what is wanted, or as near as the scale allows.
bool CaseMaker::solve(Case& made, uint64_t offset) {
    Encoding& encoding = made.encoding;
    const uint64_t mask = mask_of_bits(encoding.address_bits);
    if (encoding.absolute || encoding.rip_relative) {
        const uint64_t next = NativeProcessor::kCode + made.at + encoding.size;
        const uint64_t value = (offset - (encoding.rip_relative ? next : 0)) & mask;
        encoding.set_displacement(value);
        const unsigned spare = 64 - 8 * encoding.displacement_size;
        const auto reached =
            static_cast<uint64_t>(static_cast<int64_t>(value << spare) >> spare) & mask;
        return reached == value;
    }
    const unsigned unknown = encoding.base ? *encoding.base : *encoding.index;
    uint64_t factor = encoding.base ? 1 : encoding.scale;
    uint64_t rest = offset - encoding.displacement;
    if (encoding.base && encoding.index) {
        if (encoding.index == encoding.base) {
            factor += encoding.scale;
        } else {
            rest -= made.registers.gpr.at(*encoding.index) * encoding.scale;
        }
    }
    rest &= mask;
    uint64_t value = rest / factor;
    if (factor % 2 != 0) {
        uint64_t inverse = 1;
        for (int i = 0; i < 6; ++i) {
            inverse *= 2 - factor * inverse;  // Newton's iteration modulo 2^64
        }
        value = rest * inverse;
    }
    uint64_t& target = made.registers.gpr.at(unknown);
    target = (target & ~mask) | (value & mask);
    return true;
}

bool CaseMaker::place_operand(Case& made) {
    Encoding& encoding = made.encoding;
    const bool locks = encoding.locked || (encoding.form->variation & kLineLock) != 0;
    uint64_t place = random_place();
    if (encoding.form->role == Role::kBitOffset) {
        if (encoding.reg == encoding.base || encoding.reg == encoding.index) {
            return false;
        }
        place = kData + kPage + random_.below(kPage);
        uint64_t& number = made.registers.gpr.at(encoding.reg);
        number = random_.below(0x10000) - 0x8000;
    }
    if (encoding.form->role == Role::kBranch) {
        place = kData + random_.below(2 * kPage);
    }
    if (locks) {
        place &= ~uint64_t{15};  // over the end of a cache line is slow, or forbidden
    }
    return solve(made, place - segment(encoding.effective_segment()).base);
}

/// The linear address of the memory operand, from the registers as they are now.
uint64_t CaseMaker::operand_place(const Case& made) const {
    const Encoding& encoding = made.encoding;
    uint64_t offset = encoding.displacement;
    if (encoding.rip_relative) {
        offset += NativeProcessor::kCode + made.at + encoding.size;
    }
    offset += encoding.base ? made.registers.gpr.at(*encoding.base) : 0;
    offset += encoding.index ? made.registers.gpr.at(*encoding.index) * encoding.scale : 0;
    const uint64_t linear =
        (offset & mask_of_bits(encoding.address_bits)) + segment(encoding.effective_segment()).base;
    return encoding.code_bits == 64 ? linear : linear & mask_of_bits(32);
}

void CaseMaker::fill_both(uint64_t linear, std::span<const std::byte> bytes) {
    for (size_t i = 0; i < bytes.size(); ++i) {
        const uint64_t at = linear + i;
        if (at >= kData && at < kWritableEnd) {
            *bus_.at(at) = bytes[i];
            native_.data()[at - kData] = bytes[i];
        }
    }
}

void CaseMaker::prepare_string(Case& made) {
    constexpr unsigned kRcx = 1;
    constexpr unsigned kRsi = 6;
    constexpr unsigned kRdi = 7;
    const unsigned bits = made.encoding.address_bits;
    const uint64_t source = random_place();
    const uint64_t destination = random_.once_in(8) ? source + random_.below(16) : random_place();
    point_register(made, kRsi, made.encoding.effective_segment(), source, bits);
    point_register(made, kRdi, 0, destination, bits);
    const uint64_t mask = mask_of_bits(bits);
    uint64_t& count = made.registers.gpr[kRcx];
    // Not 0: with 32-bit addresses in 64-bit code its upper half is then the model's affair.
    count = (count & ~mask) | (1 + random_.below(random_.once_in(8) ? 1500 : 40));
    if (random_.once_in(2)) {
        const std::vector<std::byte> same(random_.below(300),
                                          static_cast<std::byte>(made.registers.gpr[0]));
        fill_both(source, same);
        fill_both(destination, same);
    }
}

/// The address to go to must be there and readable, or the branch would go anywhere.
bool CaseMaker::prepare_branch(Case& made, uint64_t linear) {
    const unsigned size = made.encoding.operand_size;
    if (linear < kData || linear + size > kWritableEnd) {
        return false;
    }
    const uint64_t target =
        NativeProcessor::branch_target(made.encoding.code_bits) - segments_.native.code_base;
    std::array<std::byte, sizeof(target)> bytes;
    std::memcpy(bytes.data(), &target, sizeof(target));
    fill_both(linear, std::span(bytes).first(size));
    return true;
}

bool CaseMaker::prepare_role(Case& made) {
    constexpr unsigned kRdx = 2;
    constexpr unsigned kRsp = 4;
    constexpr unsigned kRbp = 5;
    auto& gpr = made.registers.gpr;
    const Encoding& encoding = made.encoding;
    // Whether RAX, RCX and RDX are not needed for the address.
    const bool free = encoding.base.value_or(kRsp) > kRdx && encoding.index.value_or(kRsp) > kRdx;
    const unsigned stack_bits = made.encoding.code_bits == 64           ? 64
                                : (segment(2).attributes & 0x4000) != 0 ? 32
                                                                        : 16;
    switch (made.encoding.form->role) {
        case Role::kDivide:
            if (free && random_.once_in(2)) {
                gpr[kRdx] = random_.once_in(2) ? 0 : 0 - (gpr[0] >> 63);
                gpr[0] &= made.encoding.operand_size == 1 ? 0xff : ~uint64_t{0};
            }
            break;
        case Role::kCompareExchange: {
            const uint64_t place = operand_place(made);
            const bool inside = place >= kData && place + 16 <= kWritableEnd;
            if (inside && free && made.encoding.memory && random_.once_in(2)) {
                const bool pair = (made.encoding.form->variation & kMemoryOnly) != 0;
                gpr[0] = bus_.get<uint64_t>(place);
                gpr[kRdx] =
                    bus_.get<uint64_t>(place + (pair && made.encoding.operand_size == 8 ? 8 : 4));
            }
            break;
        }
        case Role::kString:
            prepare_string(made);
            break;
        case Role::kLeave:
            point_register(made, kRbp, 2, random_place(), stack_bits);
            break;
        case Role::kBranch:
            return prepare_branch(made, operand_place(made));
        case Role::kReturn: {
            const uint64_t place = kData + random_.below(2 * kPage);
            point_register(made, kRsp, 2, place, stack_bits);
            return prepare_branch(made, place);
        }
        case Role::kPlain:
        case Role::kBitOffset:
        case Role::kStack:
        case Role::kVector:
            break;
    }
    return true;
}

void CaseMaker::fill_registers(Case& made) {
    for (uint64_t& value : made.registers.gpr) {
        value = random_.interesting();
    }
    for (auto& value : made.registers.xmm) {
        for (std::byte& byte : value) {
            byte = static_cast<std::byte>(random_.bits());
        }
    }
    for (auto& value : made.registers.mmx) {
        for (std::byte& byte : value) {
            byte = static_cast<std::byte>(random_.bits());
        }
    }
}

bool CaseMaker::make_case(const Form& form, Case& made) {
    constexpr unsigned kRcx = 1;
    constexpr unsigned kRsp = 4;
    made.encoding = generate(random_, form, segments_.native.code_bits);
    const std::string_view name = form.name;
    if (!intel_ && ((name == "MOVSXD" && made.encoding.operand_size == 2) ||
                    (name == "CMPXCHG" && !made.encoding.memory))) {
        return false;
    }
    made.at = static_cast<uint32_t>(random_.below(2048));
    fill_registers(made);
    made.registers.rflags = 0x202 | (random_.bits() & (kStatusFlags | kDirectionFlag));
    if (form.role != Role::kVector && random_.once_in(16)) {
        made.registers.rflags |= kAlignmentCheck;
    }
    const bool double_shift = form.opcode_size == 2 && form.undefined == Undefined::kShift;
    if (double_shift && made.encoding.operand_size == 2) {
        made.registers.gpr[kRcx] = (made.registers.gpr[kRcx] & ~uint64_t{31}) | random_.below(17);
    }
    made.registers.gpr[kRsp] = random_place() - segment(2).base;
    if (made.encoding.code_bits != 64) {
        made.registers.gpr[kRsp] &= mask_of_bits(32);
    }
    if (made.encoding.memory && !place_operand(made)) {
        return false;
    }
    if (double_shift && made.encoding.operand_size == 2 && (made.registers.gpr[kRcx] & 31) > 16) {
        return false;  // RCX was wanted for the address
    }
    const bool stack = form.role == Role::kStack || form.role == Role::kBranch;
    const uint64_t top = segment(2).base + made.registers.gpr[kRsp];
    if (stack && (top < kData - kPage || top > kData + NativeProcessor::kDataSize + kPage)) {
        return false;  // RSP was wanted for the address; who knows what is there
    }
    return prepare_role(made);
}

VcpuRegisters CaseMaker::executor_registers(const Case& made) const {
    VcpuRegisters registers;
    registers.gpr = made.registers.gpr;
    registers.rip = NativeProcessor::kCode + made.at - segments_.native.code_base;
    registers.rflags = made.registers.rflags;
    registers.es = segment(0);
    registers.cs = segment(1);
    registers.ss = segment(2);
    registers.ds = segment(3);
    registers.fs = segment(kFs);
    registers.gs = segment(kGs);
    registers.cr0 = 0x80050033;
    registers.cr4 = 0x6a0;
    registers.efer = 0xd01;
    return registers;
}

uint64_t CaseMaker::undefined_flags(const Case& made) {
    constexpr uint64_t kCarry = 1;
    constexpr uint64_t kAuxiliary = 0x10;
    constexpr uint64_t kOverflow = 0x800;
    const Encoding& encoding = made.encoding;
    switch (encoding.form->undefined) {
        case Undefined::kNothing:
            return 0;
        case Undefined::kLogic:
            return kAuxiliary;
        case Undefined::kMultiply:
            return kStatusFlags & ~(kCarry | kOverflow);
        case Undefined::kDivide:
            return kStatusFlags;
        case Undefined::kBit:
            return kStatusFlags & ~(kCarry | 0x40);
        case Undefined::kShift:
        case Undefined::kRotate:
            break;
    }
    const uint8_t opcode = encoding.form->opcode[encoding.form->opcode_size - 1];
    const bool by_one = encoding.form->opcode_size == 1 && (opcode & 0xfe) == 0xd0;
    const uint64_t raw = by_one                                         ? 1
                         : encoding.form->immediate == Immediate::kByte ? encoding.immediate
                                                                        : made.registers.gpr[1];
    const uint64_t count = raw & (encoding.operand_size == 8 ? 63 : 31);
    uint64_t undefined = count == 1 ? 0 : kOverflow;
    if (encoding.form->undefined == Undefined::kShift) {
        undefined |= kAuxiliary | (count >= 8 * encoding.operand_size ? kCarry : 0);
    }
    return count == 0 ? 0 : undefined;
}

std::string CaseMaker::describe(const Case& made) const {
    std::ostringstream out;
    out << std::hex << std::setfill('0') << made.encoding.form->name << " (" << std::dec
        << made.encoding.code_bits << "-bit code):" << std::hex;
    for (const std::byte byte : std::span(made.encoding.bytes).first(made.encoding.size)) {
        out << ' ' << std::setw(2) << std::to_integer<unsigned>(byte);
    }
    out << "\nflags " << made.registers.rflags << ", registers";
    for (const uint64_t value : made.registers.gpr) {
        out << ' ' << value;
    }
    if (made.encoding.memory) {
        out << "\noperand at " << operand_place(made);
    }
    for (const SegmentRegister& each : segments_.executor) {
        out << "\nsegment " << each.selector << " base " << each.base << " limit " << each.limit
            << " attributes " << each.attributes;
    }
    return out.str();
}

}  // namespace halcyon::testing_support
