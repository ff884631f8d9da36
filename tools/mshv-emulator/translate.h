/// The guest's page tables, walked as the processor does: real mode, 32-bit, PAE, 4-level and
/// 5-level paging (Intel SDM 3A chapter 4), with what TRANSLATE_VIRTUAL_ADDRESS wants checked.
#pragma once

#include <linux/kvm.h>

#include <cstdint>

#include "accel/mshv/mshv_hypercalls.h"

namespace halcyon::emulator {

/// Guest-physical memory as a walk needs it.
class PhysicalMemory {
public:
    enum class Access { kNone, kReadOnly, kReadWrite };

    virtual ~PhysicalMemory() = default;
    virtual bool read(uint64_t gpa, void* to, uint64_t size) const = 0;
    [[nodiscard]] virtual Access access(uint64_t gpa) const = 0;
    /// Sets some of the low 32 bits of the page-table entry at `gpa`, at once, as the processor
    /// does.
    virtual void set_entry_bits(uint64_t gpa, uint64_t bits) = 0;
};

/// What of a processor's state decides a translation.
struct PagingState {
    uint64_t cr0 = 0;
    uint64_t cr3 = 0;
    uint64_t cr4 = 0;
    uint64_t efer = 0;
    uint64_t rflags = 0;
    uint8_t cpl = 0;
    uint8_t physical_width = 52;  ///< MAXPHYADDR
    uint64_t pdpte[4] = {};       ///< PAE: what the processor holds; see has_pdptes
    bool has_pdptes = false;      ///< else they are read through CR3
};

PagingState paging_state(const kvm_regs& regs, const kvm_sregs& sregs, uint8_t physical_width);

struct Translation {
    mshv::TranslateResult result = mshv::TranslateResult::kSuccess;
    uint64_t gpa = 0;  ///< of the very byte, when result is kSuccess or one of the kGpa results
    /// The error code of the page fault that the access would raise, when there would be one.
    uint32_t error_code = 0;
    bool page_size_is_large = false;
};

/// Translates one address. `flags` is TranslateFlag: which accesses to check (none is fine), whose,
/// and whether to set accessed and dirty bits. Supervisor and user accesses are by CPL unless the
/// flags say. Without kTranslateEnforceSmap and kTranslateOverrideSmap, SMAP follows CR4 and AC.
Translation translate(PhysicalMemory& memory, const PagingState& state, uint64_t gva,
                      uint64_t flags);

/// Reads guest memory by linear address, for instruction bytes: gives how many bytes there are up
/// to the first that cannot be read, at most `size`. Nothing is marked accessed.
uint64_t read_linear(PhysicalMemory& memory, const PagingState& state, uint64_t gva, void* to,
                     uint64_t size, uint64_t flags);

}  // namespace halcyon::emulator
