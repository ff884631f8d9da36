// SoftCpu: control and debug registers, descriptor table registers, CPUID, MSRs and fences.
#include "accel/soft/soft_cpu.h"

namespace halcyon {

namespace {

constexpr uint32_t kCr0Protection = 1U << 0;
constexpr uint32_t kCr0Extension = 1U << 4;
constexpr uint32_t kCr0NotWriteThrough = 1U << 29;
constexpr uint32_t kCr0CacheDisable = 1U << 30;
constexpr uint32_t kCr0Paging = 1U << 31;
/// PE MP EM TS ET NE WP AM NW CD PG.
constexpr uint32_t kCr0Defined = 0xe005003f;
/// What CR4 takes: everything up to PCE. The paging bits are stored and mean nothing without
/// CR0.PG.
constexpr uint32_t kCr4Defined = 0x1ff;
constexpr uint32_t kCr4TimeStampDisable = 1U << 2;

}  // namespace

bool SoftCpu::require_supervisor() {
    if (privilege() != 0) {
        fault(kProtection, 0);
    }
    return !faulted();
}

/// SLDT STR LLDT LTR VERR VERW.
void SoftCpu::system_group_0() {
    if (!protected_mode() || insn_.reg > 5) {
        return fault(kInvalidOpcode);
    }
    const unsigned stored = insn_.memory() ? 2 : insn_.operand_size();
    switch (insn_.reg) {
        case 0:
            return write_operand(stored, cpu().ldt.sel);
        case 1:
            return write_operand(stored, cpu().tr.sel);
        case 4:
        case 5:
            return verify_segment(insn_.reg == 5);
    }
    if (!require_supervisor()) {
        return;
    }
    const auto selector = static_cast<uint16_t>(read_operand(2));
    if (!faulted()) {
        insn_.reg == 2 ? load_local_table(selector) : load_task_register(selector);
    }
}

/// SGDT SIDT LGDT LIDT SMSW LMSW INVLPG.
void SoftCpu::system_group_1() {
    const unsigned kind = insn_.reg;
    if (kind == 5 || (!insn_.memory() && kind != 4 && kind != 6)) {
        return fault(kInvalidOpcode);
    }
    if (kind == 4) {
        return write_operand(insn_.memory() ? 2 : insn_.operand_size(), cr0());
    }
    const unsigned segment = insn_.data_segment;
    if (kind < 2) {
        const uint32_t base = kind == 0 ? cpu().gdt.base : cpu().idt.base;
        store(segment, insn_.offset, 2, kind == 0 ? cpu().gdt.limit : cpu().idt.limit);
        return store(segment, insn_.offset + 2, 4, base);
    }
    if (!require_supervisor()) {
        return;
    }
    if (kind == 6) {
        // LMSW changes MP, EM and TS, and sets PE but never clears it.
        const uint32_t value = read_operand(2);
        return faulted() ? void()
                         : write_cr0((cr0() & ~0xeU) | (value & 0xf) | (cr0() & kCr0Protection));
    }
    if (kind == 7) {
        return;  // INVLPG: there are no translations
    }
    const uint32_t limit = load(segment, insn_.offset, 2);
    uint32_t base = load(segment, insn_.offset + 2, 4);
    base &= insn_.operand32 ? 0xffffffff : 0x00ffffff;
    if (faulted()) {
        return;
    }
    if (kind == 2) {
        cpu().gdt = {base, limit};
    } else {
        cpu().idt = {base, limit};
    }
}

void SoftCpu::move_control(bool to_control) {
    const unsigned index = insn_.reg;
    const bool exists = index == 0 || (index >= 2 && index <= 4);
    if (!exists) {
        return fault(kInvalidOpcode);
    }
    if (!require_supervisor()) {
        return;
    }
    if (!to_control) {
        gpr(insn_.rm) = cpu().crx[index];
    } else if (index == 0) {
        write_cr0(gpr(insn_.rm));
    } else if (index == 4 && (gpr(insn_.rm) & ~kCr4Defined) != 0) {
        fault(kProtection, 0);
    } else {
        cpu().crx[index] = gpr(insn_.rm);
    }
}

void SoftCpu::write_cr0(uint32_t value) {
    value = (value & kCr0Defined) | kCr0Extension;
    const bool paging_alone = (value & kCr0Paging) != 0 && (value & kCr0Protection) == 0;
    const bool bad_cache = (value & kCr0NotWriteThrough) != 0 && (value & kCr0CacheDisable) == 0;
    if (paging_alone || bad_cache) {
        return fault(kProtection, 0);
    }
    if ((value & kCr0Paging) != 0) {
        return unsupported("enabled paging");
    }
    cr0() = value;
}

/// Stored only: there are no hardware breakpoints.
void SoftCpu::move_debug(bool to_debug) {
    const unsigned index = insn_.reg == 4 || insn_.reg == 5 ? insn_.reg + 2U : insn_.reg;
    if (!require_supervisor()) {
        return;
    }
    if (!to_debug) {
        gpr(insn_.rm) = cpu().drx[index];
    } else if (index == 6) {
        cpu().drx[6] = (gpr(insn_.rm) & 0xe00f) | 0xffff0ff0;
    } else if (index == 7) {
        cpu().drx[7] = (gpr(insn_.rm) & 0xffff2fff) | 0x400;
    } else {
        cpu().drx[index] = gpr(insn_.rm);
    }
}

/// Intel SDM 2A, CPUID: a family 6 processor with what this one can do, and a hypervisor leaf.
CpuidRegisters SoftCpu::cpuid(uint32_t leaf, uint8_t apic_id, bool apic_visible) {
    constexpr uint32_t kSignature = 0x680;
    constexpr uint32_t kTimeStamp = 1U << 4;
    constexpr uint32_t kModelRegisters = 1U << 5;
    constexpr uint32_t kCompareExchange8 = 1U << 8;
    constexpr uint32_t kLocalApic = 1U << 9;
    constexpr uint32_t kRangeRegisters = 1U << 12;
    constexpr uint32_t kConditionalMove = 1U << 15;
    constexpr uint32_t kCacheFlush = 1U << 19;
    constexpr uint32_t kHypervisor = 1U << 31;
    constexpr uint32_t kHypervisorLeaf = 0x40000000;
    // "HalcyonSoft "; the order of the two leaves' registers differs.
    constexpr uint32_t kHalc = 0x636c6148;
    constexpr uint32_t kYonS = 0x536e6f79;
    constexpr uint32_t kOft = 0x2074666f;
    switch (leaf) {
        case 0:
            return {.eax = 1, .ebx = kHalc, .ecx = kOft, .edx = kYonS};
        case kHypervisorLeaf:
            return {.eax = kHypervisorLeaf, .ebx = kHalc, .ecx = kYonS, .edx = kOft};
        case 1:
            return {.eax = kSignature,
                    .ebx = static_cast<uint32_t>(apic_id) << 24 | 1U << 16 | 8U << 8,
                    .ecx = kHypervisor,
                    .edx = kTimeStamp | kModelRegisters | kCompareExchange8 | kRangeRegisters |
                           kConditionalMove | kCacheFlush | (apic_visible ? kLocalApic : 0)};
        case 0x80000000:
            return {.eax = 0x80000008};
        case 0x80000008:
            return {.eax = 32U << 8 | 32};  // linear and physical address bits
        default:
            return {};
    }
}

void SoftCpu::identify() {
    const CpuidRegisters leaf = cpuid(gpr(0), host_.apic_id(), host_.apic_visible());
    gpr(0) = leaf.eax;
    gpr(3) = leaf.ebx;
    gpr(1) = leaf.ecx;
    gpr(2) = leaf.edx;
}

void SoftCpu::model_register(bool write) {
    constexpr uint32_t kExtendedFeatures = 0xc0000080;  // EFER
    constexpr uint64_t kLongMode = 1U << 8;
    if (!require_supervisor()) {
        return;
    }
    const uint32_t index = gpr(1);
    uint64_t value = (static_cast<uint64_t>(gpr(2)) << 32) | gpr(0);
    if (write) {
        if (index == kExtendedFeatures && (value & kLongMode) != 0) {
            return unsupported("enabled long mode");
        }
        if (!host_.write_msr(index, value)) {
            fault(kProtection, 0);
        }
        return;
    }
    if (!host_.read_msr(index, &value)) {
        return fault(kProtection, 0);
    }
    gpr(0) = static_cast<uint32_t>(value);
    gpr(2) = static_cast<uint32_t>(value >> 32);
}

void SoftCpu::read_time_stamp() {
    if ((cpu().crx[4] & kCr4TimeStampDisable) != 0 && !require_supervisor()) {
        return;
    }
    const uint64_t value = host_.time_stamp();
    gpr(0) = static_cast<uint32_t>(value);
    gpr(2) = static_cast<uint32_t>(value >> 32);
}

/// CLFLUSH and the fences have nothing to do: one vCPU executes at a time, in order. The rest of
/// the group needs SSE.
void SoftCpu::fence_group() {
    const bool flush = insn_.memory() && insn_.reg == 7;
    const bool fence = !insn_.memory() && insn_.reg >= 5;
    if (!flush && !fence) {
        fault(kInvalidOpcode);
    }
}

}  // namespace halcyon
