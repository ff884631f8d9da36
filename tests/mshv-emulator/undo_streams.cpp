#include "tests/mshv-emulator/undo_streams.h"

namespace halcyon::emulator {

namespace {

ZydisRegister gpr_name(unsigned number, unsigned size, bool rex) {
    switch (size) {
        case 1:
            return static_cast<ZydisRegister>(number < 4 ? ZYDIS_REGISTER_AL + number
                                              : rex      ? ZYDIS_REGISTER_SPL + (number - 4)
                                                         : ZYDIS_REGISTER_AH + (number - 4));
        case 2:
            return static_cast<ZydisRegister>(ZYDIS_REGISTER_AX + number);
        case 4:
            return static_cast<ZydisRegister>(ZYDIS_REGISTER_EAX + number);
        default:
            return static_cast<ZydisRegister>(ZYDIS_REGISTER_RAX + number);
    }
}

std::vector<uint8_t> encode(const ZydisEncoderRequest& request) {
    std::array<uint8_t, ZYDIS_MAX_INSTRUCTION_LENGTH> bytes{};
    ZyanUSize size = bytes.size();
    if (!ZYAN_SUCCESS(ZydisEncoderEncodeInstruction(&request, bytes.data(), &size))) {
        return {};
    }
    return {bytes.begin(), bytes.begin() + static_cast<long>(size)};
}

/// An operand [base + index * scale + displacement] that is in the hole.
struct Place {
    ZydisEncoderOperand operand{};
    uint64_t gpa = 0;
};

std::optional<Place> choose_place(Generator& g) {
    const bool wide = g.mode == Mode::k64;
    const unsigned address_size = wide ? 8 : g.mode == Mode::k32 || g.chance() ? 4 : 2;
    const unsigned base = address_size == 2 ? 3 : static_cast<unsigned>(g.below(wide ? 16 : 8));
    const auto index = static_cast<unsigned>(g.below(wide ? 16 : 8));
    const bool has_index = address_size != 2 && g.chance() && index != 4 && index != base;
    if (base == 4) {
        return std::nullopt;  // moving RSP would make other stores of it
    }
    // The encoder takes displacements of 16-bit code for 16 bits wide.
    const bool is_short = g.chance() || g.mode == Mode::k16;
    const int64_t displacement =
        is_short ? static_cast<int8_t>(g.number()) : static_cast<int32_t>(g.below(0x10000));
    Place place;
    place.gpa = address_size == 2 ? 0xa000 + g.below(0x800) * 8 : kHole + g.below(0x8000) * 8;
    place.operand.type = ZYDIS_OPERAND_TYPE_MEMORY;
    place.operand.mem.base = gpr_name(base, address_size, true);
    place.operand.mem.displacement = displacement;
    uint64_t offset = static_cast<uint64_t>(displacement);
    if (has_index) {
        const auto scale = static_cast<uint8_t>(1U << g.below(4));
        general(g.regs, index) &= 0xffff;
        offset += general(g.regs, index) * scale;
        place.operand.mem.index = gpr_name(index, address_size, true);
        place.operand.mem.scale = scale;
    }
    const uint64_t mask = address_size == 8 ? ~uint64_t{0} : (uint64_t{1} << address_size * 8) - 1;
    general(g.regs, base) = (place.gpa - offset) & mask;
    return place;
}

/// What is stored, and by which instruction.
struct Source {
    ZydisMnemonic mnemonic = ZYDIS_MNEMONIC_MOV;
    ZydisEncoderOperand operand{};  ///< of type UNUSED: the instruction has none
    unsigned size = 1;
    uint64_t value = 0;  ///< its first 8 bytes
};

Source choose_register(Generator& g, unsigned size) {
    const bool wide = g.mode == Mode::k64;
    const auto number = static_cast<unsigned>(g.below(wide ? 16 : 8));
    Source source;
    source.size = size;
    source.value = general(g.regs, number);
    source.operand.type = ZYDIS_OPERAND_TYPE_REGISTER;
    if (size != 1) {
        source.operand.reg.value = gpr_name(number, size, wide);
        source.mnemonic = size >= 4 && g.chance() ? ZYDIS_MNEMONIC_MOVNTI : ZYDIS_MNEMONIC_MOV;
    } else if (number >= 8) {
        source.operand.reg.value = static_cast<ZydisRegister>(ZYDIS_REGISTER_R8B + number - 8);
    } else {
        source.operand.reg.value = gpr_name(number, size, wide);
        if (number >= 4 && !wide) {
            source.value = general(g.regs, number - 4) >> 8;  // AH, CH, DH, BH
        }
    }
    return source;
}

Source choose_source(Generator& g) {
    const unsigned size = 1U << g.below(g.mode == Mode::k64 ? 4 : 3);
    Source source;
    switch (g.below(4)) {
        case 0:
            return choose_register(g, size);
        case 1:
            source.size = size;
            source.operand.type = ZYDIS_OPERAND_TYPE_IMMEDIATE;
            source.operand.imm.s = size == 1   ? static_cast<int8_t>(g.number())
                                   : size == 2 ? static_cast<int16_t>(g.number())
                                               : static_cast<int32_t>(g.number());
            source.value = source.operand.imm.u;
            return source;
        case 2:
            source.mnemonic = ZYDIS_MNEMONIC_SETB;
            source.value = g.regs.rflags & 1;
            return source;
        default: {
            const auto number = static_cast<unsigned>(g.below(g.mode == Mode::k64 ? 16 : 8));
            source.size = 16;
            source.mnemonic = g.chance() ? ZYDIS_MNEMONIC_MOVUPS : ZYDIS_MNEMONIC_MOVDQU;
            source.operand.type = ZYDIS_OPERAND_TYPE_REGISTER;
            source.operand.reg.value = static_cast<ZydisRegister>(ZYDIS_REGISTER_XMM0 + number);
            std::memcpy(&source.value, g.guest.xmm[number].data(), sizeof(source.value));
            return source;
        }
    }
}

}  // namespace

std::optional<Exit> plain_store(Generator& g) {
    const auto place = choose_place(g);
    if (!place) {
        return std::nullopt;
    }
    const Source source = choose_source(g);
    ZydisEncoderRequest request{};
    request.machine_mode = machine_mode(g.mode);
    request.mnemonic = source.mnemonic;
    request.operands[0] = place->operand;
    request.operands[0].mem.size = static_cast<ZyanU16>(source.size);
    request.operands[1] = source.operand;
    request.operand_count = source.operand.type == ZYDIS_OPERAND_TYPE_UNUSED ? 1 : 2;
    const std::vector<uint8_t> bytes = encode(request);
    if (bytes.empty()) {
        return std::nullopt;
    }
    g.begin(bytes);
    return g.stored(ZydisMnemonicGetString(request.mnemonic), place->gpa, std::min(source.size, 8U),
                    source.value);
}

std::optional<Exit> string_store(Generator& g) {
    const bool is_move = g.chance();
    const bool rep = g.chance();
    const unsigned size = 1U << g.below(g.mode == Mode::k64 ? 4 : 3);
    std::vector<uint8_t> bytes;
    if (rep) {
        bytes.push_back(0xf3);
    }
    if ((size == 2) != (g.mode == Mode::k16) && size != 1 && size != 8) {
        bytes.push_back(0x66);
    }
    if (size == 8) {
        bytes.push_back(0x48);
    }
    bytes.push_back(static_cast<uint8_t>((is_move ? 0xa4 : 0xaa) | (size == 1 ? 0 : 1)));
    const uint64_t target = g.mode == Mode::k16 ? 0xa000 : kHole + g.below(0x10000);
    g.regs.rdi = target;
    g.regs.rsi = kData + g.below(0x400);
    g.regs.rcx = rep ? 1 + g.below(3) : g.regs.rcx;
    if (g.chance()) {
        g.regs.rflags |= kDirection;
    }
    const bool down = (g.regs.rflags & kDirection) != 0;
    g.begin(bytes);
    kvm_regs after = g.regs;
    const uint64_t step = down ? uint64_t{0} - size : size;
    after.rdi += step;
    uint64_t value = g.regs.rax;
    if (is_move) {
        after.rsi += step;
        std::memcpy(&value, g.guest.ram.data() + g.regs.rsi, size);
    }
    if (rep) {
        --after.rcx;
        after.rflags |= kResume;
    }
    return g.finish(is_move ? "movs" : "stos", target, size, &value, after,
                    rep ? g.regs.rip : g.end);
}

std::optional<Exit> stack_store(Generator& g) {
    const unsigned size = g.mode == Mode::k64 ? 8 : g.mode == Mode::k32 ? 4 : 2;
    const uint64_t stack =
        g.mode == Mode::k16 ? 0xa000 + 2 * g.below(0x100) : kHole + 8 * g.below(0x100);
    const auto reg = static_cast<unsigned>(g.below(8));
    kvm_regs after;
    uint64_t value = 0;
    switch (g.below(4)) {
        case 0:
            g.regs.rsp = stack + size;
            g.begin({static_cast<uint8_t>(0x50 + reg)});
            value = general(g.regs, reg);
            break;
        case 1: {
            g.regs.rsp = stack + size;
            const auto immediate = static_cast<uint8_t>(g.number());
            g.begin({0x6a, immediate});
            value = static_cast<uint64_t>(int64_t{static_cast<int8_t>(immediate)});
            break;
        }
        case 2: {
            g.regs.rsp = stack + size;
            const uint64_t distance = g.below(0x1000);
            std::vector<uint8_t> bytes = {0xe8, static_cast<uint8_t>(distance),
                                          static_cast<uint8_t>(distance >> 8)};
            if (size != 2) {
                bytes.insert(bytes.end(), {0, 0});
            }
            g.begin(bytes);
            after = g.regs;
            after.rsp = stack;
            value = g.end;
            return g.finish("call", stack, size, &value, after, g.end + distance);
        }
        default: {
            if (g.mode == Mode::k16 || reg == 4 || reg == 5) {
                return std::nullopt;
            }
            g.regs.rsp = kData + 8 * g.below(0x80);
            general(g.regs, reg) = stack;
            g.begin({0x8f, static_cast<uint8_t>(reg)});
            std::memcpy(&value, g.guest.ram.data() + g.regs.rsp, size);
            after = g.regs;
            after.rsp += size;
            return g.finish("pop", stack, size, &value, after, g.end);
        }
    }
    after = g.regs;
    after.rsp = stack;
    return g.finish("push", stack, size, &value, after, g.end);
}

std::optional<Exit> port_store(Generator& g) {
    const unsigned size = 1U << g.below(3);
    const auto kind = g.below(3);
    const bool rep = kind == 2 && g.chance();
    std::vector<uint8_t> bytes;
    bytes.reserve(4);
    if (rep) {
        bytes.push_back(0xf3);
    }
    if ((size == 2) != (g.mode == Mode::k16) && size != 1) {
        bytes.push_back(0x66);
    }
    const uint8_t wide = size == 1 ? 0 : 1;
    uint64_t port = g.below(0x10000);
    kvm_regs after;
    uint64_t value = g.regs.rax;
    switch (kind) {
        case 0:
            g.regs.rdx = port;
            bytes.push_back(0xee | wide);
            g.begin(bytes);
            after = g.regs;
            break;
        case 1:
            port &= 0xff;
            bytes.push_back(static_cast<uint8_t>(0xe6 | wide));
            bytes.push_back(static_cast<uint8_t>(port));
            g.begin(bytes);
            after = g.regs;
            break;
        default: {
            g.regs.rdx = port;
            g.regs.rsi = kData + g.below(0x400);
            g.regs.rcx = rep ? 1 + g.below(3) : g.regs.rcx;
            bytes.push_back(0x6e | wide);
            g.begin(bytes);
            after = g.regs;
            after.rsi += size;
            if (rep) {
                --after.rcx;
                after.rflags |= kResume;
            }
            std::memcpy(&value, g.guest.ram.data() + g.regs.rsi, size);
            Exit exit = g.finish("outs", port, size, &value, after, rep ? g.regs.rip : g.end);
            exit.access.space = GuestAccess::Space::kPort;
            return exit;
        }
    }
    Exit exit = g.finish("out", port, size, &value, after, g.end);
    exit.access.space = GuestAccess::Space::kPort;
    return exit;
}

}  // namespace halcyon::emulator
