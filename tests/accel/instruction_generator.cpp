// An encoding is prefixes, REX, opcode, ModRM, SIB, displacement, immediate (Intel SDM 2A 2.1).
#include "tests/accel/instruction_generator.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

namespace halcyon::testing_support {

namespace {

constexpr unsigned kSs = 2;
constexpr unsigned kDs = 3;
constexpr unsigned kRsp = 4;
constexpr unsigned kRbp = 5;
constexpr uint8_t kSegmentPrefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};

struct Rex {
    bool present = false;
    unsigned w = 0, r = 0, x = 0, b = 0;
};

class Generator {
public:
    Generator(Random& random, const Form& form, unsigned code_bits)
        : random_(random), form_(form), long_mode_(code_bits == 64) {
        out_.form = &form;
        out_.code_bits = code_bits;
    }

    Encoding make() {
        choose_rex();
        put_prefixes();
        if (rex_.present) {
            put(0x40 | rex_.w << 3 | rex_.r << 2 | rex_.x << 1 | rex_.b);
        }
        put_opcode();
        if ((form_.variation & kModRm) != 0) {
            put_modrm();
        }
        put_immediate();
        return out_;
    }

private:
    [[nodiscard]] bool varies(Variation what) const { return (form_.variation & what) != 0; }

    void put(unsigned byte) { out_.bytes[out_.size++] = static_cast<std::byte>(byte); }

    void put_number(uint64_t value, unsigned size) {
        std::memcpy(out_.bytes.data() + out_.size, &value, size);
        out_.size += size;
    }

    void choose_rex() {
        if (!long_mode_ || random_.once_in(2)) {
            return;
        }
        rex_.present = true;
        rex_.w = static_cast<unsigned>(random_.below(2));
        rex_.r = varies(kSegmentReg) ? 0 : static_cast<unsigned>(random_.below(2));
        rex_.x = static_cast<unsigned>(random_.below(2));
        rex_.b = static_cast<unsigned>(random_.below(2));
    }

    void put_prefixes() {
        std::vector<uint8_t> prefixes;
        const bool smaller = !varies(kNoPrefix66) && random_.once_in(4);
        if (smaller) {
            prefixes.push_back(0x66);
        }
        const bool address = random_.once_in(6);
        if (address) {
            prefixes.push_back(0x67);
        }
        choose_segment(prefixes);
        const bool string = form_.role == Role::kString;
        if (!varies(kNoRepeat) && (string ? !random_.once_in(3) : random_.once_in(12))) {
            out_.repeat = random_.once_in(2) ? 0xf2 : 0xf3;
            prefixes.push_back(out_.repeat);
        }
        if (random_.once_in(12) && form_.role != Role::kBranch) {
            out_.locked = true;
            prefixes.push_back(0xf0);
        }
        if (form_.mandatory != 0) {
            prefixes.push_back(form_.mandatory);
        }
        for (size_t i = prefixes.size(); i > 1; --i) {
            std::swap(prefixes[i - 1], prefixes[random_.below(i)]);
        }
        if (!prefixes.empty() && long_mode_ && random_.once_in(40)) {
            put(0x40 | random_.below(16));  // a REX that is not the last prefix is void
        }
        for (const uint8_t prefix : prefixes) {
            put(prefix);
        }
        choose_sizes(smaller, address);
    }

    /// CS has no use here: what it reaches is not data. FS has none in 16- and 32-bit code, where
    /// it is unusable; that faults. In 64-bit mode the first four are void.
    void choose_segment(std::vector<uint8_t>& prefixes) {
        if (!random_.once_in(4)) {
            return;
        }
        unsigned segment = static_cast<unsigned>(random_.below(6));
        if (segment == 1 && !long_mode_) {
            segment = kDs;
        }
        prefixes.push_back(kSegmentPrefixes[segment]);
        if (!long_mode_ || segment >= 4) {
            out_.segment = segment;
        }
    }

    void choose_sizes(bool smaller, bool address) {
        const unsigned bits = out_.code_bits;
        if (varies(kByteOperand)) {
            out_.operand_size = 1;
        } else if (long_mode_ && (rex_.w != 0 || (varies(kStack64) && !smaller))) {
            out_.operand_size = 8;
        } else {
            out_.operand_size = (bits == 16) != smaller ? 2 : 4;
        }
        if (long_mode_) {
            out_.address_bits = address ? 32 : 64;
        } else {
            out_.address_bits = (bits == 16) != address ? 16 : 32;
        }
    }

    void put_opcode() {
        for (unsigned i = 0; i + 1 < form_.opcode_size; ++i) {
            put(form_.opcode[i]);
        }
        unsigned last = form_.opcode[form_.opcode_size - 1];
        if (varies(kRegisterInOpcode)) {
            last |= random_.below(8);
        }
        put(last);
    }

