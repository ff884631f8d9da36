#include "accel/soft/soft_cpu.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace halcyon {

Result<std::unique_ptr<SoftCpu>> SoftCpu::create(const SoftMemory& memory, SoftCpuHost& host,
                                                 const std::atomic<uint32_t>& attention) {
    std::unique_ptr<SoftCpu> cpu(new SoftCpu(memory, host, attention));
    if (cpu->library_ == nullptr) {
        return Error("libx86emu cannot be started: out of memory");
    }
    cpu->reset();
    return cpu;
}

SoftCpu::SoftCpu(const SoftMemory& memory, SoftCpuHost& host,
                 const std::atomic<uint32_t>& attention)
    : memory_(memory), host_(host), attention_(attention), library_(x86emu_new(0, 0)) {
    if (library_ == nullptr) {
        return;
    }
    library_->_private = this;
    x86emu_set_code_handler(library_, code_callback);
    x86emu_set_memio_handler(library_, memory_callback);
    x86emu_set_intr_handler(library_, interrupt_callback);
    auto& general = library_->x86.gen;
    auto& special = library_->x86.spc;
    gpr_ = {&general.A.I32_reg.e_reg,  &general.C.I32_reg.e_reg,  &general.D.I32_reg.e_reg,
            &general.B.I32_reg.e_reg,  &special.SP.I32_reg.e_reg, &special.BP.I32_reg.e_reg,
            &special.SI.I32_reg.e_reg, &special.DI.I32_reg.e_reg};
}

SoftCpu::~SoftCpu() {
    x86emu_done(library_);
}

SoftCpu::Exit SoftCpu::execute(int64_t budget) {
    budget_ = budget;
    if ((local_ & kExitWanted) == 0) {
        exit_ = Exit::kBudget;
        x86emu_run(library_, 0);
    }
    const Exit exit = exit_;
    if (exit == Exit::kHalt) {  // the others last until the registers are set anew
        local_ &= ~kExitWanted;
    }
    return exit;
}

int SoftCpu::code_callback(x86emu_t* library) {
    return static_cast<SoftCpu*>(library->_private)->before_instruction();
}

unsigned SoftCpu::memory_callback(x86emu_t* library, uint32_t address, uint32_t* value,
                                  unsigned type) {
    return static_cast<SoftCpu*>(library->_private)->library_access(address, value, type);
}

int SoftCpu::interrupt_callback(x86emu_t* library, uint8_t vector, unsigned /*type*/) {
    static_cast<SoftCpu*>(library->_private)->library_fault(vector);
    return 1;  // delivered: the library does nothing more
}

/// Runs between two instructions of the library. Executes instructions here until one is for the
/// library (0) or `execute` must return (1).
int SoftCpu::before_instruction() {
    for (;;) {
        const uint32_t attention = attention_.load(std::memory_order_relaxed);
        if ((attention | local_) != 0) [[unlikely]] {
            if (attention != 0) {
                if ((local_ & kExitWanted) == 0) {
                    exit_ = Exit::kAttention;
                }
                return 1;
            }
            if (!at_boundary()) {
                return 1;
            }
        }
        if (--budget_ < 0) [[unlikely]] {
            return 1;
        }
        take_snapshot();
        fetch_code();
        if (!fault_.set) {
            decode_prefixes();
            if (!fault_.set && library_executes() && prepare_library()) {
                return 0;
            }
            if (!fault_.set) {
                execute_own();
            }
        }
        finish_own();
    }
}

