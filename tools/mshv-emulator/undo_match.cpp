#include "tools/mshv-emulator/undo_match.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace halcyon::emulator {

namespace {

constexpr uint64_t kPageSize = 4096;

/// KVM reports an operand in parts: one for each page it lies on, and of those at most this much.
constexpr unsigned kMmioLimit = 8;

}  // namespace

bool is_part_of(const GuestAccess& access, uint64_t linear, unsigned size, const uint8_t* value,
                unsigned known, InstructionSource& source, bool& is_whole) {
    const auto first =
        static_cast<unsigned>(std::min<uint64_t>(size, kPageSize - linear % kPageSize));
    const auto begins_at = [&](unsigned offset, unsigned rest) {
        if (access.size != std::min(rest, kMmioLimit) ||
            source.translate(linear + offset) != access.address) {
            return false;
        }
        const unsigned compared = known > offset ? std::min(known - offset, access.size) : 0;
        return compared == 0 || std::memcmp(value + offset, access.data.data(), compared) == 0;
    };
    if (begins_at(0, first)) {
        is_whole = access.size == size;
        return true;
    }
    // The part before is of memory, or it would have been reported first: it is written by now.
    std::array<uint8_t, kMmioLimit> written{};
    const unsigned compared = std::min({first, known, kMmioLimit});
    if (first < size && begins_at(first, size - first) &&
        source.read(linear, written.data(), compared) == compared &&
        std::equal(written.begin(), written.begin() + compared, value)) {
        is_whole = access.size == size - first;
        return true;
    }
    return false;
}

bool is_part_of(const GuestAccess& access, const Store& store, InstructionSource& source,
                bool& is_whole) {
    if (access.space == GuestAccess::Space::kPort) {
        // Of several elements of a string, the first is compared: the rest follows from it.
        is_whole = true;
        return store.size == access.size && std::memcmp(store.value.data(), access.data.data(),
                                                        std::min(store.known, access.size)) == 0;
    }
    return is_part_of(access, store.linear, store.size, store.value.data(), store.known, source,
                      is_whole);
}

bool is_string(const Decoded& decoded) {
    return decoded.instruction.meta.category == ZYDIS_CATEGORY_STRINGOP ||
           decoded.instruction.meta.category == ZYDIS_CATEGORY_IOSTRINGOP;
}

bool names_port(const OperandView& view, const Decoded& decoded, const kvm_regs& regs,
                uint64_t port) {
    for (size_t i = 0; i < decoded.instruction.operand_count; ++i) {
        const ZydisDecodedOperand& operand = decoded.operands[i];
        if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
            return operand.imm.value.u == port;
        }
        if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER && operand.reg.value == ZYDIS_REGISTER_DX) {
            return view.value(regs, ZYDIS_REGISTER_DX) == port;
        }
    }
    return false;
}

bool is_out(const OperandView& view, const Decoded& decoded, const kvm_regs& regs,
            const GuestAccess& access) {
    if (decoded.instruction.mnemonic != ZYDIS_MNEMONIC_OUT ||
        !names_port(view, decoded, regs, access.address)) {
        return false;
    }
    const unsigned size = decoded.instruction.opcode % 2 == 0
                              ? 1
                              : std::min(decoded.instruction.operand_width / 8, 4);
    return size == access.size &&
           std::memcmp(&regs.rax, access.data.data(), std::min(size, kMmioLimit)) == 0;
}

bool uses_vectors(const Decoded& decoded) {
    for (size_t i = 0; i < decoded.instruction.operand_count; ++i) {
        const ZydisDecodedOperand& operand = decoded.operands[i];
        if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) {
            continue;
        }
        switch (ZydisRegisterGetClass(operand.reg.value)) {
            case ZYDIS_REGCLASS_X87:
            case ZYDIS_REGCLASS_MMX:
            case ZYDIS_REGCLASS_XMM:
            case ZYDIS_REGCLASS_YMM:
            case ZYDIS_REGCLASS_ZMM:
                return true;
            default:
                break;
        }
    }
    return false;
}

}  // namespace halcyon::emulator
