// Which function carries out which instruction.
#include <algorithm>

#include "accel/mshv/instruction_groups.h"

namespace halcyon::mshv::executor {

namespace {

/// CMPSD is also the name of a comparison of vectors.
void compare_doublewords(Execution& execution) {
    if (execution.instruction().opcode_map == ZYDIS_OPCODE_MAP_DEFAULT) {
        string_instruction(execution);
    } else {
        execution.unsupported();
    }
}

struct Row {
    ZydisMnemonic mnemonic;
    Handler handler;
};

constexpr Row kRows[] = {
    {ZYDIS_MNEMONIC_ADD, arithmetic<Arithmetic::kAdd>},
    {ZYDIS_MNEMONIC_ADC, arithmetic<Arithmetic::kAdc>},
    {ZYDIS_MNEMONIC_SUB, arithmetic<Arithmetic::kSub>},
    {ZYDIS_MNEMONIC_SBB, arithmetic<Arithmetic::kSbb>},
    {ZYDIS_MNEMONIC_CMP, arithmetic<Arithmetic::kCmp>},
    {ZYDIS_MNEMONIC_AND, arithmetic<Arithmetic::kAnd>},
    {ZYDIS_MNEMONIC_OR, arithmetic<Arithmetic::kOr>},
    {ZYDIS_MNEMONIC_XOR, arithmetic<Arithmetic::kXor>},
    {ZYDIS_MNEMONIC_TEST, arithmetic<Arithmetic::kTest>},
    {ZYDIS_MNEMONIC_INC, increment},
    {ZYDIS_MNEMONIC_DEC, decrement},
    {ZYDIS_MNEMONIC_NEG, negate},
    {ZYDIS_MNEMONIC_NOT, invert},
    {ZYDIS_MNEMONIC_XCHG, exchange},
    {ZYDIS_MNEMONIC_XADD, exchange_add},
    {ZYDIS_MNEMONIC_CMPXCHG, compare_exchange},
    {ZYDIS_MNEMONIC_CMPXCHG8B, compare_exchange_pair},
    {ZYDIS_MNEMONIC_CMPXCHG16B, compare_exchange_pair},
    {ZYDIS_MNEMONIC_MUL, multiply},
    {ZYDIS_MNEMONIC_IMUL, multiply_signed},
    {ZYDIS_MNEMONIC_DIV, divide},
    {ZYDIS_MNEMONIC_IDIV, divide_signed},
    {ZYDIS_MNEMONIC_SHL, shift<Shift::kLeft>},
    {ZYDIS_MNEMONIC_SHR, shift<Shift::kRight>},
    {ZYDIS_MNEMONIC_SAR, shift<Shift::kArithmeticRight>},
    {ZYDIS_MNEMONIC_ROL, shift<Shift::kRol>},
    {ZYDIS_MNEMONIC_ROR, shift<Shift::kRor>},
    {ZYDIS_MNEMONIC_RCL, shift<Shift::kRcl>},
    {ZYDIS_MNEMONIC_RCR, shift<Shift::kRcr>},
    {ZYDIS_MNEMONIC_SHLD, shift_double_left},
    {ZYDIS_MNEMONIC_SHRD, shift_double_right},
    {ZYDIS_MNEMONIC_BT, bit_test<BitAction::kTest>},
    {ZYDIS_MNEMONIC_BTS, bit_test<BitAction::kSet>},
    {ZYDIS_MNEMONIC_BTR, bit_test<BitAction::kReset>},
    {ZYDIS_MNEMONIC_BTC, bit_test<BitAction::kComplement>},
    {ZYDIS_MNEMONIC_MOV, move},
    {ZYDIS_MNEMONIC_MOVNTI, move},
    {ZYDIS_MNEMONIC_MOVDIRI, move},
    {ZYDIS_MNEMONIC_MOVZX, move},
    {ZYDIS_MNEMONIC_MOVSX, move_sign_extended},
    {ZYDIS_MNEMONIC_MOVSXD, move_sign_extended},
    {ZYDIS_MNEMONIC_MOVBE, move_byte_swapped},
    {ZYDIS_MNEMONIC_CMOVB, move_conditional},
    {ZYDIS_MNEMONIC_CMOVBE, move_conditional},
    {ZYDIS_MNEMONIC_CMOVL, move_conditional},
    {ZYDIS_MNEMONIC_CMOVLE, move_conditional},
    {ZYDIS_MNEMONIC_CMOVNB, move_conditional},
    {ZYDIS_MNEMONIC_CMOVNBE, move_conditional},
    {ZYDIS_MNEMONIC_CMOVNL, move_conditional},
    {ZYDIS_MNEMONIC_CMOVNLE, move_conditional},
    {ZYDIS_MNEMONIC_CMOVNO, move_conditional},
    {ZYDIS_MNEMONIC_CMOVNP, move_conditional},
    {ZYDIS_MNEMONIC_CMOVNS, move_conditional},
    {ZYDIS_MNEMONIC_CMOVNZ, move_conditional},
    {ZYDIS_MNEMONIC_CMOVO, move_conditional},
    {ZYDIS_MNEMONIC_CMOVP, move_conditional},
    {ZYDIS_MNEMONIC_CMOVS, move_conditional},
    {ZYDIS_MNEMONIC_CMOVZ, move_conditional},
    {ZYDIS_MNEMONIC_SETB, set_conditional},
    {ZYDIS_MNEMONIC_SETBE, set_conditional},
    {ZYDIS_MNEMONIC_SETL, set_conditional},
    {ZYDIS_MNEMONIC_SETLE, set_conditional},
    {ZYDIS_MNEMONIC_SETNB, set_conditional},
    {ZYDIS_MNEMONIC_SETNBE, set_conditional},
    {ZYDIS_MNEMONIC_SETNL, set_conditional},
    {ZYDIS_MNEMONIC_SETNLE, set_conditional},
    {ZYDIS_MNEMONIC_SETNO, set_conditional},
    {ZYDIS_MNEMONIC_SETNP, set_conditional},
    {ZYDIS_MNEMONIC_SETNS, set_conditional},
    {ZYDIS_MNEMONIC_SETNZ, set_conditional},
    {ZYDIS_MNEMONIC_SETO, set_conditional},
    {ZYDIS_MNEMONIC_SETP, set_conditional},
    {ZYDIS_MNEMONIC_SETS, set_conditional},
    {ZYDIS_MNEMONIC_SETZ, set_conditional},
    {ZYDIS_MNEMONIC_CLFLUSH, flush_line},
    {ZYDIS_MNEMONIC_CLFLUSHOPT, flush_line},
    {ZYDIS_MNEMONIC_CLWB, flush_line},
    {ZYDIS_MNEMONIC_PUSH, push},
    {ZYDIS_MNEMONIC_POP, pop},
    {ZYDIS_MNEMONIC_PUSHA, push_all},
    {ZYDIS_MNEMONIC_PUSHAD, push_all},
    {ZYDIS_MNEMONIC_POPA, pop_all},
    {ZYDIS_MNEMONIC_POPAD, pop_all},
    {ZYDIS_MNEMONIC_PUSHF, push_flags},
    {ZYDIS_MNEMONIC_PUSHFD, push_flags},
    {ZYDIS_MNEMONIC_PUSHFQ, push_flags},
    {ZYDIS_MNEMONIC_LEAVE, leave},
    {ZYDIS_MNEMONIC_CALL, call},
    {ZYDIS_MNEMONIC_JMP, jump},
    {ZYDIS_MNEMONIC_RET, return_near},
    {ZYDIS_MNEMONIC_INSB, string_instruction},
    {ZYDIS_MNEMONIC_INSW, string_instruction},
    {ZYDIS_MNEMONIC_INSD, string_instruction},
    {ZYDIS_MNEMONIC_OUTSB, string_instruction},
    {ZYDIS_MNEMONIC_OUTSW, string_instruction},
    {ZYDIS_MNEMONIC_OUTSD, string_instruction},
    {ZYDIS_MNEMONIC_MOVSB, string_instruction},
    {ZYDIS_MNEMONIC_MOVSW, string_instruction},
    {ZYDIS_MNEMONIC_MOVSQ, string_instruction},
    {ZYDIS_MNEMONIC_CMPSB, string_instruction},
    {ZYDIS_MNEMONIC_CMPSW, string_instruction},
    {ZYDIS_MNEMONIC_CMPSQ, string_instruction},
    {ZYDIS_MNEMONIC_STOSB, string_instruction},
    {ZYDIS_MNEMONIC_STOSW, string_instruction},
    {ZYDIS_MNEMONIC_STOSD, string_instruction},
    {ZYDIS_MNEMONIC_STOSQ, string_instruction},
    {ZYDIS_MNEMONIC_LODSB, string_instruction},
    {ZYDIS_MNEMONIC_LODSW, string_instruction},
    {ZYDIS_MNEMONIC_LODSD, string_instruction},
    {ZYDIS_MNEMONIC_LODSQ, string_instruction},
    {ZYDIS_MNEMONIC_SCASB, string_instruction},
    {ZYDIS_MNEMONIC_SCASW, string_instruction},
    {ZYDIS_MNEMONIC_SCASD, string_instruction},
    {ZYDIS_MNEMONIC_SCASQ, string_instruction},
    {ZYDIS_MNEMONIC_CMPSD, compare_doublewords},
    {ZYDIS_MNEMONIC_MOVAPS, move_vector_aligned},
    {ZYDIS_MNEMONIC_MOVAPD, move_vector_aligned},
    {ZYDIS_MNEMONIC_MOVDQA, move_vector_aligned},
    {ZYDIS_MNEMONIC_MOVNTPS, move_vector_aligned},
    {ZYDIS_MNEMONIC_MOVNTPD, move_vector_aligned},
    {ZYDIS_MNEMONIC_MOVNTDQ, move_vector_aligned},
    {ZYDIS_MNEMONIC_MOVNTDQA, move_vector_aligned},
    {ZYDIS_MNEMONIC_MOVUPS, move_vector_unaligned},
    {ZYDIS_MNEMONIC_MOVUPD, move_vector_unaligned},
    {ZYDIS_MNEMONIC_MOVDQU, move_vector_unaligned},
    {ZYDIS_MNEMONIC_LDDQU, move_vector_unaligned},
    {ZYDIS_MNEMONIC_MOVSS, move_scalar},
    {ZYDIS_MNEMONIC_MOVSD, move_scalar},
    {ZYDIS_MNEMONIC_MOVLPS, move_low_half},
    {ZYDIS_MNEMONIC_MOVLPD, move_low_half},
    {ZYDIS_MNEMONIC_MOVHPS, move_high_half},
    {ZYDIS_MNEMONIC_MOVHPD, move_high_half},
    {ZYDIS_MNEMONIC_MOVD, move_quadword},
    {ZYDIS_MNEMONIC_MOVQ, move_quadword},
    {ZYDIS_MNEMONIC_MOVNTQ, move_quadword},
};

/// By mnemonic: the row's number plus one, or 0.
constexpr auto kIndex = [] {
    static_assert(std::size(kRows) < 256);
    std::array<uint8_t, ZYDIS_MNEMONIC_MAX_VALUE + 1> index{};
    for (size_t row = 0; row < std::size(kRows); ++row) {
        index[kRows[row].mnemonic] = static_cast<uint8_t>(row + 1);
    }
    return index;
}();

}  // namespace

void dispatch(Execution& execution) {
    const ZydisDecodedInstruction& instruction = execution.instruction();
    const unsigned row = kIndex[instruction.mnemonic];
    if (row == 0 || instruction.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY) {
        execution.unsupported();
    } else {
        kRows[row - 1].handler(execution);
    }
}

}  // namespace halcyon::mshv::executor
