#include "tools/mshv-emulator/translate.h"

#include <algorithm>

namespace halcyon::emulator {

namespace {

using mshv::TranslateResult;

// Control registers and EFER (Intel SDM 3A 2.5, 2.2.1).
constexpr uint64_t kCr0Pe = 1U << 0;
constexpr uint64_t kCr0Wp = 1U << 16;
constexpr uint64_t kCr0Pg = 1U << 31;
constexpr uint64_t kCr4Pse = 1U << 4;
constexpr uint64_t kCr4Pae = 1U << 5;
constexpr uint64_t kCr4La57 = 1U << 12;
constexpr uint64_t kCr4Smep = 1U << 20;
constexpr uint64_t kCr4Smap = 1U << 21;
constexpr uint64_t kEferLma = 1U << 10;
constexpr uint64_t kEferNxe = 1U << 11;
constexpr uint64_t kRflagsAc = 1U << 18;

// Page-table entries (Intel SDM 3A tables 4-5 to 4-20).
constexpr uint64_t kPresent = 1U << 0;
constexpr uint64_t kWritable = 1U << 1;
constexpr uint64_t kUser = 1U << 2;
constexpr uint64_t kAccessed = 1U << 5;
constexpr uint64_t kDirty = 1U << 6;
constexpr uint64_t kLarge = 1U << 7;
constexpr uint64_t kNoExecute = uint64_t{1} << 63;
constexpr uint64_t kAddressMask = 0x000ffffffffff000;

// Error codes of page faults (Intel SDM 3A 4.7).
constexpr uint32_t kFaultPresent = 1U << 0;
constexpr uint32_t kFaultWrite = 1U << 1;
constexpr uint32_t kFaultUser = 1U << 2;
constexpr uint32_t kFaultReserved = 1U << 3;
constexpr uint32_t kFaultFetch = 1U << 4;

constexpr unsigned kMaxLevels = 5;

/// How the paging mode divides an address.
struct Mode {
    unsigned levels;
    unsigned index_bits;
    unsigned entry_size;
    bool long_mode;
};

Mode mode_of(const PagingState& state) {
    if ((state.cr4 & kCr4Pae) == 0) {
        return {.levels = 2, .index_bits = 10, .entry_size = 4, .long_mode = false};
    }
    if ((state.efer & kEferLma) == 0) {
        return {.levels = 3, .index_bits = 9, .entry_size = 8, .long_mode = false};
    }
    const unsigned levels = (state.cr4 & kCr4La57) != 0 ? 5 : 4;
    return {.levels = levels, .index_bits = 9, .entry_size = 8, .long_mode = true};
}

class Walk {
public:
    Walk(PhysicalMemory& memory, const PagingState& state, uint64_t gva, uint64_t flags)
        : memory_(memory),
          state_(state),
          mode_(mode_of(state)),
          gva_(mode_.long_mode ? gva : gva & 0xffffffff),
          flags_(flags),
          user_((flags & mshv::kTranslateUserAccess) != 0 ||
                ((flags & mshv::kTranslateSupervisorAccess) == 0 && state.cpl == 3)) {}

    Translation run();

private:
    [[nodiscard]] bool wants(uint64_t flag) const { return (flags_ & flag) != 0; }
    [[nodiscard]] Translation fail(TranslateResult result, uint32_t code) const;
    [[nodiscard]] bool is_canonical() const;
    [[nodiscard]] bool walk(Translation& failure);
    [[nodiscard]] bool read_entry(unsigned level, uint64_t table, uint64_t& entry,
                                  Translation& failure);
    [[nodiscard]] uint64_t reserved_bits(unsigned level, uint64_t entry) const;
    [[nodiscard]] bool is_leaf(unsigned level, uint64_t entry) const;
    [[nodiscard]] bool is_pae_directory_pointer(unsigned level) const {
        return mode_.levels == 3 && level == 3;
    }
    void take_leaf(unsigned level, uint64_t entry);
    [[nodiscard]] bool is_allowed() const;
    [[nodiscard]] bool may_access_user_page_as_supervisor() const;
    [[nodiscard]] bool mark();

    PhysicalMemory& memory_;
    const PagingState& state_;
    const Mode mode_;
    const uint64_t gva_;
    const uint64_t flags_;
    const bool user_;

