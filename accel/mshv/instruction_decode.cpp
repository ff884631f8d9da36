// Execution: the mode, the fetch and the decoding of the instruction, and how it ends.
#include <algorithm>
#include <cstdio>

#include "accel/mshv/instruction_execution.h"

namespace halcyon::mshv::executor {

namespace {

// A segment's attributes, as in SegmentRegister.
constexpr uint16_t kLongCode = 1U << 13;
constexpr uint16_t kBig = 1U << 14;

ZydisDecoder decoder_for(ZydisMachineMode mode, ZydisStackWidth width) {
    ZydisDecoder decoder;
    ZydisDecoderInit(&decoder, mode, width);
    // 3Eh before an indirect branch is a segment override too.
    ZydisDecoderEnableMode(&decoder, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
    return decoder;
}

const ZydisDecoder& decoder_of(const Mode& mode, const SegmentRegister& code) {
    static const ZydisDecoder k64 = decoder_for(ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    static const ZydisDecoder k32 = decoder_for(ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    static const ZydisDecoder k16 = decoder_for(ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    if (mode.long64) {
        return k64;
    }
    return !mode.virtual8086 && (code.attributes & kBig) != 0 ? k32 : k16;
}

/// The instruction in Intel's notation; nothing when it is none.
std::string format(const ZydisDecodedInstruction& instruction,
                   std::span<const ZydisDecodedOperand> operands, uint64_t address) {
    ZydisFormatter formatter;
    std::array<char, 128> text;
    if (!ZYAN_SUCCESS(ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL)) ||
        !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(
            &formatter, &instruction, operands.data(), instruction.operand_count_visible,
            text.data(), text.size(), address, ZYAN_NULL))) {
        return {};
    }
    return text.data();
}

}  // namespace

Mode Mode::of(const VcpuRegisters& registers) {
    Mode mode;
    const bool long_mode = (registers.efer & kEferLongModeActive) != 0;
    mode.real = (registers.cr0 & kCr0ProtectedMode) == 0;
    mode.long64 = !mode.real && long_mode && (registers.cs.attributes & kLongCode) != 0;
    mode.virtual8086 = !mode.real && !long_mode && (registers.rflags & kVirtual8086Flag) != 0;
    mode.rights = !mode.real && !mode.long64 && !mode.virtual8086;
    if (mode.virtual8086) {
        mode.privilege = 3;
    } else if (!mode.real) {
        mode.privilege = (registers.ss.attributes >> 5) & 3;
    }
    const bool big_stack = !mode.virtual8086 && (registers.ss.attributes & kBig) != 0;
    mode.stack_mask = mode.long64 ? mask_of(8) : mask_of(big_stack ? 4 : 2);
    return mode;
}

bool Execution::decode(std::span<const std::byte> given) {
    const ZydisDecoder& decoder = decoder_of(mode_, registers_.cs);
    length_ = static_cast<unsigned>(std::min<size_t>(given.size(), kLongest));
    std::copy_n(given.begin(), length_, bytes_.begin());
    ZydisDecoderContext context;
    ZyanStatus status = ZYDIS_STATUS_NO_MORE_DATA;
    while (!stopped_) {
        status = ZydisDecoderDecodeInstruction(&decoder, &context, bytes_.data(), length_,
                                               &instruction_);
        if (status != ZYDIS_STATUS_NO_MORE_DATA || length_ == kLongest) {
            break;
        }
        fetch_more();
    }
    if (stopped_) {
        return false;
    }
    if (ZYAN_SUCCESS(status)) {
        status = ZydisDecoderDecodeOperands(&decoder, &context, &instruction_, operands_.data(),
                                            instruction_.operand_count_visible);
    }
    check_decoded(status);
    return !stopped_;
}

/// What is left of a page at a time, so that a page is touched only when the instruction reaches
/// into it.
void Execution::fetch_more() {
    const Location from{Segment::kCs, mode_.long64 ? registers_.rip + length_
                                                   : (registers_.rip + length_) & mask_of(4)};
    const std::optional<uint64_t> address = linear(from, 1, Access::kExecute);
    if (!address) {
        return;
    }
    uint64_t size = std::min<uint64_t>(kLongest - length_, kPageSize - *address % kPageSize);
    if (!mode_.long64) {
        size = std::min<uint64_t>(size, uint64_t{registers_.cs.limit} - from.offset + 1);
    }
    if (!note(bus_.fetch(*address, std::span(bytes_).subspan(length_, size)))) {
        length_ += static_cast<unsigned>(size);
    }
}

void Execution::check_decoded(ZyanStatus status) {
    if (status == ZYDIS_STATUS_NO_MORE_DATA || status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG) {
        raise(Vector::kProtection);
    } else if (status == ZYDIS_STATUS_ILLEGAL_LOCK) {
        raise(Vector::kUndefinedOpcode);
    } else if (!ZYAN_SUCCESS(status)) {
        instruction_.length = 0;
        unsupported();
    } else {
        linear({Segment::kCs, mode_.long64 ? registers_.rip : registers_.rip & mask_of(4)},
               instruction_.length, Access::kExecute);
    }
}

void Execution::raise(Vector vector) {
    if (stopped_) {
        return;
    }
    stopped_ = true;
    result_.outcome = InstructionResult::Outcome::kException;
    result_.exception.vector = static_cast<uint8_t>(vector);
    if (vector >= Vector::kStack && !mode_.real) {
        result_.exception.error_code = 0;
    }
}

void Execution::unsupported() {
    if (stopped_) {
        return;
    }
    stopped_ = true;
    result_.outcome = InstructionResult::Outcome::kUnsupported;
    const bool known = instruction_.length != 0;
    result_.detail = known ? "unsupported instruction" : "undefined instruction";
    const unsigned length = known ? instruction_.length : length_;
    for (const std::byte byte : std::span(bytes_).first(length)) {
        std::array<char, 4> text;
        std::snprintf(text.data(), text.size(), " %02x", std::to_integer<unsigned>(byte));
        result_.detail += text.data();
    }
    if (known) {
        result_.detail += " (" + format(instruction_, operands_, registers_.rip) + ")";
    }
}

void Execution::fail(std::string detail) {
    if (!stopped_) {
        stopped_ = true;
        result_.outcome = InstructionResult::Outcome::kFailed;
        result_.detail = std::move(detail);
    }
}

bool Execution::note(std::optional<AccessFault> fault) {
    if (!fault) {
        return false;
    }
    if (!fault->exception) {
        fail(std::move(fault->failure));
    } else if (!stopped_) {
        stopped_ = true;
        result_.outcome = InstructionResult::Outcome::kException;
        result_.exception = *fault->exception;
    }
    return true;
}

InstructionResult Execution::finish() {
    if (stopped_) {
        registers_.gpr = committed_gpr_;
        registers_.rflags = entry_flags_;
        if (result_.outcome == InstructionResult::Outcome::kException) {
            registers_.rflags |= kResumeFlag;  // Intel SDM 3B 17.3.1.1
        }
        return std::move(result_);
    }
    if (!repeats_) {
        registers_.rip = target_.value_or(next_rip());
        registers_.rflags &= ~kResumeFlag;
    }
    result_.single_step = single_step();
    return std::move(result_);
}

}  // namespace halcyon::mshv::executor
