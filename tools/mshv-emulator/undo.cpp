#include "tools/mshv-emulator/undo.h"

#include <algorithm>
#include <cstring>

#include "tools/mshv-emulator/undo_decode.h"
#include "tools/mshv-emulator/undo_store.h"

namespace halcyon::emulator {

namespace {

constexpr uint64_t kPageSize = 4096;
/// KVM's instruction emulator sets RF while a REP string is not done.
constexpr uint64_t kResumeFlag = 1U << 16;

/// KVM reports an operand in parts: one for each page it lies on, and of those at most this much.
constexpr unsigned kMmioLimit = 8;

// ---- accesses ----

/// Whether the access is a part of the operand at `linear`, of which `known` first bytes are
/// `value`. `is_whole`: it is the last part.
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
        return std::memcmp(value + offset, access.data.data(), compared) == 0;
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

/// OUT, which changes nothing but RIP.
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

// ---- candidates ----

struct Candidate {
    FoundInstruction found;
    Decoded decoded;
    bool is_verified = false;  ///< what it stores is known to be the access's data
};

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

bool same_operand(const ZydisDecodedOperand& a, const ZydisDecodedOperand& b) {
    if (a.type != b.type || a.size != b.size) {
        return false;
    }
    switch (a.type) {
        case ZYDIS_OPERAND_TYPE_REGISTER:
            return a.reg.value == b.reg.value;
        case ZYDIS_OPERAND_TYPE_IMMEDIATE:
            return a.imm.value.u == b.imm.value.u;
        case ZYDIS_OPERAND_TYPE_MEMORY:
            return a.mem.base == b.mem.base && a.mem.index == b.mem.index &&
                   a.mem.scale == b.mem.scale && a.mem.disp.value == b.mem.disp.value;
        default:
            return true;
    }
}

/// Whether the two are one instruction, but for prefixes that do nothing.
bool same_meaning(const Decoded& a, const Decoded& b) {
    if (a.instruction.mnemonic != b.instruction.mnemonic ||
        a.instruction.operand_count != b.instruction.operand_count || a.has_rep() != b.has_rep()) {
        return false;
    }
    for (size_t i = 0; i < a.instruction.operand_count; ++i) {
        if (!same_operand(a.operands[i], b.operands[i])) {
            return false;
        }
    }
    return true;
}

class Search {
public:
    Search(const kvm_regs& after, const kvm_sregs& sregs, const GuestAccess& access,
           InstructionSource& source)
        : after_(after), access_(access), source_(source), view_(after, sregs) {}

    std::optional<FoundInstruction> run() {
        look_at();
        // A string that has RF is under way, whatever stands before it.
        if (!best_ || (after_.rflags & kResumeFlag) == 0) {
            look_before(after_.rip);
        }
        const unsigned size = access_.size;
        if ((!best_ || !best_->is_verified) && access_.space == GuestAccess::Space::kMemory &&
            (size == 2 || size == 4 || size == 8)) {
            uint64_t return_address = 0;
            std::memcpy(&return_address, access_.data.data(), size);
            look_before(return_address);
        }
        return best_ ? std::optional(best_->found) : std::nullopt;
    }

private:
    /// A REP string whose turn it was has RIP still on it.
    void look_at() {
        std::array<uint8_t, kMaxInstructionLength> bytes{};
        const size_t there = source_.read(view_.code(after_.rip), bytes.data(), bytes.size());
        Decoded decoded;
        if (view_.decode(bytes.data(), there, decoded) && is_string(decoded) && decoded.has_rep()) {
            consider(decoded, after_.rip, after_.rip + decoded.instruction.length);
        }
    }

    /// All instructions that end at `end`, from the longest on.
    void look_before(uint64_t end) {
        std::array<uint8_t, kMaxInstructionLength> bytes{};
        size_t there = bytes.size();
        const uint64_t last = view_.code(end - 1);
        if (source_.read(view_.code(end - there), bytes.data(), there) != there) {
            there = std::min<size_t>(there, last % kPageSize + 1);
            if (source_.read(view_.code(end - there), bytes.data() + bytes.size() - there, there) !=
                there) {
                return;
            }
        }
        Decoded decoded;
        for (size_t length = there; length > 0; --length) {
            const uint8_t* start = bytes.data() + bytes.size() - length;
            if (view_.length(start, length) == length && view_.decode(start, length, decoded) &&
                !(is_string(decoded) && decoded.has_rep())) {
                const bool is_call = decoded.instruction.meta.category == ZYDIS_CATEGORY_CALL;
                if (is_call || end == after_.rip) {
                    consider(decoded, end - length, end);
                }
            }
        }
    }