    uint64_t writable_ = kWritable;  ///< what all levels allow
    uint64_t user_page_ = kUser;
    uint64_t no_execute_ = 0;
    uint64_t entry_places_[kMaxLevels] = {};
    unsigned entry_count_ = 0;
    uint64_t gpa_ = 0;
    bool large_ = false;
};

Translation Walk::fail(TranslateResult result, uint32_t code) const {
    uint32_t error_code = code;
    if (wants(mshv::kTranslateValidateWrite)) {
        error_code |= kFaultWrite;
    }
    if (user_) {
        error_code |= kFaultUser;
    }
    if (wants(mshv::kTranslateValidateExecute) &&
        ((state_.efer & kEferNxe) != 0 || (state_.cr4 & kCr4Smep) != 0)) {
        error_code |= kFaultFetch;
    }
    return {.result = result, .gpa = 0, .error_code = error_code, .page_size_is_large = false};
}

bool Walk::is_canonical() const {
    const unsigned bits = mode_.levels == 5 ? 57 : 48;
    const uint64_t high = static_cast<uint64_t>(static_cast<int64_t>(gva_) >> (bits - 1));
    return high == 0 || high == ~uint64_t{0};
}

uint64_t Walk::reserved_bits(unsigned level, uint64_t entry) const {
    if (mode_.entry_size == 4) {
        // A 4 MiB page has address bits 32-39 in 13-20 (PSE-36); bit 21 is reserved.
        return level == 2 && is_leaf(level, entry) ? uint64_t{1} << 21 : 0;
    }
    uint64_t reserved = kAddressMask & ~((uint64_t{1} << state_.physical_width) - 1);
    if (is_pae_directory_pointer(level)) {
        return reserved | 0xfff0000000000000 | 0x1e6;
    }
    if ((state_.efer & kEferNxe) == 0) {
        reserved |= kNoExecute;
    }
    if (!mode_.long_mode) {
        reserved |= 0x7ff0000000000000;
    }
    if (level > 3 || (level == 3 && !mode_.long_mode)) {
        reserved |= kLarge;
    } else if (level > 1 && (entry & kLarge) != 0) {
        const unsigned shift = 12 + (level - 1) * 9;
        reserved |= (uint64_t{1} << shift) - (uint64_t{1} << 13);  // bit 12 is PAT
    }
    return reserved;
}

bool Walk::is_leaf(unsigned level, uint64_t entry) const {
    if (level == 1) {
        return true;
    }
    if ((entry & kLarge) == 0) {
        return false;
    }
    if (mode_.entry_size == 4) {
        return (state_.cr4 & kCr4Pse) != 0;
    }
    return level == 2 || (level == 3 && mode_.long_mode);
}

bool Walk::read_entry(unsigned level, uint64_t table, uint64_t& entry, Translation& failure) {
    const unsigned shift = 12 + (level - 1) * mode_.index_bits;
    const unsigned bits = is_pae_directory_pointer(level) ? 2 : mode_.index_bits;
    const uint64_t index = gva_ >> shift & ((uint64_t{1} << bits) - 1);
    if (is_pae_directory_pointer(level) && state_.has_pdptes) {
        entry = state_.pdpte[index];
        return true;
    }
    const uint64_t place = table + index * mode_.entry_size;
    entry = 0;
    if (!memory_.read(place, &entry, mode_.entry_size)) {
        failure = fail(memory_.access(place) == PhysicalMemory::Access::kNone
                           ? TranslateResult::kGpaUnmapped
                           : TranslateResult::kGpaNoReadAccess,
                       0);
        return false;
    }
    if (!is_pae_directory_pointer(level)) {
        entry_places_[entry_count_++] = place;
    }
    return true;
}

void Walk::take_leaf(unsigned level, uint64_t entry) {
    const unsigned shift = 12 + (level - 1) * mode_.index_bits;
    const uint64_t offset_mask = (uint64_t{1} << shift) - 1;
    uint64_t base = entry & kAddressMask & ~offset_mask;
    if (mode_.entry_size == 4 && level == 2) {
        base |= (entry >> 13 & 0xff) << 32;
    }
    gpa_ = base | (gva_ & offset_mask);
    large_ = level > 1;
}

bool Walk::walk(Translation& failure) {
    uint64_t table = state_.cr3 & kAddressMask;
    if (mode_.levels == 3) {
        table = state_.cr3 & 0xffffffe0;
    } else if (mode_.levels == 2) {
        table = state_.cr3 & 0xfffff000;
    }
    for (unsigned level = mode_.levels;; --level) {
        uint64_t entry = 0;
        if (!read_entry(level, table, entry, failure)) {
            return false;
        }
        if ((entry & kPresent) == 0) {
            failure = fail(TranslateResult::kPageNotPresent, 0);
            return false;
        }
        if ((entry & reserved_bits(level, entry)) != 0) {
            failure = fail(TranslateResult::kInvalidPageTableFlags, kFaultPresent | kFaultReserved);
            return false;
        }
        if (!is_pae_directory_pointer(level)) {
            writable_ &= entry;
            user_page_ &= entry;
            no_execute_ |= mode_.entry_size == 8 ? entry & kNoExecute : 0;
        }
        if (is_leaf(level, entry)) {
            take_leaf(level, entry);
            return true;
        }
        table = entry & kAddressMask;
    }
}

/// Intel SDM 3A 4.6.1: supervisor-mode accesses to user-mode addresses.
bool Walk::may_access_user_page_as_supervisor() const {
    if (wants(mshv::kTranslateValidateExecute) && (state_.cr4 & kCr4Smep) != 0) {
        return false;
    }
    if (!wants(mshv::kTranslateValidateRead | mshv::kTranslateValidateWrite) ||
        wants(mshv::kTranslateOverrideSmap)) {
        return true;
    }
    const bool enforced = wants(mshv::kTranslateEnforceSmap) || (state_.rflags & kRflagsAc) == 0;
    return (state_.cr4 & kCr4Smap) == 0 || !enforced;
}

bool Walk::is_allowed() const {
    if (wants(mshv::kTranslatePrivilegeExempt)) {
        return true;
    }
    if (user_ && user_page_ == 0) {
        return false;
    }
    if (!user_ && user_page_ != 0 && !may_access_user_page_as_supervisor()) {
        return false;
    }
    if (wants(mshv::kTranslateValidateWrite) && writable_ == 0 &&
        (user_ || (state_.cr0 & kCr0Wp) != 0)) {
        return false;
    }
    return !(wants(mshv::kTranslateValidateExecute) && no_execute_ != 0 &&
             (state_.efer & kEferNxe) != 0);
}

/// Sets accessed bits at all levels and the dirty bit at the last; false where an entry lies in
/// read-only memory.
bool Walk::mark() {
    for (unsigned i = 0; i < entry_count_; ++i) {
        uint64_t bits = kAccessed;
        if (i + 1 == entry_count_ && wants(mshv::kTranslateValidateWrite)) {
            bits |= kDirty;
        }
        if (memory_.access(entry_places_[i]) != PhysicalMemory::Access::kReadWrite) {
            return false;
        }
        memory_.set_entry_bits(entry_places_[i], bits);
    }
    return true;
}

Translation Walk::run() {
    if (mode_.long_mode && !is_canonical()) {
        // #GP rather than a page fault: no error code of one.
        return {.result = TranslateResult::kInvalidPageTableFlags,
                .gpa = 0,
                .error_code = 0,
                .page_size_is_large = false};
    }
    Translation failure;
    if (!walk(failure)) {
        return failure;
    }
    if (!is_allowed()) {
        return fail(TranslateResult::kPrivilegeViolation, kFaultPresent);
    }
    if (wants(mshv::kTranslateSetPageTableBits) && !mark()) {
        return fail(TranslateResult::kGpaNoWriteAccess, 0);
    }
    return {.result = TranslateResult::kSuccess,
            .gpa = gpa_,
            .error_code = 0,
            .page_size_is_large = large_};
}

}  // namespace

PagingState paging_state(const kvm_regs& regs, const kvm_sregs& sregs, uint8_t physical_width) {
    PagingState state;
    state.cr0 = sregs.cr0;
    state.cr3 = sregs.cr3;
    state.cr4 = sregs.cr4;
    state.efer = sregs.efer;
    state.rflags = regs.rflags;
    // The privilege level is SS's (AMD APM 2 4.9.1); real mode has none.
    state.cpl = (sregs.cr0 & kCr0Pe) != 0 ? sregs.ss.dpl : 0;
    state.physical_width = physical_width;
    return state;
}

Translation translate(PhysicalMemory& memory, const PagingState& state, uint64_t gva,
                      uint64_t flags) {
    if ((state.cr0 & kCr0Pg) == 0 || (state.cr0 & kCr0Pe) == 0) {
        Translation result;
        result.gpa = gva & 0xffffffff;
        return result;
    }
    return Walk(memory, state, gva, flags).run();
}

uint64_t read_linear(PhysicalMemory& memory, const PagingState& state, uint64_t gva, void* to,
                     uint64_t size, uint64_t flags) {
    constexpr uint64_t kPage = 4096;
    uint64_t done = 0;
    while (done < size) {
        const uint64_t address = gva + done;
        const Translation place =
            translate(memory, state, address, flags & ~uint64_t{mshv::kTranslateSetPageTableBits});
        if (place.result != TranslateResult::kSuccess) {
            break;
        }
        const uint64_t count = std::min(size - done, kPage - address % kPage);
        if (!memory.read(place.gpa, static_cast<uint8_t*>(to) + done, count)) {
            break;
        }
        done += count;
    }
    return done;
}

}  // namespace halcyon::emulator
