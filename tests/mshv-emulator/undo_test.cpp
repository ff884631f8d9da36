/// Finding the instruction behind a KVM exit: streams of instructions are generated, the store at
/// their end is carried out by a small model, as KVM's emulator does, and looked for.
#include "tools/mshv-emulator/undo.h"

#include <array>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <Zydis/Zydis.h>
#include <gtest/gtest.h>

namespace halcyon::emulator {
namespace {

constexpr uint64_t kRamSize = 0xa000;
constexpr uint64_t kHole = 0xa0000;
constexpr uint64_t kCode = 0x8000;
constexpr uint64_t kData = 0x3000;
constexpr uint64_t kDirection = 1U << 10;
constexpr uint64_t kResume = 1U << 16;

/// Memory from 0, and nothing above; linear addresses are physical.
class FakeGuest final : public InstructionSource {
public:
    size_t read(uint64_t linear, void* to, size_t size) override {
        if (linear >= ram.size()) {
            return 0;
        }
        const size_t count = std::min<size_t>(size, ram.size() - linear);
        std::memcpy(to, ram.data() + linear, count);
        return count;
    }
    std::optional<uint64_t> translate(uint64_t linear) override { return linear; }
    bool read_xmm(unsigned index, std::array<uint8_t, 16>& value) override {
        value = xmm[index];
        return true;
    }

    std::vector<uint8_t> ram = std::vector<uint8_t>(kRamSize);
    std::array<std::array<uint8_t, 16>, 16> xmm{};
};

enum class Mode { k16, k32, k64 };

ZydisMachineMode machine_mode(Mode mode) {
    return mode == Mode::k64   ? ZYDIS_MACHINE_MODE_LONG_64
           : mode == Mode::k32 ? ZYDIS_MACHINE_MODE_LEGACY_32
                               : ZYDIS_MACHINE_MODE_REAL_16;
}

kvm_sregs sregs_of(Mode mode) {
    kvm_sregs sregs{};
    sregs.cr0 = mode == Mode::k16 ? 0 : 1;
    sregs.efer = mode == Mode::k64 ? 1U << 10 : 0;
    sregs.cs.l = mode == Mode::k64 ? 1 : 0;
    sregs.cs.db = sregs.ss.db = mode == Mode::k32 ? 1 : 0;
    return sregs;
}

/// A store that was carried out: what KVM shows of it.
struct Exit {
    std::string name;
    kvm_regs before{};
    kvm_regs after{};
    GuestAccess access;
    uint64_t length = 0;
};

class Generator {
public:
    Generator(Mode mode, unsigned seed) : mode_(mode), random_(seed) {
        for (unsigned i = 0; i < 16; ++i) {
            general(regs_, i) = number();
        }
        for (auto& value : guest.xmm) {
            for (uint8_t& byte : value) {
                byte = static_cast<uint8_t>(number());
            }
        }
        for (size_t i = 0; i < guest.ram.size(); i += sizeof(uint64_t)) {
            const uint64_t bytes = number();
            std::memcpy(guest.ram.data() + i, &bytes, sizeof(bytes));
        }
        if (mode == Mode::k16) {
            for (unsigned i = 0; i < 16; ++i) {
                general(regs_, i) &= 0xffff;
            }
        } else if (mode == Mode::k32) {
            for (unsigned i = 0; i < 16; ++i) {
                general(regs_, i) &= 0xffffffff;
            }
        }
        regs_.rsp = kData + 0x800;
        regs_.rflags = 2 | (number() & 0x8d5);
        sregs = sregs_of(mode);
    }

    uint64_t number() { return random_(); }
    uint64_t below(uint64_t limit) { return number() % limit; }
    bool chance() { return below(2) != 0; }

    void emit(const std::vector<uint8_t>& bytes) {
        std::copy(bytes.begin(), bytes.end(), guest.ram.begin() + static_cast<long>(end_));
        end_ += bytes.size();
    }

    /// What compilers put around stores.
    void emit_filler() {
        const auto byte = [this] { return static_cast<uint8_t>(number()); };
        const auto modrm = [this](unsigned mod) {
            return static_cast<uint8_t>(mod << 6 | (number() & 0x3b));  // no SIB
        };
        switch (below(8)) {
            case 0:
                return emit({0x83, static_cast<uint8_t>(0xc0 | (number() & 0x3f)), byte()});
            case 1:
                return mode_ == Mode::k64 ? emit({0x48, 0x8b, modrm(1), byte()})
                                          : emit({0x8b, modrm(1), byte()});
            case 2:
                return emit({0xb0, byte()});
            case 3:
                return emit({0x90});
            case 4:
                return emit({0x84, static_cast<uint8_t>(0xc0 | (number() & 0x3f))});
            case 5:
                return emit({0x75, byte()});
            case 6:
                return emit({0x88, modrm(3)});
            default:
                return emit({0x0f, 0xb6, modrm(1), byte()});
        }
    }

