/// Generates encodings of the instructions that the executor handles, without the help of a
/// decoder: what an encoding means is known here independently.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>

namespace halcyon::testing_support {

/// A deterministic source of choices.
class Random {
public:
    explicit Random(uint64_t seed) : engine_(seed) {}
    uint64_t bits() { return engine_(); }
    /// 0 to `limit` - 1.
    uint64_t below(uint64_t limit) { return engine_() % limit; }
    /// True once in `times`.
    bool once_in(uint64_t times) { return below(times) == 0; }
    /// A number that is likely to be at the edge of something.
    uint64_t interesting();

private:
    std::mt19937_64 engine_;
};

/// What a form needs of registers or memory to be worth running.
enum class Role : uint8_t {
    kPlain,
    kBitOffset,        ///< a register's bit number addresses memory beyond the operand
    kDivide,           ///< the dividend should often fit
    kCompareExchange,  ///< the accumulator should often be what is in memory
    kString,
    kStack,
    kLeave,
    kBranch,  ///< through the operand
    kReturn,
    kVector,  ///< without alignment checks, whose rules are the model's
};

enum class Immediate : uint8_t {
    kNone,
    kByte,
    kOperand,  ///< of the operand's size, at most 4 bytes
    kFull,     ///< of the operand's size
    kWord,
    kOffset,  ///< of the address size: an address
};

/// Which status flags an instruction leaves undefined.
enum class Undefined : uint8_t { kNothing, kLogic, kMultiply, kDivide, kShift, kRotate, kBit };

/// What of an opcode's surroundings may be varied.
enum Variation : uint16_t {
    kModRm = 1,
    kMemoryOnly = 2,    ///< ModRM names memory
    kByteOperand = 4,   ///< one byte, whatever the prefixes say
    kNoPrefix66 = 8,    ///< 66h would be another instruction
    kNoRepeat = 16,     ///< F2h and F3h would be another instruction
    kStack64 = 32,      ///< 8 bytes in 64-bit mode without REX.W
    kOnly64 = 64,       ///< not in 16- and 32-bit code
    kNot64 = 128,       ///< only there
    kLineLock = 256,    ///< locks the bus also without LOCK
    kSegmentReg = 512,  ///< the register field names a segment register
    kRegisterInOpcode = 1024,
};

struct Form {
    const char* name;
    uint8_t mandatory;  ///< 66h, F2h, F3h or none
    std::array<uint8_t, 3> opcode;
    uint8_t opcode_size;
    int8_t extension;  ///< the register field, -1 for any
    uint16_t variation;
    Immediate immediate;
    Undefined undefined;
    Role role;
};

std::span<const Form> all_forms();

/// One encoding, and what it means.
struct Encoding {
    const Form* form = nullptr;
    std::array<std::byte, 24> bytes{};
    size_t size = 0;
    unsigned code_bits = 64;
    unsigned operand_size = 4;
    unsigned address_bits = 64;
    bool locked = false;
    uint8_t repeat = 0;
    /// An override that has effect, as a number of a segment register.
    std::optional<unsigned> segment;
    unsigned reg = 0;  ///< the register field with REX.R
    uint64_t immediate = 0;
    // The memory operand, if any: base + index * scale + displacement.
    bool memory = false;
    bool absolute = false;      ///< a number alone, at `displacement_at`
    bool rip_relative = false;  ///< likewise, counted from the next instruction
    std::optional<unsigned> base, index;
    unsigned scale = 1;
    uint64_t displacement = 0;
    size_t displacement_at = 0;
    unsigned displacement_size = 0;

    /// The segment of the memory operand, or of a string's source.
    [[nodiscard]] unsigned effective_segment() const;
    void set_displacement(uint64_t value);
};

/// A random encoding of `form` in code of 16, 32 or 64 bits.
Encoding generate(Random& random, const Form& form, unsigned code_bits);

}  // namespace halcyon::testing_support
