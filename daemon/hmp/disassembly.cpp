#include "daemon/hmp/disassembly.h"

#include <algorithm>
#include <array>

#include <Zydis/Zydis.h>
#include <spdlog/fmt/fmt.h>

namespace halcyon::hmp {

namespace {

constexpr uint64_t kEferLongModeActive = 1 << 10;
constexpr uint16_t kLong = 1 << 13;  // SegmentRegister::attributes
constexpr uint16_t kBig = 1 << 14;
/// So long are the lines' bytes; a longer instruction goes on in a line of its own.
constexpr size_t kBytesPerLine = 8;

using Bytes = std::array<std::byte, ZYDIS_MAX_INSTRUCTION_LENGTH>;

ZydisDecoder decoder_for(CodeWidth width) {
    ZydisDecoder decoder;
    switch (width) {
        case CodeWidth::k16:
            ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
            break;
        case CodeWidth::k32:
            ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
            break;
        case CodeWidth::k64:
            ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
            break;
    }
    return decoder;
}

ZydisFormatter make_formatter() {
    ZydisFormatter formatter;
    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_ATT);
    ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_HEX_UPPERCASE, ZYAN_FALSE);
    return formatter;
}

std::string format_bytes(std::span<const std::byte> bytes) {
    std::string text;
    for (const std::byte byte : bytes) {
        text += fmt::format("{:02x} ", static_cast<unsigned>(byte));
    }
    return text;
}

std::string format_line(uint64_t address, std::span<const std::byte> bytes,
                        const std::string& instruction) {
    const size_t first = std::min(bytes.size(), kBytesPerLine);
    std::string text =
        fmt::format("{:#010x}:  {:<{}} {}\n", address, format_bytes(bytes.first(first)),
                    3 * kBytesPerLine, instruction);
    if (first < bytes.size()) {
        text += fmt::format("{:#010x}:  {}\n", address + first, format_bytes(bytes.subspan(first)));
    }
    return text;
}

/// The bytes from an address on, as many as there are of the longest instruction's.
std::span<const std::byte> read_some(uint64_t address, const ReadMemory& read, Bytes& buffer) {
    for (size_t size = buffer.size(); size != 0; --size) {
        if (read(address, std::span(buffer).first(size))) {
            return std::span(buffer).first(size);
        }
    }
    return {};
}

/// An instruction as text, and how many bytes it has.
struct Shown {
    std::string text;
    size_t length = 1;
};

Shown show_instruction(const ZydisDecoder& decoder, const ZydisFormatter& formatter,
                       std::span<const std::byte> bytes, uint64_t address) {
    ZydisDecodedInstruction instruction;
    std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands;
    std::array<char, 256> text{};
    if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes.data(), bytes.size(), &instruction,
                                            operands.data())) &&
        ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&formatter, &instruction, operands.data(),
                                                     instruction.operand_count_visible, text.data(),
                                                     text.size(), address, nullptr))) {
        return {.text = text.data(), .length = instruction.length};
    }
    return {.text = fmt::format(".byte {:#04x}", static_cast<unsigned>(bytes.front()))};
}

}  // namespace

CodeWidth code_width(const VcpuRegisters& registers) {
    if ((registers.efer & kEferLongModeActive) != 0 && (registers.cs.attributes & kLong) != 0) {
        return CodeWidth::k64;
    }
    return (registers.cs.attributes & kBig) != 0 ? CodeWidth::k32 : CodeWidth::k16;
}

std::string disassemble(uint64_t address, uint64_t count, CodeWidth width, const ReadMemory& read) {
    const ZydisDecoder decoder = decoder_for(width);
    const ZydisFormatter formatter = make_formatter();
    // As many as fit into what a command shows of memory, were each as long as can be.
    const uint64_t most = kMaxDump / ZYDIS_MAX_INSTRUCTION_LENGTH;
    std::string text;
    for (uint64_t left = std::min(count, most); left != 0; --left) {
        Bytes buffer{};
        const std::span<const std::byte> bytes = read_some(address, read, buffer);
        if (bytes.empty()) {
            return text + fmt::format("{:#010x}: unable to read memory\n", address);
        }
        const Shown shown = show_instruction(decoder, formatter, bytes, address);
        text += format_line(address, bytes.first(shown.length), shown.text);
        address += shown.length;
    }
    return text + (count > most ? kShownEnd : "");
}

}  // namespace halcyon::hmp
