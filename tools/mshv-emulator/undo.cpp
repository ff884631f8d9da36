#include "tools/mshv-emulator/undo.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "tools/mshv-emulator/undo_decode.h"
#include "tools/mshv-emulator/undo_match.h"
#include "tools/mshv-emulator/undo_store.h"

namespace halcyon::emulator {

namespace {

constexpr uint64_t kPageSize = 4096;
/// KVM's instruction emulator sets RF while a REP string is not done.
constexpr uint64_t kResumeFlag = 1U << 16;

struct Candidate {
    FoundInstruction found;
    Decoded decoded;
    bool is_verified = false;  ///< what it stores is known to be the access's data
};

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

    std::optional<FoundInstruction> run(size_t hint) {
        look_at();
        if (!best_ && hint != 0) {
            look_before(after_.rip, hint, hint);
            if (best_ && best_->is_verified) {
                return best_->found;
            }
        }
        // A string that has RF is under way, whatever stands before it.
        if (!best_ || (after_.rflags & kResumeFlag) == 0) {
            look_before(after_.rip, 1, kMaxInstructionLength);
        }
        const unsigned size = access_.size;
        if ((!best_ || !best_->is_verified) && access_.space == GuestAccess::Space::kMemory &&
            (size == 2 || size == 4 || size == 8)) {
            uint64_t return_address = 0;
            std::memcpy(&return_address, access_.data.data(), size);
            look_before(return_address, 1, kMaxInstructionLength);
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

    /// The instructions of such lengths that end at `end`, from the longest on.
    void look_before(uint64_t end, size_t shortest, size_t longest) {
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
        for (size_t length = std::min(there, longest); length >= shortest; --length) {
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

}  // namespace

std::optional<FoundInstruction> undo_write(const kvm_regs& after, const kvm_sregs& sregs,
                                           const GuestAccess& access, InstructionSource& source,
                                           size_t hint) {
    if (access.size == 0 || access.size > access.data.size()) {
        return std::nullopt;
    }
    return Search(after, sregs, access, source).run(hint);
}

}  // namespace halcyon::emulator