/// What is due between instructions besides the attention word. False when `execute` must return.
bool SoftCpu::at_boundary() {
    if ((local_ & kExitWanted) != 0) {
        return false;
    }
    if ((local_ & kTrapArmed) != 0) {
        local_ &= ~kTrapArmed;
        debug_trap();
        if ((local_ & kExitWanted) != 0) {
            return false;
        }
    }
    bool window = (local_ & kWindowOpens) != 0;
    local_ &= ~kWindowOpens;
    if ((local_ & kShadowEnds) != 0) {
        local_ &= ~kShadowEnds;
        window = true;
    }
    if ((local_ & kShadowStarts) != 0) {
        local_ = (local_ & ~kShadowStarts) | kShadowEnds;
    } else if (window && window_wanted_) {
        window_wanted_ = false;
        exit_ = Exit::kAttention;
        return false;
    }
    if ((flags() & kTrap) != 0) {
        local_ |= kTrapArmed;
    }
    return true;
}

void SoftCpu::take_snapshot() {
    snapshot_.general = cpu().gen;
    snapshot_.special = cpu().spc;
}

void SoftCpu::roll_back() {
    cpu().gen = snapshot_.general;
    cpu().spc = snapshot_.special;
}

void SoftCpu::finish_own() {
    if (fault_.set) [[unlikely]] {
        roll_back();
        local_ &= ~(kTrapArmed | kShadowStarts);
        const Fault first = std::exchange(fault_, {});
        deliver_fault(first);
    } else if ((local_ & kExitWanted) != 0 && exit_ == Exit::kUnsupported) {
        roll_back();
    }
    if ((flags() & kTrap) != 0 && (local_ & kTrapArmed) == 0) {
        // POPF and IRET set TF for the instruction after them; at_boundary must see it.
        local_ |= kWindowOpens;
    }
}

void SoftCpu::fetch_code() {
    insn_ = {};
    const uint32_t offset = ip();
    const uint32_t limit = limit_[kCs];
    if (offset > limit) [[unlikely]] {
        fault(kProtection, 0);
        return;
    }
    code_end_ = kPrefixRoom + std::min(limit - offset, kMaxLength - 1) + 1;
    const uint32_t address = cpu().seg[kCs].base + offset;
    const std::byte* host = memory_.readable(address);
    uint8_t* code = code_.data() + kPrefixRoom;
    if (host != nullptr && SoftMemory::left_in_page(address) >= 16) [[likely]] {
        std::memcpy(code, host, 16);
        return;
    }
    // Code outside memory reads as all ones, as on an empty bus; devices never see a fetch.
    for (uint32_t i = 0; i < kMaxLength; ++i) {
        const std::byte* byte = memory_.readable(address + i);
        code[i] = byte == nullptr ? 0xff : static_cast<uint8_t>(*byte);
    }
}

/// Sets the library up to execute the decoded instruction: canonical prefixes before the opcode,
/// EIP so that it ends up after the instruction. False when it faults or is not for the library
/// after all.
bool SoftCpu::prepare_library() {
    unsigned segment = insn_.segment;
    if (insn_.memory() && insn_.opcode != 0x8d) {
        const Instruction undecoded = insn_;
        // The library forgets that [EBP+disp8] means the stack segment.
        const bool forgets_stack = undecoded.mod == 1 && undecoded.address32 && undecoded.rm == 5;
        if (forgets_stack && segment == kNoSegment) {
            segment = kSs;
        }
        if (unusual_segments_ || segment == kCs) {
            decode_operand();
            if (fault_.set || !check_access(insn_.data_segment, insn_.offset, library_access_size(),
                                            library_writes())) {
                return false;
            }
        }
    }
    static constexpr std::array<uint8_t, 6> kOverrides = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    unsigned at = kPrefixRoom + insn_.opcode_at;
    if (insn_.address32 != code32()) {
        code_[--at] = 0x67;
    }
    if (insn_.operand32 != code32()) {
        code_[--at] = 0x66;
    }
    if (segment != kNoSegment) {
        code_[--at] = kOverrides[segment];
    }
    library_next_ = at;
    const uint32_t start = ip() + at - kPrefixRoom;
    ip() = code32() ? start : (ip() & 0xffff0000) | (start & 0xffff);
    cpu().mode = (code32() ? _MODE_DATA32 | _MODE_ADDR32 | _MODE_CODE32 : 0) |
                 (stack32() ? _MODE_STACK32 : 0);
    return true;
}

