// Loads and stores of XMM and MMX registers.
#include <algorithm>

#include "accel/mshv/instruction_groups.h"

namespace halcyon::mshv::executor {

namespace {

using Vector128 = std::array<std::byte, 16>;

bool is_xmm(const Execution& execution, unsigned index) {
    return execution.register_class(index) == ZYDIS_REGCLASS_XMM;
}

bool is_mmx(const Execution& execution, unsigned index) {
    return execution.register_class(index) == ZYDIS_REGCLASS_MMX;
}

unsigned register_id(const Execution& execution, unsigned index) {
    return static_cast<unsigned>(ZydisRegisterGetId(execution.operand(index).reg.value));
}

Vector128 get_xmm(Execution& execution, unsigned index) {
    Vector128 value{};
    if (!execution.stopped()) {
        execution.note(execution.bus().read_xmm(register_id(execution, index), value));
    }
    return value;
}

void set_xmm(Execution& execution, unsigned index, const Vector128& value) {
    if (!execution.stopped()) {
        execution.note(execution.bus().write_xmm(register_id(execution, index), value));
    }
}

/// The low `size` bytes of an operand of any kind.
Vector128 get_low(Execution& execution, unsigned index, size_t size) {
    Vector128 value{};
    if (execution.is_memory(index)) {
        execution.read(execution.location(index), std::span(value).first(size));
    } else if (is_xmm(execution, index)) {
        const Vector128 whole = get_xmm(execution, index);
        std::copy_n(whole.begin(), size, value.begin());
    } else if (is_mmx(execution, index)) {
        std::array<std::byte, 8> whole{};
        if (!execution.stopped()) {
            execution.note(execution.bus().mmx()->read_mmx(register_id(execution, index), whole));
        }
        std::copy_n(whole.begin(), size, value.begin());
    } else {
        const uint64_t whole = execution.get(index);
        std::copy_n(std::as_bytes(std::span(&whole, 1)).begin(), size, value.begin());
    }
    return value;
}

/// Of a register all is written, of memory `size` bytes.
void set_low(Execution& execution, unsigned index, const Vector128& value, size_t size) {
    if (execution.is_memory(index)) {
        execution.write(execution.location(index), std::span(value).first(size));
    } else if (is_xmm(execution, index)) {
        set_xmm(execution, index, value);
    } else if (is_mmx(execution, index)) {
        if (!execution.stopped()) {
            execution.note(execution.bus().mmx()->write_mmx(register_id(execution, index),
                                                            std::span(value).first<8>()));
        }
    } else {
        uint64_t whole = 0;
        std::copy_n(value.begin(), sizeof(whole),
                    std::as_writable_bytes(std::span(&whole, 1)).begin());
        execution.set(index, whole);
    }
}

void move_whole(Execution& execution, bool aligned) {
    constexpr size_t kSize = sizeof(Vector128);
    execution.require_vectors();
    const unsigned memory = execution.is_memory(0) ? 0 : 1;
    if (aligned && execution.is_memory(memory)) {
        execution.require_alignment(execution.location(memory), kSize);
    }
    set_low(execution, 0, get_low(execution, 1, kSize), kSize);
}

/// MOVLPS, MOVHPS and so on: half of a register, the other half stays.
void move_half(Execution& execution, size_t at) {
    constexpr size_t kSize = 8;
    execution.require_vectors();
    const unsigned reg = execution.is_memory(0) ? 1 : 0;
    Vector128 whole = get_xmm(execution, reg);
    const std::span<std::byte> half = std::span(whole).subspan(at, kSize);
    if (reg == 1) {
        execution.write(execution.location(0), half);
        return;
    }
    execution.read(execution.location(1), half);
    set_xmm(execution, 0, whole);
}

}  // namespace

void move_vector_aligned(Execution& execution) {
    move_whole(execution, true);
}

void move_vector_unaligned(Execution& execution) {
    move_whole(execution, false);
}

void move_scalar(Execution& execution) {
    if (execution.instruction().opcode_map == ZYDIS_OPCODE_MAP_DEFAULT) {
        string_instruction(execution);
        return;
    }
    const size_t size = execution.instruction().mnemonic == ZYDIS_MNEMONIC_MOVSS ? 4 : 8;
    execution.require_vectors();
    Vector128 value = get_low(execution, 1, size);
    if (is_xmm(execution, 0) && is_xmm(execution, 1)) {
        // Between registers, what is above the scalar stays.
        Vector128 whole = get_xmm(execution, 0);
        std::copy_n(value.begin(), size, whole.begin());
        value = whole;
    }
    set_low(execution, 0, value, size);
}

void move_low_half(Execution& execution) {
    move_half(execution, 0);
}

void move_high_half(Execution& execution) {
    move_half(execution, 8);
}

void move_quadword(Execution& execution) {
    if (is_mmx(execution, 0) || is_mmx(execution, 1)) {
        execution.require_mmx();
    } else {
        execution.require_vectors();
    }
    const size_t size = execution.instruction().mnemonic == ZYDIS_MNEMONIC_MOVD ? 4 : 8;
    if (!execution.stopped()) {
        set_low(execution, 0, get_low(execution, 1, size), size);
    }
}

}  // namespace halcyon::mshv::executor