    void consider(const Decoded& decoded, uint64_t start, uint64_t next) {
        Candidate candidate{.found = {}, .decoded = decoded};
        FoundInstruction& found = candidate.found;
        if (decoded.instruction.mnemonic == ZYDIS_MNEMONIC_OUT) {
            if (access_.space != GuestAccess::Space::kPort ||
                !is_out(view_, decoded, after_, access_)) {
                return;
            }
            found.regs = after_;
            found.regs.rip = start;
            found.is_whole = true;
            candidate.is_verified = true;
        } else {
            const auto store = store_of(view_, decoded, after_, start, next, access_, source_);
            if (!store || !is_part_of(access_, *store, source_, found.is_whole) ||
                (access_.space == GuestAccess::Space::kPort &&
                 !names_port(view_, decoded, after_, access_.address))) {
                return;
            }
            found.regs = store->before;
            if (access_.space == GuestAccess::Space::kMemory) {
                found.linear = store->linear;
            }
            candidate.is_verified = store->known != 0;
        }
        found.regs.rflags &= ~kResumeFlag;
        found.length = decoded.instruction.length;
        found.uses_vectors = uses_vectors(decoded);
        found.is_string = is_string(decoded);
        found.has_rep = found.is_string && decoded.has_rep();
        take_if_better(candidate);
    }

    /// The longest wins, as what its bytes say had to agree with more; but prefixes that do nothing
    /// are more likely the end of the instruction before.
    void take_if_better(const Candidate& candidate) {
        if (!best_ || (candidate.is_verified && !best_->is_verified) ||
            (candidate.is_verified == best_->is_verified &&
             same_meaning(candidate.decoded, best_->decoded))) {
            best_ = candidate;
        }
    }

    const kvm_regs& after_;
    const GuestAccess& access_;
    InstructionSource& source_;
    OperandView view_;
    std::optional<Candidate> best_;
};

// ---- the instruction at RIP ----

/// Whether carrying it out again, with other data, leaves what is not in kvm_regs alone.
bool changes_only_general(const Decoded& decoded) {
    for (size_t i = 0; i < decoded.instruction.operand_count; ++i) {
        const ZydisDecodedOperand& operand = decoded.operands[i];
        if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER ||
            (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) == 0) {
            continue;
        }
        switch (ZydisRegisterGetClass(operand.reg.value)) {
            case ZYDIS_REGCLASS_GPR8:
            case ZYDIS_REGCLASS_GPR16:
            case ZYDIS_REGCLASS_GPR32:
            case ZYDIS_REGCLASS_GPR64:
            case ZYDIS_REGCLASS_FLAGS:
            case ZYDIS_REGCLASS_IP:
                break;
            default:
                return false;
        }
    }
    switch (decoded.instruction.meta.category) {
        case ZYDIS_CATEGORY_X87_ALU:
        case ZYDIS_CATEGORY_XSAVE:
        case ZYDIS_CATEGORY_XSAVEOPT:
        case ZYDIS_CATEGORY_SSE:
        case ZYDIS_CATEGORY_SYSTEM:
        case ZYDIS_CATEGORY_SYSRET:
        case ZYDIS_CATEGORY_RET:
            return false;
        default:
            return true;
    }
}

std::optional<FoundInstruction::Load> load_of(const Decoded& decoded) {
    const ZydisMnemonic mnemonic = decoded.instruction.mnemonic;
    const bool is_signed = mnemonic == ZYDIS_MNEMONIC_MOVSX || mnemonic == ZYDIS_MNEMONIC_MOVSXD;
    if (mnemonic != ZYDIS_MNEMONIC_MOV && mnemonic != ZYDIS_MNEMONIC_MOVZX && !is_signed) {
        return std::nullopt;
    }
    const ZydisDecodedOperand& to = decoded.operands[0];
    const ZydisDecodedOperand& from = decoded.operands[1];
    if (to.type != ZYDIS_OPERAND_TYPE_REGISTER || from.type != ZYDIS_OPERAND_TYPE_MEMORY) {
        return std::nullopt;
    }
    const bool high = to.reg.value >= ZYDIS_REGISTER_AH && to.reg.value <= ZYDIS_REGISTER_BH;
    const ZydisRegister whole =
        ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, to.reg.value);
    if (!high && (whole < ZYDIS_REGISTER_RAX || whole > ZYDIS_REGISTER_R15)) {
        return std::nullopt;
    }
    return FoundInstruction::Load{
        .gpr = static_cast<uint8_t>(high ? to.reg.value - ZYDIS_REGISTER_AH
                                         : whole - ZYDIS_REGISTER_RAX),
        .high_byte = high,
        .register_size = static_cast<uint8_t>(to.size / 8),
        .memory_size = static_cast<uint8_t>(from.size / 8),
        .is_signed = is_signed};
}