unsigned SoftCpu::library_access(uint32_t address, uint32_t* value, unsigned type) {
    static constexpr std::array<uint8_t, 4> kSizes = {1, 2, 4, 1};
    const unsigned size = kSizes[type & 3];
    switch (type & ~0xffU) {
        case X86EMU_MEMIO_X:
            *value = 0;
            if (library_next_ + size > code_end_) [[unlikely]] {
                x86emu_intr_raise(library_, kProtection, INTR_TYPE_FAULT | INTR_MODE_RESTART, 0);
                return 0;
            }
            std::memcpy(value, code_.data() + library_next_, size);
            library_next_ += size;
            return 0;
        case X86EMU_MEMIO_R:
            *value = load_linear(address, size);
            return 0;
        case X86EMU_MEMIO_W:
            store_linear(address, size, *value);
            return 0;
        default:  // its port instructions are executed here instead
            *value = 0;
            return 0;
    }
}

/// The library noted a fault during its instruction, which has now run out with its accesses
/// suppressed.
void SoftCpu::library_fault(uint8_t vector) {
    roll_back();
    local_ &= ~kTrapArmed;
    cpu().intr_type = 0;
    fault_ = {};
    if (vector == kProtection) {
        // It neither knows #SS nor the right error code: find out which operand it was.
        fetch_code();
        decode_prefixes();
        const bool too_long = library_next_ + 4 > code_end_;
        if (!fault_.set && insn_.memory() && insn_.opcode != 0x8d) {
            decode_operand();
            if (!fault_.set) {
                check_access(insn_.data_segment, insn_.offset, library_access_size(),
                             library_writes());
            }
        }
        if (!fault_.set && too_long) {
            fault(kProtection, 0);
        } else if (!fault_.set) {
            fault(kStackFault, 0);
        }
    } else {
        fault(vector);
    }
    const Fault first = std::exchange(fault_, {});
    deliver_fault(first);
}

void SoftCpu::stop_with(Exit exit) {
    exit_ = exit;
    local_ |= kExitWanted;
}

void SoftCpu::unsupported(const std::string& what) {
    if ((local_ & kExitWanted) != 0 || fault_.set) {
        return;
    }
    unsupported_ = "the soft backend runs real-mode and unpaged protected-mode guests only; " +
                   ("the guest " + what) + where();
    stop_with(Exit::kUnsupported);
}

std::string SoftCpu::where() const {
    std::array<char, 96> text{};
    std::snprintf(text.data(), text.size(), " at CS:EIP %04X:%08X (CR0 %08X, EFLAGS %08X)",
                  cpu().seg[kCs].sel, snapshot_.special.IP.I32_reg.e_reg, cr0(), flags());
    return text.data();
}

bool SoftCpu::interruptible() const {
    return (flags() & kInterrupt) != 0 && (local_ & kShadowStarts) == 0;
}

bool SoftCpu::nmi_allowed() const {
    return !nmi_blocked_ && (local_ & kShadowStarts) == 0;
}

void SoftCpu::reset() {
    set_registers(reset_registers());
    gpr(2) = 0x680;  // EDX after RESET holds the processor signature (Intel SDM 3A table 9-1)
    for (uint32_t& debug : cpu().drx) {
        debug = 0;
    }
    cpu().drx[6] = 0xffff0ff0;
    cpu().drx[7] = 0x400;
    nmi_blocked_ = false;
    window_wanted_ = false;
}

void SoftCpu::start_up(uint8_t vector) {
    VcpuRegisters start = reset_registers();
    start.rip = 0;
    start.cs.selector = static_cast<uint16_t>(vector << 8);
    start.cs.base = static_cast<uint64_t>(vector) << 12;
    set_registers(start);
}

