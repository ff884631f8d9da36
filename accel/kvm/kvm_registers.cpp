#include "accel/kvm/kvm_registers.h"

namespace halcyon {

namespace {

SegmentRegister from_kvm(const kvm_segment& segment) {
    // Bits 40-55 of a descriptor (Intel SDM 3A 3.4.5).
    unsigned attributes = (segment.type & 0xfu) | (segment.s & 1u) << 4 | (segment.dpl & 3u) << 5 |
                          (segment.present & 1u) << 7 | (segment.avl & 1u) << 12 |
                          (segment.l & 1u) << 13 | (segment.db & 1u) << 14 | (segment.g & 1u) << 15;
    if (segment.unusable != 0) {
        attributes &= ~(1u << 7);
    }
    return {.base = segment.base,
            .limit = segment.limit,
            .selector = segment.selector,
            .attributes = static_cast<uint16_t>(attributes)};
}

kvm_segment to_kvm(const SegmentRegister& segment) {
    const auto bits = [&](int shift, unsigned mask) {
        return static_cast<uint8_t>(static_cast<unsigned>(segment.attributes) >> shift & mask);
    };
    kvm_segment result{};
    result.base = segment.base;
    result.limit = segment.limit;
    result.selector = segment.selector;
    result.type = bits(0, 0xf);
    result.s = bits(4, 1);
    result.dpl = bits(5, 3);
    result.present = bits(7, 1);
    result.avl = bits(12, 1);
    result.l = bits(13, 1);
    result.db = bits(14, 1);
    result.g = bits(15, 1);
    result.unusable = result.present == 0 ? 1 : 0;
    return result;
}

TableRegister from_kvm(const kvm_dtable& table) {
    return {.base = table.base, .limit = table.limit};
}

kvm_dtable to_kvm(const TableRegister& table) {
    kvm_dtable result{};
    result.base = table.base;
    result.limit = table.limit;
    return result;
}

}  // namespace

VcpuRegisters from_kvm(const kvm_regs& regs, const kvm_sregs& sregs) {
    VcpuRegisters result;
    result.gpr = {regs.rax, regs.rcx, regs.rdx, regs.rbx, regs.rsp, regs.rbp, regs.rsi, regs.rdi,
                  regs.r8,  regs.r9,  regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15};
    result.rip = regs.rip;
    result.rflags = regs.rflags;
    result.cs = from_kvm(sregs.cs);
    result.ds = from_kvm(sregs.ds);
    result.es = from_kvm(sregs.es);
    result.fs = from_kvm(sregs.fs);
    result.gs = from_kvm(sregs.gs);
    result.ss = from_kvm(sregs.ss);
    result.tr = from_kvm(sregs.tr);
    result.ldt = from_kvm(sregs.ldt);
    result.gdt = from_kvm(sregs.gdt);
    result.idt = from_kvm(sregs.idt);
    result.cr0 = sregs.cr0;
    result.cr2 = sregs.cr2;
    result.cr3 = sregs.cr3;
    result.cr4 = sregs.cr4;
    result.efer = sregs.efer;
    return result;
}

kvm_regs to_kvm_regs(const VcpuRegisters& registers) {
    const auto& gpr = registers.gpr;
    kvm_regs result{};
    result.rax = gpr[kRax];
    result.rcx = gpr[kRcx];
    result.rdx = gpr[kRdx];
    result.rbx = gpr[kRbx];
    result.rsp = gpr[kRsp];
    result.rbp = gpr[kRbp];
    result.rsi = gpr[kRsi];
    result.rdi = gpr[kRdi];
    result.r8 = gpr[kR8];
    result.r9 = gpr[kR9];
    result.r10 = gpr[kR10];
    result.r11 = gpr[kR11];
    result.r12 = gpr[kR12];
    result.r13 = gpr[kR13];
    result.r14 = gpr[kR14];
    result.r15 = gpr[kR15];
    result.rip = registers.rip;
    result.rflags = registers.rflags;
    return result;
}

void update_kvm_sregs(const VcpuRegisters& registers, kvm_sregs& sregs) {
    sregs.cs = to_kvm(registers.cs);
    sregs.ds = to_kvm(registers.ds);
    sregs.es = to_kvm(registers.es);
    sregs.fs = to_kvm(registers.fs);
    sregs.gs = to_kvm(registers.gs);
    sregs.ss = to_kvm(registers.ss);
    sregs.tr = to_kvm(registers.tr);
    sregs.ldt = to_kvm(registers.ldt);
    sregs.gdt = to_kvm(registers.gdt);
    sregs.idt = to_kvm(registers.idt);
    sregs.cr0 = registers.cr0;
    sregs.cr2 = registers.cr2;
    sregs.cr3 = registers.cr3;
    sregs.cr4 = registers.cr4;
    sregs.efer = registers.efer;
}

}  // namespace halcyon
