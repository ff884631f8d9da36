/// Streams of instructions, each with a store that a small model carries out as KVM's emulator
/// does: what undo has to find.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <Zydis/Zydis.h>

#include "tools/mshv-emulator/undo.h"

namespace halcyon::emulator {

inline constexpr uint64_t kRamSize = 0xa000;
inline constexpr uint64_t kHole = 0xa0000;
inline constexpr uint64_t kCode = 0x8000;
inline constexpr uint64_t kData = 0x3000;
inline constexpr uint64_t kDirection = 1U << 10;
inline constexpr uint64_t kResume = 1U << 16;

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

inline ZydisMachineMode machine_mode(Mode mode) {
    return mode == Mode::k64   ? ZYDIS_MACHINE_MODE_LONG_64
           : mode == Mode::k32 ? ZYDIS_MACHINE_MODE_LEGACY_32
                               : ZYDIS_MACHINE_MODE_REAL_16;
}

inline kvm_sregs sregs_of(Mode mode) {
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
    Generator(Mode with_mode, unsigned seed) : mode(with_mode), random(seed) {
        for (unsigned i = 0; i < 16; ++i) {
            general(regs, i) = number();
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
                general(regs, i) &= 0xffff;
            }
        } else if (mode == Mode::k32) {
            for (unsigned i = 0; i < 16; ++i) {
                general(regs, i) &= 0xffffffff;
            }
        }
        regs.rsp = kData + 0x800;
        regs.rflags = 2 | (number() & 0x8d5);
        sregs = sregs_of(mode);
    }

    uint64_t number() { return random(); }
    uint64_t below(uint64_t limit) { return number() % limit; }
    bool chance() { return below(2) != 0; }

    void emit(const std::vector<uint8_t>& bytes) {
        std::copy(bytes.begin(), bytes.end(), guest.ram.begin() + static_cast<long>(end));
        end += bytes.size();
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
                return mode == Mode::k64 ? emit({0x48, 0x8b, modrm(1), byte()})
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
        regs.rip = end;
        emit(bytes);
        length = bytes.size();
        const uint64_t next = end;
        for (int i = 0; i < 4; ++i) {
            emit_filler();
        }
        end = next;
    }

    Exit finish(const std::string& name, uint64_t gpa, uint32_t size, const void* data,
                kvm_regs after, uint64_t rip) {
        Exit exit;
        exit.name = name;
        exit.before = regs;
        exit.after = after;
        exit.length = length;
        exit.after.rip = rip;
        exit.access = {.is_write = true, .address = gpa, .size = size};
        std::memcpy(exit.access.data.data(), data, std::min<size_t>(size, 8));
        return exit;
    }

    Exit stored(const std::string& name, uint64_t gpa, uint32_t size, uint64_t value) {
        return finish(name, gpa, size, &value, regs, end);
    }

    uint64_t mask() const {
        return mode == Mode::k64 ? ~uint64_t{0} : mode == Mode::k32 ? 0xffffffff : 0xffff;
    }

    Mode mode;
    std::mt19937_64 random;
    FakeGuest guest;
    kvm_regs regs{};
    kvm_sregs sregs{};
    uint64_t end = kCode;
    uint64_t length = 0;
};

/// One store of a kind, in a stream; nothing where what chance chose cannot be encoded.
std::optional<Exit> plain_store(Generator& g);
/// STOS and MOVS, one element, with REP and without.
std::optional<Exit> string_store(Generator& g);
/// PUSH, CALL and POP where the stack, or what is popped to, is not there.
std::optional<Exit> stack_store(Generator& g);
/// OUT and OUTS.
std::optional<Exit> port_store(Generator& g);

}  // namespace halcyon::emulator