namespace {

SegmentRegister to_register(const sel_t& segment, uint32_t limit) {
    return {
        .base = segment.base,
        .limit = limit,
        .selector = segment.sel,
        .attributes = static_cast<uint16_t>((segment.acc & 0xff) | ((segment.acc & 0xf00) << 4))};
}

uint16_t to_access(const SegmentRegister& segment) {
    return static_cast<uint16_t>((segment.attributes & 0xff) | ((segment.attributes >> 4) & 0xf00));
}

sel_t to_system_segment(const SegmentRegister& segment) {
    return {static_cast<uint32_t>(segment.base), segment.limit, segment.selector,
            to_access(segment)};
}

}  // namespace

VcpuRegisters SoftCpu::registers() const {
    VcpuRegisters out = wide_;
    for (unsigned i = 0; i < gpr_.size(); ++i) {
        out.gpr[i] = (wide_.gpr[i] & ~0xffffffffULL) | gpr(i);
    }
    out.rip = ip();
    out.rflags = flags();
    const auto segment = [&](unsigned index) {
        return to_register(cpu().seg[index], limit_[index]);
    };
    out.cs = segment(kCs);
    out.ds = segment(kDs);
    out.es = segment(kEs);
    out.fs = segment(kFs);
    out.gs = segment(kGs);
    out.ss = segment(kSs);
    out.tr = to_register(cpu().tr, cpu().tr.limit);
    out.ldt = to_register(cpu().ldt, cpu().ldt.limit);
    out.gdt = {cpu().gdt.base, static_cast<uint16_t>(cpu().gdt.limit)};
    out.idt = {cpu().idt.base, static_cast<uint16_t>(cpu().idt.limit)};
    out.cr0 = cr0();
    out.cr2 = cpu().crx[2];
    out.cr3 = cpu().crx[3];
    out.cr4 = cpu().crx[4];
    return out;
}

bool SoftCpu::can_run(const VcpuRegisters& registers) {
    constexpr uint64_t kProtectionEnable = 1U << 0;
    constexpr uint64_t kPaging = 1U << 31;
    constexpr uint64_t kLongMode = (1U << 8) | (1U << 10);
    const bool virtual_8086 =
        (registers.rflags & kVirtual8086) != 0 && (registers.cr0 & kProtectionEnable) != 0;
    return (registers.cr0 & kPaging) == 0 && (registers.efer & kLongMode) == 0 && !virtual_8086;
}

void SoftCpu::set_registers(const VcpuRegisters& registers) {
    wide_ = registers;
    for (unsigned i = 0; i < gpr_.size(); ++i) {
        gpr(i) = static_cast<uint32_t>(registers.gpr[i]);
    }
    ip() = static_cast<uint32_t>(registers.rip);
    flags() = static_cast<uint32_t>(registers.rflags) | kAlwaysOne;
    const auto segment = [&](unsigned index, const SegmentRegister& in) {
        install_segment(index, in.selector, static_cast<uint32_t>(in.base), in.limit,
                        to_access(in));
    };
    segment(kCs, registers.cs);
    segment(kDs, registers.ds);
    segment(kEs, registers.es);
    segment(kFs, registers.fs);
    segment(kGs, registers.gs);
    segment(kSs, registers.ss);
    cpu().tr = to_system_segment(registers.tr);
    cpu().ldt = to_system_segment(registers.ldt);
    cpu().gdt = {static_cast<uint32_t>(registers.gdt.base), registers.gdt.limit};
    cpu().idt = {static_cast<uint32_t>(registers.idt.base), registers.idt.limit};
    cr0() = static_cast<uint32_t>(registers.cr0);
    cpu().crx[2] = static_cast<uint32_t>(registers.cr2);
    cpu().crx[3] = static_cast<uint32_t>(registers.cr3);
    cpu().crx[4] = static_cast<uint32_t>(registers.cr4);
    local_ = 0;
    exit_ = Exit::kBudget;
    fault_ = {};
    unsupported_.clear();
    take_snapshot();
    if ((flags() & kTrap) != 0) {
        local_ |= kWindowOpens;
    }
}

}  // namespace halcyon