    void put_modrm() {
        unsigned reg = static_cast<unsigned>(random_.below(varies(kSegmentReg) ? 6 : 8));
        if (form_.extension >= 0) {
            reg = static_cast<unsigned>(form_.extension);
        }
        out_.reg = reg | rex_.r << 3;
        out_.memory = varies(kMemoryOnly) || !random_.once_in(12);
        const auto rm = static_cast<unsigned>(random_.below(8));
        if (!out_.memory) {
            put(3U << 6 | reg << 3 | rm);
            return;
        }
        const auto mod = static_cast<unsigned>(random_.below(3));
        put(mod << 6 | reg << 3 | rm);
        if (out_.address_bits == 16) {
            put_address16(mod, rm);
        } else {
            put_address(mod, rm);
        }
    }

    void put_displacement(unsigned size) {
        out_.displacement_at = out_.size;
        out_.displacement_size = size;
        out_.size += size;
        const uint64_t value = random_.once_in(2) ? random_.bits() : random_.interesting();
        if (size > 0) {
            const unsigned spare = 64 - 8 * size;
            out_.set_displacement(
                static_cast<uint64_t>(static_cast<int64_t>(value << spare) >> spare));
        }
    }

    void put_address16(unsigned mod, unsigned rm) {
        // BX+SI, BX+DI, BP+SI, BP+DI, SI, DI, BP, BX
        constexpr unsigned kBases[] = {3, 3, 5, 5, 6, 7, 5, 3};
        constexpr unsigned kIndexes[] = {6, 7, 6, 7};
        if (mod == 0 && rm == 6) {
            out_.absolute = true;
            put_displacement(2);
            return;
        }
        out_.base = kBases[rm];
        if (rm < std::size(kIndexes)) {
            out_.index = kIndexes[rm];
        }
        put_displacement(mod);
    }

    void put_address(unsigned mod, unsigned rm) {
        const unsigned displacement = mod == 2 ? 4 : mod;
        if (rm == kRsp) {
            put_sib(mod, displacement);
        } else if (rm == kRbp && mod == 0) {
            (long_mode_ ? out_.rip_relative : out_.absolute) = true;
            put_displacement(4);
        } else {
            out_.base = rm | rex_.b << 3;
            put_displacement(displacement);
        }
    }

    void put_sib(unsigned mod, unsigned displacement) {
        const auto scale = static_cast<unsigned>(random_.below(4));
        const auto index = static_cast<unsigned>(random_.below(8));
        const auto base = static_cast<unsigned>(random_.below(8));
        put(scale << 6 | index << 3 | base);
        if ((index | rex_.x << 3) != kRsp) {
            out_.index = index | rex_.x << 3;
            out_.scale = 1U << scale;
        }
        if (base == kRbp && mod == 0) {
            out_.absolute = !out_.index.has_value();
            put_displacement(4);
            return;
        }
        out_.base = base | rex_.b << 3;
        put_displacement(displacement);
    }

    void put_immediate() {
        unsigned size = 0;
        switch (form_.immediate) {
            case Immediate::kNone:
                return;
            case Immediate::kByte:
                size = 1;
                break;
            case Immediate::kOperand:
                size = std::min(out_.operand_size, 4U);
                break;
            case Immediate::kFull:
                size = out_.operand_size;
                break;
            case Immediate::kWord:
                size = 2;
                break;
            case Immediate::kOffset:
                out_.memory = true;
                out_.absolute = true;
                put_displacement(out_.address_bits / 8);
                return;
        }
        const bool small = form_.undefined == Undefined::kShift && size == 1 && random_.once_in(2);
        // A 16-bit SHLD or SHRD by more than 16 has no defined result.
        const bool limited = form_.opcode_size == 2 && form_.undefined == Undefined::kShift;
        out_.immediate = form_.immediate == Immediate::kWord ? 8 * random_.below(8)
                         : limited ? random_.below(8 * uint64_t{out_.operand_size})
                         : small   ? random_.below(3)
                                   : random_.interesting();
        put_number(out_.immediate, size);
    }

    Random& random_;
    const Form& form_;
    const bool long_mode_;
    Rex rex_;
    Encoding out_;
};

}  // namespace

uint64_t Random::interesting() {
    switch (below(8)) {
        case 0:
            return 0;
        case 1:
            return below(256);
        case 2:
            return 0 - below(256);
        case 3:
            return uint64_t{1} << below(64);
        case 4:
            return (uint64_t{1} << below(64)) - 1;
        case 5: {
            constexpr uint64_t kSigns[] = {0x80, 0x8000, 0x80000000, 0x8000000000000000};
            return kSigns[below(std::size(kSigns))] - below(2);
        }
    }
    return bits();
}

unsigned Encoding::effective_segment() const {
    if (segment) {
        return *segment;
    }
    return base == kRsp || base == kRbp ? kSs : kDs;
}

void Encoding::set_displacement(uint64_t value) {
    displacement = value;
    std::memcpy(bytes.data() + displacement_at, &displacement, displacement_size);
}

Encoding generate(Random& random, const Form& form, unsigned code_bits) {
    return Generator(random, form, code_bits).make();
}

}  // namespace halcyon::testing_support
