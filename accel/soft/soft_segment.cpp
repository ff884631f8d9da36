// SoftCpu: segment registers and descriptors (Intel SDM 3A chapters 3 and 5).
#include <algorithm>

#include "accel/soft/soft_cpu.h"

namespace halcyon {

namespace {

constexpr uint16_t kPresent = 0x80;

}  // namespace

/// False when the selector points outside its table. Null selectors are the caller's business.
bool SoftCpu::read_descriptor(uint16_t selector, Descriptor* descriptor) {
    uint32_t base = cpu().gdt.base;
    uint32_t limit = cpu().gdt.limit;
    if ((selector & 4) != 0) {
        if ((cpu().ldt.acc & kPresent) == 0) {
            return false;
        }
        base = cpu().ldt.base;
        limit = cpu().ldt.limit;
    }
    if ((selector | 7U) > limit) {
        return false;
    }
    descriptor->address = base + (selector & ~7U);
    descriptor->low = load_linear(descriptor->address, 4);
    descriptor->high = load_linear(descriptor->address + 4, 4);
    return true;
}

void SoftCpu::mark_accessed(Descriptor* descriptor) {
    constexpr uint32_t kAccessed = 1U << 8;
    if ((descriptor->high & kAccessed) == 0) {
        descriptor->high |= kAccessed;
        store_linear(descriptor->address + 4, 4, descriptor->high);
    }
}

void SoftCpu::install_segment(unsigned index, uint16_t selector, uint32_t base, uint32_t limit,
                              uint16_t access) {
    constexpr uint16_t kExpandDownData = 0x14;
    constexpr uint16_t kDataKind = 0x1c;  // S, code, expand-down
    constexpr uint16_t kUsable = 0x9e;    // P, S, code, expand-down, writable
    constexpr uint16_t kUsual = 0x92;     // present, writable, upward data
    limit_[index] = limit;
    const bool down = (access & kDataKind) == kExpandDownData;
    cpu().seg[index] = {base, down ? 0xffffffff : limit, selector, access};
    unusual_segments_ = false;
    for (const unsigned data : {kEs, kSs, kDs, kFs, kGs}) {
        unusual_segments_ = unusual_segments_ || (cpu().seg[data].acc & kUsable) != kUsual;
    }
}

void SoftCpu::load_segment(unsigned index, uint16_t selector) {
    constexpr uint16_t kRealModeAccess = 0x93;
    constexpr uint16_t kRealModeCode = 0x9b;
    if (faulted()) {
        return;
    }
    if (!protected_mode()) {
        // Real mode leaves the limit and size of before: "unreal" mode lives on that.
        const sel_t& old = cpu().seg[index];
        const uint32_t limit = (old.acc & kPresent) != 0 ? limit_[index] : 0xffff;
        const uint16_t access = index == kCs ? kRealModeCode : kRealModeAccess;
        install_segment(index, selector, static_cast<uint32_t>(selector) << 4, limit,
                        access | (old.acc & 0xf00));
        return;
    }
    const uint32_t error = selector & ~3U;
    const unsigned requested = selector & 3;
    if (error == 0) {
        return index == kSs ? fault(kProtection, 0) : install_segment(index, selector, 0, 0, 0);
    }
    Descriptor descriptor;
    if (!read_descriptor(selector, &descriptor)) {
        return fault(kProtection, error);
    }
    bool allowed = false;
    if (index == kSs) {
        allowed = descriptor.is_writable_data() && requested == privilege() &&
                  descriptor.privilege() == privilege();
    } else {
        allowed = descriptor.is_readable() &&
                  (descriptor.is_conforming() ||
                   descriptor.privilege() >= std::max(requested, privilege()));
    }
    if (!allowed) {
        return fault(kProtection, error);
    }
    if (!descriptor.present()) {
        return fault(index == kSs ? kStackFault : kNotPresent, error);
    }
    mark_accessed(&descriptor);
    if (!faulted()) {
        install_segment(index, selector, descriptor.base(), descriptor.limit(),
                        descriptor.access());
    }
}

void SoftCpu::load_code_segment(uint16_t selector, const Descriptor& descriptor,
                                unsigned privilege) {
    Descriptor accessed = descriptor;
    mark_accessed(&accessed);
    install_segment(kCs, static_cast<uint16_t>((selector & ~3U) | privilege), accessed.base(),
                    accessed.limit(), accessed.access());
}

/// LES LDS LSS LFS LGS.
void SoftCpu::load_far_pointer(unsigned index) {
    if (!insn_.memory()) {
        return fault(kInvalidOpcode);
    }
    const unsigned size = insn_.operand_size();
    const uint32_t offset = load(insn_.data_segment, insn_.offset, size);
    const uint32_t selector = load(insn_.data_segment, insn_.offset + size, 2);
    load_segment(index, static_cast<uint16_t>(selector));
    if (!faulted()) {
        write_register(insn_.reg, size, offset);
    }
}

/// Moves the stack pointer by the operand size but writes a word, as processors do.
void SoftCpu::push_segment(unsigned index) {
    const uint32_t pointer = (gpr(4) - insn_.operand_size()) & stack_mask();
    store(kSs, pointer, 2, cpu().seg[index].sel);
    set_stack_pointer(pointer);
}

void SoftCpu::pop_segment(unsigned index) {
    const uint32_t selector = pop(insn_.operand_size());
    load_segment(index, static_cast<uint16_t>(selector));
    if (index == kSs && !faulted()) {
        local_ |= kShadowStarts;
    }
}

void SoftCpu::pop_operand() {
    const unsigned size = insn_.operand_size();
    if (insn_.reg != 0) {
        return fault(kInvalidOpcode);
    }
    decode_operand(size);
    const uint32_t value = pop(size);
    write_operand(size, value);
}

void SoftCpu::move_to_segment() {
    if (insn_.reg == kCs || insn_.reg > kGs) {
        return fault(kInvalidOpcode);
    }
    load_segment(insn_.reg, static_cast<uint16_t>(read_operand(2)));
    if (insn_.reg == kSs && !faulted()) {
        local_ |= kShadowStarts;
    }
}

void SoftCpu::load_local_table(uint16_t selector) {
    constexpr unsigned kLocalTable = 2;
    const uint32_t error = selector & ~3U;
    if (error == 0) {
        cpu().ldt = {0, 0, selector, 0};
        return;
    }
    Descriptor descriptor;
    if ((selector & 4) != 0 || !read_descriptor(selector, &descriptor) ||
        descriptor.type() != kLocalTable) {
        return fault(kProtection, error);
    }
    if (!descriptor.present()) {
        return fault(kNotPresent, error);
    }
    cpu().ldt = {descriptor.base(), descriptor.limit(), selector, descriptor.access()};
}

void SoftCpu::load_task_register(uint16_t selector) {
    constexpr unsigned kTss16 = 1;
    constexpr unsigned kTss32 = 9;
    constexpr uint32_t kBusy = 1U << 9;
    const uint32_t error = selector & ~3U;
    Descriptor descriptor;
    if (error == 0 || (selector & 4) != 0 || !read_descriptor(selector, &descriptor) ||
        (descriptor.type() != kTss16 && descriptor.type() != kTss32)) {
        return fault(kProtection, error);
    }
    if (!descriptor.present()) {
        return fault(kNotPresent, error);
    }
    descriptor.high |= kBusy;
    store_linear(descriptor.address + 4, 4, descriptor.high);
    cpu().tr = {descriptor.base(), descriptor.limit(), selector, descriptor.access()};
}

/// A return to an outer level takes away segments that it may not use (Intel SDM 3A 5.8.6).
void SoftCpu::invalidate_outer_segments() {
    for (const unsigned index : {kEs, kDs, kFs, kGs}) {
        const uint16_t access = cpu().seg[index].acc;
        const bool conforming = (access & 0x1c) == 0x1c;
        if (!conforming && ((access >> 5) & 3U) < privilege()) {
            install_segment(index, 0, 0, 0, 0);
        }
    }
}

/// LAR and LSL.
void SoftCpu::load_access_rights(bool limit) {
    if (!protected_mode()) {
        return fault(kInvalidOpcode);
    }
    const auto selector = static_cast<uint16_t>(read_operand(2));
    Descriptor descriptor;
    bool valid = (selector & ~3U) != 0 && read_descriptor(selector, &descriptor);
    if (valid && (descriptor.type() & 0x10) == 0) {
        constexpr uint32_t kWithLimit = 1U << 1 | 1U << 2 | 1U << 3 | 1U << 9 | 1U << 11;
        constexpr uint32_t kGates = 1U << 4 | 1U << 5 | 1U << 12;
        valid = (((limit ? kWithLimit : kWithLimit | kGates) >> descriptor.type()) & 1) != 0;
    }
    valid = valid && (descriptor.is_conforming() ||
                      descriptor.privilege() >= std::max<unsigned>(selector & 3, privilege()));
    if (faulted()) {
        return;
    }
    flags() = (flags() & ~kZero) | (valid ? kZero : 0U);
    if (valid) {
        write_register(insn_.reg, insn_.operand_size(),
                       limit ? descriptor.limit() : descriptor.high & 0x00f0ff00);
    }
}

/// VERR and VERW.
void SoftCpu::verify_segment(bool write) {
    const auto selector = static_cast<uint16_t>(read_operand(2));
    Descriptor descriptor;
    bool valid = (selector & ~3U) != 0 && read_descriptor(selector, &descriptor) &&
                 (write ? descriptor.is_writable_data() : descriptor.is_readable());
    valid = valid && (descriptor.is_conforming() ||
                      descriptor.privilege() >= std::max<unsigned>(selector & 3, privilege()));
    if (!faulted()) {
        flags() = (flags() & ~kZero) | (valid ? kZero : 0U);
    }
}

/// ARPL.
void SoftCpu::adjust_privilege() {
    if (!protected_mode()) {
        return fault(kInvalidOpcode);
    }
    const uint32_t value = read_operand(2);
    const uint32_t wanted = read_register(insn_.reg, 2) & 3;
    const bool raise = (value & 3) < wanted;
    if (raise) {
        write_operand(2, (value & ~3U) | wanted);
    }
    flags() = (flags() & ~kZero) | (raise ? kZero : 0U);
}

}  // namespace halcyon