    /// The store's bytes at the end of a stream, with RIP at them.
    void begin(const std::vector<uint8_t>& bytes) {
        for (uint64_t i = 2 + below(5); i > 0; --i) {
            emit_filler();
        }
        regs_.rip = end_;
        emit(bytes);
        length_ = bytes.size();
        const uint64_t next = end_;
        for (int i = 0; i < 4; ++i) {
            emit_filler();
        }
        end_ = next;
    }

    Exit finish(const std::string& name, uint64_t gpa, uint32_t size, const void* data,
                kvm_regs after, uint64_t rip) {
        Exit exit;
        exit.name = name;
        exit.before = regs_;
        exit.after = after;
        exit.length = length_;
        exit.after.rip = rip;
        exit.access = {.is_write = true, .address = gpa, .size = size};
        std::memcpy(exit.access.data.data(), data, std::min<size_t>(size, 8));
        return exit;
    }

    Exit stored(const std::string& name, uint64_t gpa, uint32_t size, uint64_t value) {
        return finish(name, gpa, size, &value, regs_, end_);
    }

    uint64_t mask() const {
        return mode_ == Mode::k64 ? ~uint64_t{0} : mode_ == Mode::k32 ? 0xffffffff : 0xffff;
    }

    Mode mode_;
    std::mt19937_64 random_;
    FakeGuest guest;
    kvm_regs regs_{};
    kvm_sregs sregs{};
    uint64_t end_ = kCode;
    uint64_t length_ = 0;
};

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

/// MOV, MOVNTI, SETcc and MOVAPS to [base + index * scale + displacement].
std::optional<Exit> plain_store(Generator& g) {
    const bool wide = g.mode_ == Mode::k64;
    const unsigned address_size = wide ? 8 : g.mode_ == Mode::k32 ? 4 : g.chance() ? 4 : 2;
    const unsigned kind = static_cast<unsigned>(g.below(5));
    unsigned size = 1U << g.below(wide ? 4 : 3);
    const unsigned base = address_size == 2 ? 3 : static_cast<unsigned>(g.below(wide ? 16 : 8));
    unsigned index = static_cast<unsigned>(g.below(wide ? 16 : 8));
    const bool has_index = address_size != 2 && g.chance() && index != 4 && index != base;
    const auto scale = static_cast<uint8_t>(1U << g.below(4));
    // The encoder takes displacements of 16-bit code for 16 bits wide.
    const int64_t displacement = g.chance() || g.mode_ == Mode::k16
                                     ? static_cast<int8_t>(g.number())
                                     : static_cast<int32_t>(g.below(0x10000));
    if (base == 4) {
        return std::nullopt;  // moving RSP would make other stores of it
    }
    // In 16-bit code only addresses below 1 MiB are reached: the hole is 64 KiB on.
    const uint64_t target =
        address_size == 2 ? 0xa000 + g.below(0x800) * 8 : kHole + g.below(0x8000) * 8;
    uint64_t offset = static_cast<uint64_t>(displacement);
    if (has_index) {
        general(g.regs_, index) &= 0xffff;
        offset += general(g.regs_, index) * scale;
    }
    general(g.regs_, base) = (target - offset) & (address_size == 8   ? ~uint64_t{0}
                                                  : address_size == 4 ? 0xffffffff
                                                                      : 0xffff);

    ZydisEncoderRequest request{};
    request.machine_mode = machine_mode(g.mode_);
    request.operand_count = 2;
    ZydisEncoderOperand& to = request.operands[0];
    ZydisEncoderOperand& from = request.operands[1];
    to.type = ZYDIS_OPERAND_TYPE_MEMORY;
    to.mem.base = gpr_name(base, address_size, true);
    to.mem.displacement = displacement;
    if (has_index) {
        to.mem.index = gpr_name(index, address_size, true);
        to.mem.scale = scale;
    }
    const unsigned source = static_cast<unsigned>(g.below(wide ? 16 : 8));
    uint64_t value = general(g.regs_, source);
    from.type = ZYDIS_OPERAND_TYPE_REGISTER;
    std::array<uint8_t, 16> wide_value{};
    switch (kind) {
        case 0:
            request.mnemonic = ZYDIS_MNEMONIC_MOV;
            if (size == 1 && source >= 4 && source < 8 && !wide) {
                value = general(g.regs_, source - 4) >> 8;  // AH, CH, DH, BH
            }
            from.reg.value = size == 1 && wide && source >= 8
                                 ? static_cast<ZydisRegister>(ZYDIS_REGISTER_R8B + source - 8)
                                 : gpr_name(source, size, wide);
            break;
        case 1:
            request.mnemonic = ZYDIS_MNEMONIC_MOV;
            from.type = ZYDIS_OPERAND_TYPE_IMMEDIATE;
            from.imm.s = size == 1   ? static_cast<int8_t>(g.number())
                         : size == 2 ? static_cast<int16_t>(g.number())
                                     : static_cast<int32_t>(g.number());
            value = from.imm.u;
            break;
        case 2:
            size = size < 4 ? 4 : size;
            request.mnemonic = ZYDIS_MNEMONIC_MOVNTI;
            from.reg.value = gpr_name(source, size, true);
            break;
        case 3:
            size = 1;
            request.mnemonic = ZYDIS_MNEMONIC_SETB;
            request.operand_count = 1;
            value = g.regs_.rflags & 1;
            break;
        default:
            size = 16;
            request.mnemonic = g.chance() ? ZYDIS_MNEMONIC_MOVUPS : ZYDIS_MNEMONIC_MOVDQU;
            from.reg.value = static_cast<ZydisRegister>(ZYDIS_REGISTER_XMM0 + source);
            wide_value = g.guest.xmm[source];
            std::memcpy(&value, wide_value.data(), 8);
            break;
    }
    to.mem.size = static_cast<ZyanU16>(size);
    const std::vector<uint8_t> bytes = encode(request);
    if (bytes.empty()) {
        return std::nullopt;
    }
    g.begin(bytes);
    return g.stored(ZydisMnemonicGetString(request.mnemonic), target, std::min(size, 8U), value);
}

/// STOS and MOVS, one element of it, with REP and without.
std::optional<Exit> string_store(Generator& g) {
    const bool is_move = g.chance();
    const bool rep = g.chance();
    const unsigned size = 1U << g.below(g.mode_ == Mode::k64 ? 4 : 3);
    std::vector<uint8_t> bytes;
    if (rep) {
        bytes.push_back(0xf3);
    }
    if ((size == 2) != (g.mode_ == Mode::k16) && size != 1 && size != 8) {
        bytes.push_back(0x66);
    }
    if (size == 8) {
        bytes.push_back(0x48);
    }
    bytes.push_back(static_cast<uint8_t>((is_move ? 0xa4 : 0xaa) | (size == 1 ? 0 : 1)));
    const uint64_t target = g.mode_ == Mode::k16 ? 0xa000 : kHole + g.below(0x10000);
    g.regs_.rdi = target;
    g.regs_.rsi = kData + g.below(0x400);
    g.regs_.rcx = rep ? 1 + g.below(3) : g.regs_.rcx;
    if (g.chance()) {
        g.regs_.rflags |= kDirection;
    }
    const bool down = (g.regs_.rflags & kDirection) != 0;
    g.begin(bytes);
    kvm_regs after = g.regs_;
    const uint64_t step = down ? uint64_t{0} - size : size;
    after.rdi += step;
    uint64_t value = g.regs_.rax;
    if (is_move) {
        after.rsi += step;
        std::memcpy(&value, g.guest.ram.data() + g.regs_.rsi, size);
    }
    if (rep) {
        --after.rcx;
        after.rflags |= kResume;
    }
    return g.finish(is_move ? "movs" : "stos", target, size, &value, after,
                    rep ? g.regs_.rip : g.end_);
}

/// PUSH, CALL and POP where the stack, or what is popped to, is not there.
std::optional<Exit> stack_store(Generator& g) {
    const unsigned size = g.mode_ == Mode::k64 ? 8 : g.mode_ == Mode::k32 ? 4 : 2;
    const uint64_t stack =
        g.mode_ == Mode::k16 ? 0xa000 + 2 * g.below(0x100) : kHole + 8 * g.below(0x100);
    const auto reg = static_cast<unsigned>(g.below(8));
    kvm_regs after;
    uint64_t value = 0;
    switch (g.below(4)) {
        case 0:
            g.regs_.rsp = stack + size;
            g.begin({static_cast<uint8_t>(0x50 + reg)});
            value = general(g.regs_, reg);
            break;
        case 1: {
            g.regs_.rsp = stack + size;
            const auto immediate = static_cast<uint8_t>(g.number());
            g.begin({0x6a, immediate});
            value = static_cast<uint64_t>(int64_t{static_cast<int8_t>(immediate)});
            break;
        }
        case 2: {
            g.regs_.rsp = stack + size;
            const uint64_t distance = g.below(0x1000);
            std::vector<uint8_t> bytes = {0xe8, static_cast<uint8_t>(distance),
                                          static_cast<uint8_t>(distance >> 8)};
            if (size != 2) {
                bytes.insert(bytes.end(), {0, 0});
            }
            g.begin(bytes);
            after = g.regs_;
            after.rsp = stack;
            value = g.end_;
            return g.finish("call", stack, size, &value, after, g.end_ + distance);
        }
        default: {
            if (g.mode_ == Mode::k16 || reg == 4 || reg == 5) {
                return std::nullopt;
            }
            g.regs_.rsp = kData + 8 * g.below(0x80);
            general(g.regs_, reg) = stack;
            g.begin({0x8f, static_cast<uint8_t>(reg)});
            std::memcpy(&value, g.guest.ram.data() + g.regs_.rsp, size);
            after = g.regs_;
            after.rsp += size;
            return g.finish("pop", stack, size, &value, after, g.end_);
        }
    }
    after = g.regs_;
    after.rsp = stack;
    return g.finish("push", stack, size, &value, after, g.end_);
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
    if ((size == 2) != (g.mode_ == Mode::k16) && size != 1) {
        bytes.push_back(0x66);
    }
    const uint8_t wide = size == 1 ? 0 : 1;
    uint64_t port = g.below(0x10000);
    kvm_regs after;
    uint64_t value = g.regs_.rax;
    switch (kind) {
        case 0:
            g.regs_.rdx = port;
            bytes.push_back(0xee | wide);
            g.begin(bytes);
            after = g.regs_;
            break;
        case 1:
            port &= 0xff;
            bytes.push_back(static_cast<uint8_t>(0xe6 | wide));
            bytes.push_back(static_cast<uint8_t>(port));
            g.begin(bytes);
            after = g.regs_;
            break;
        default: {
            g.regs_.rdx = port;
            g.regs_.rsi = kData + g.below(0x400);
            g.regs_.rcx = rep ? 1 + g.below(3) : g.regs_.rcx;
            bytes.push_back(0x6e | wide);
            g.begin(bytes);
            after = g.regs_;
            after.rsi += size;
            if (rep) {
                --after.rcx;
                after.rflags |= kResume;
            }
            std::memcpy(&value, g.guest.ram.data() + g.regs_.rsi, size);
            Exit exit = g.finish("outs", port, size, &value, after, rep ? g.regs_.rip : g.end_);
            exit.access.space = GuestAccess::Space::kPort;
            return exit;
        }
    }
    Exit exit = g.finish("out", port, size, &value, after, g.end_);
    exit.access.space = GuestAccess::Space::kPort;
    return exit;
}

using Make = std::optional<Exit> (*)(Generator&);

struct Family {
    const char* name;
    Make make;
};

class UndoTest : public testing::TestWithParam<Family> {};

bool same_general(const kvm_regs& a, const kvm_regs& b) {
    kvm_regs x = a;
    x.rip = b.rip;
    return std::memcmp(&x, &b, sizeof(x)) == 0;
}

TEST_P(UndoTest, FindsTheStoreAndTheRegistersBeforeIt) {
    unsigned streams = 0;
    unsigned exact = 0;
    for (unsigned seed = 0; seed < 6000; ++seed) {
        const Mode mode = static_cast<Mode>(seed % 3);
        Generator generator(mode, seed);
        const auto exit = GetParam().make(generator);
        if (!exit) {
            continue;
        }
        SCOPED_TRACE(exit->name + ", seed " + std::to_string(seed));
        ++streams;
        const auto found = undo_write(exit->after, generator.sregs, exit->access, generator.guest);
        ASSERT_TRUE(found);
        // Where two instructions make the same access, either will do; it must end where KVM was.
        const bool is_same = found->regs.rip == exit->before.rip && found->length == exit->length;
        exact += is_same ? 1 : 0;
        if (is_same) {
            ASSERT_TRUE(same_general(found->regs, exit->before));
        } else {
            EXPECT_EQ(found->regs.rip + found->length, exit->before.rip + exit->length);
        }
        if (exit->access.space == GuestAccess::Space::kMemory) {
            ASSERT_EQ(found->linear, exit->access.address);
        }
    }
    EXPECT_GT(streams, 2000U);
    EXPECT_GE(exact, streams - streams / 200) << "of " << streams;
}

INSTANTIATE_TEST_SUITE_P(All, UndoTest,
                         testing::Values(Family{"Plain", plain_store},
                                         Family{"String", string_store},
                                         Family{"Stack", stack_store}, Family{"Port", port_store}),
                         [](const auto& family) { return family.param.name; });

}  // namespace
}  // namespace halcyon::emulator