/// Of MOVS, INS, PUSH and POP: where what is read goes.
void find_destination(const OperandView& view, const Decoded& decoded, uint64_t next,
                      FoundInstruction& found) {
    const auto category = decoded.instruction.meta.category;
    const ZydisDecodedOperand* target = decoded.memory_operand(ZYDIS_OPERAND_ACTION_MASK_WRITE);
    if (target == nullptr) {
        return;
    }
    if (category == ZYDIS_CATEGORY_PUSH) {
        found.destination_size = static_cast<uint8_t>(decoded.stack_step());
        found.destination = view.stack(found.regs, -int64_t{found.destination_size});
        return;
    }
    kvm_regs at_store = found.regs;
    if (category == ZYDIS_CATEGORY_POP) {
        OperandView::advance(at_store.rsp, decoded.stack_step(), view.stack_width());
    } else if (!is_string(decoded)) {
        return;
    }
    found.destination_size = static_cast<uint8_t>(target->size / 8);
    found.destination = view.linear(at_store, decoded, *target, next);
}

}  // namespace

std::optional<FoundInstruction> instruction_at(const kvm_regs& regs, const kvm_sregs& sregs,
                                               const GuestAccess& access,
                                               InstructionSource& source) {
    const OperandView view(regs, sregs);
    std::array<uint8_t, kMaxInstructionLength> bytes{};
    const size_t there = source.read(view.code(regs.rip), bytes.data(), bytes.size());
    Decoded decoded;
    if (!view.decode(bytes.data(), there, decoded)) {
        return std::nullopt;
    }
    const uint64_t next = regs.rip + decoded.instruction.length;
    FoundInstruction found{.regs = regs, .length = decoded.instruction.length};
    found.is_string = is_string(decoded);
    found.has_rep = found.is_string && decoded.has_rep();
    found.changes_other_state = !changes_only_general(decoded);
    found.uses_vectors = uses_vectors(decoded);
    found.load = load_of(decoded);
    find_destination(view, decoded, next, found);
    if (access.space == GuestAccess::Space::kPort) {
        found.is_whole = true;
        if (access.is_write && !is_out(view, decoded, regs, access) && !found.is_string) {
            return std::nullopt;
        }
        return found;
    }
    const auto wanted =
        access.is_write ? ZYDIS_OPERAND_ACTION_MASK_WRITE : ZYDIS_OPERAND_ACTION_MASK_READ;
    for (size_t i = 0; i < decoded.instruction.operand_count && !found.linear; ++i) {
        const ZydisDecodedOperand& operand = decoded.operands[i];
        if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.type != ZYDIS_MEMOP_TYPE_MEM ||
            (operand.actions & wanted) == 0) {
            continue;
        }
        const auto linear = view.linear(regs, decoded, operand, next);
        if (linear &&
            is_part_of(access, *linear, operand.size / 8U, nullptr, 0, source, found.is_whole)) {
            found.linear = linear;
        }
    }
    return found;
}

std::optional<MemoryOperand> find_operand(const kvm_regs& regs, const kvm_sregs& sregs,
                                          InstructionSource& source,
                                          const std::function<bool(const MemoryOperand&)>& wanted) {
    const OperandView view(regs, sregs);
    std::array<uint8_t, kMaxInstructionLength> bytes{};
    const size_t there = source.read(view.code(regs.rip), bytes.data(), bytes.size());
    Decoded decoded;
    if (!view.decode(bytes.data(), there, decoded)) {
        return std::nullopt;
    }
    const uint64_t next = regs.rip + decoded.instruction.length;
    for (size_t i = 0; i < decoded.instruction.operand_count; ++i) {
        const ZydisDecodedOperand& operand = decoded.operands[i];
        if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.type != ZYDIS_MEMOP_TYPE_MEM) {
            continue;
        }
        const auto linear = view.linear(regs, decoded, operand, next);
        const auto gpa = linear ? source.translate(*linear) : std::nullopt;
        if (!gpa) {
            continue;
        }
        const bool reads = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0;
        const MemoryOperand found{.linear = *linear, .gpa = *gpa, .is_write = !reads};
        if (wanted(found)) {
            return found;
        }
    }
    return std::nullopt;
}

std::optional<FoundInstruction> undo_write(const kvm_regs& after, const kvm_sregs& sregs,
                                           const GuestAccess& access, InstructionSource& source) {
    if (access.size == 0 || access.size > access.data.size()) {
        return std::nullopt;
    }
    return Search(after, sregs, access, source).run();
}

}  // namespace halcyon::emulator
