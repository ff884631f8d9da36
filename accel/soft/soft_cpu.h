/// SoftCpu: one interpreted processor, libx86emu with everything put right that it gets wrong.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "accel/soft/soft_memory.h"
#include "accel/soft/x86emu_library.h"
#include "accel/vcpu.h"
#include "base/result.h"

namespace halcyon {

/// What a SoftCpu needs from around it. Called from inside SoftCpu::execute, on its thread. `size`
/// is 1, 2 or 4.
class SoftCpuHost {
public:
    virtual ~SoftCpuHost() = default;
    virtual uint32_t pio_read(uint16_t port, unsigned size) = 0;
    virtual void pio_write(uint16_t port, unsigned size, uint32_t value) = 0;
    /// Of addresses without memory, or with read-only memory for writes.
    virtual uint32_t mmio_read(uint32_t address, unsigned size) = 0;
    virtual void mmio_write(uint32_t address, unsigned size, uint32_t value) = 0;
    /// False for a register that does not exist or a value it does not take: #GP.
    virtual bool read_msr(uint32_t index, uint64_t* value) = 0;
    virtual bool write_msr(uint32_t index, uint64_t value) = 0;
    virtual uint64_t time_stamp() = 0;
    /// The initial APIC id, and whether CPUID shows a local APIC now.
    virtual uint8_t apic_id() = 0;
    virtual bool apic_visible() = 0;
    /// PAUSE: the guest spins.
    virtual void spin_hint() = 0;
};

/// Interprets real-mode and unpaged 32-bit protected-mode code. The library decodes and executes
/// the plain data instructions; its per-instruction handler (`before_instruction`) executes here,
/// precisely, what the library lacks or does wrong: string, bit, shift, BCD and divide
/// instructions, segment loads, far transfers, interrupts, system instructions. It also keeps the
/// library from reading an instruction it cannot survive: it sees a private copy of the bytes, with
/// the prefixes in canonical form (long chains of prefixes overrun a buffer in the library).
///
/// Faults are sticky: the first one of an instruction is noted, every later access of it does
/// nothing, and at its end the registers are put back to its start. So an instruction either
/// happens or faults, and nothing here needs to unwind.
///
/// Used by one thread at a time: the holder of the execution token, or whoever reads the registers
/// while the vCPU does not run.
class SoftCpu {
public:
    enum class Exit {
        kAttention,    ///< the attention word is set, or a wanted interrupt window has opened
        kBudget,       ///< the instructions are used up
        kHalt,         ///< HLT was executed
        kTripleFault,  ///< a fault while delivering a double fault
        kUnsupported,  ///< the guest did what this processor cannot; `unsupported_reason`
    };

    /// `attention` is looked at before each instruction.
    static Result<std::unique_ptr<SoftCpu>> create(const SoftMemory& memory, SoftCpuHost& host,
                                                   const std::atomic<uint32_t>& attention);
    ~SoftCpu();
    SoftCpu(const SoftCpu&) = delete;
    SoftCpu& operator=(const SoftCpu&) = delete;

    /// Executes at most about `budget` instructions (an iteration of a string instruction counts as
    /// one). On return the registers are those between two instructions or iterations.
    Exit execute(int64_t budget);
    [[nodiscard]] const std::string& unsupported_reason() const { return unsupported_; }

    /// Whether a maskable interrupt, or an NMI, would be taken between the last and the next
    /// instruction.
    [[nodiscard]] bool interruptible() const;
    [[nodiscard]] bool nmi_allowed() const;
    /// Makes `execute` return kAttention when one of the above may have become true.
    void want_interrupt_window() { window_wanted_ = true; }
    /// Delivers an external interrupt or NMI. Only when the above allow it.
    void interrupt(uint8_t vector);
    void nmi();
    /// Delivering an interrupt can end in a triple fault or meet what is unsupported; then this is
    /// what `execute` would return. kBudget otherwise.
    [[nodiscard]] Exit pending_exit() const {
        return (local_ & kExitWanted) != 0 ? exit_ : Exit::kBudget;
    }

    void reset();
    /// The start-up IPI: real mode at `vector` * 4 KiB.
    void start_up(uint8_t vector);
    [[nodiscard]] VcpuRegisters registers() const;
    /// A leaf of CPUID on a processor with this initial APIC id.
    [[nodiscard]] static CpuidRegisters cpuid(uint32_t leaf, uint8_t apic_id, bool apic_visible);
    /// Whether `registers` is a state that this processor can be in.
    [[nodiscard]] static bool can_run(const VcpuRegisters& registers);
    /// Only what it can run.
    void set_registers(const VcpuRegisters& registers);

private:
    // Segment registers as encoded, and as numbered by the library.
    static constexpr unsigned kEs = 0;
    static constexpr unsigned kCs = 1;
    static constexpr unsigned kSs = 2;
    static constexpr unsigned kDs = 3;
    static constexpr unsigned kFs = 4;
    static constexpr unsigned kGs = 5;
    static constexpr unsigned kNoSegment = 6;
    // EFLAGS (Intel SDM 1 3.4.3).
    static constexpr uint32_t kCarry = 1U << 0;
    static constexpr uint32_t kAlwaysOne = 1U << 1;
    static constexpr uint32_t kParity = 1U << 2;
    static constexpr uint32_t kAuxiliary = 1U << 4;
    static constexpr uint32_t kZero = 1U << 6;
    static constexpr uint32_t kSign = 1U << 7;
    static constexpr uint32_t kTrap = 1U << 8;
    static constexpr uint32_t kInterrupt = 1U << 9;
    static constexpr uint32_t kDirection = 1U << 10;
    static constexpr uint32_t kOverflow = 1U << 11;
    static constexpr uint32_t kIoPrivilege = 3U << 12;
    static constexpr uint32_t kNestedTask = 1U << 14;
    static constexpr uint32_t kResume = 1U << 16;
    static constexpr uint32_t kVirtual8086 = 1U << 17;
    static constexpr uint32_t kAlignment = 1U << 18;
    static constexpr uint32_t kIdentification = 1U << 21;
    static constexpr uint32_t kArithmetic =
        kCarry | kParity | kAuxiliary | kZero | kSign | kOverflow;
    // Exceptions (Intel SDM 3A table 6-1).
    static constexpr uint8_t kDivideError = 0;
    static constexpr uint8_t kDebug = 1;
    static constexpr uint8_t kNmiVector = 2;
    static constexpr uint8_t kBreakpoint = 3;
    static constexpr uint8_t kOverflowTrap = 4;
    static constexpr uint8_t kBoundRange = 5;
    static constexpr uint8_t kInvalidOpcode = 6;
    static constexpr uint8_t kNoCoprocessor = 7;
    static constexpr uint8_t kDoubleFault = 8;
    static constexpr uint8_t kInvalidTss = 10;
    static constexpr uint8_t kNotPresent = 11;
    static constexpr uint8_t kStackFault = 12;
    static constexpr uint8_t kProtection = 13;
    // Bits of local_: what happens before the next instruction besides the attention word.
    /// The last instruction holds interrupts off for one more
    static constexpr uint32_t kShadowStarts = 1;
    /// That one has been executed
    static constexpr uint32_t kShadowEnds = 2;
    /// TF was set when the last instruction began
    static constexpr uint32_t kTrapArmed = 4;
    /// IF was set, or an NMI ended
    static constexpr uint32_t kWindowOpens = 8;
    /// `exit_` says why
    static constexpr uint32_t kExitWanted = 16;
    struct Fault {
        bool set = false;
        uint8_t vector = 0;
        bool has_error = false;
        uint32_t error = 0;
    };
    enum class Source { kFault, kExternal, kSoftware };
    /// The registers that an instruction of the library can change.
    struct Snapshot {
        i386_general_regs general;
        i386_special_regs special;
    };
    struct SegmentState {
        sel_t segment;
        uint32_t limit;
    };
    struct Descriptor {
        uint32_t low = 0;
        uint32_t high = 0;
        uint32_t address = 0;
        [[nodiscard]] uint32_t base() const {
            return (low >> 16) | ((high & 0xff) << 16) | (high & 0xff000000);
        }
        [[nodiscard]] uint32_t limit() const {
            const uint32_t raw = (low & 0xffff) | (high & 0xf0000);
            return (high & (1U << 23)) != 0 ? (raw << 12) | 0xfff : raw;
        }
        /// The library's form: type, S, DPL, P in bits 0-7; AVL, L, D/B, G in bits 8-11.
        [[nodiscard]] uint16_t access() const {
            return static_cast<uint16_t>(((high >> 8) & 0xff) | ((high >> 12) & 0xf00));
        }
        [[nodiscard]] unsigned type() const { return (high >> 8) & 0x1f; }
        [[nodiscard]] unsigned privilege() const { return (high >> 13) & 3; }
        [[nodiscard]] bool present() const { return (high & (1U << 15)) != 0; }
        [[nodiscard]] bool is_code() const { return (type() & 0x18) == 0x18; }
        [[nodiscard]] bool is_conforming() const { return (type() & 0x1c) == 0x1c; }
        [[nodiscard]] bool is_readable() const {
            return (type() & 0x10) != 0 && (!is_code() || (type() & 2) != 0);
        }
        [[nodiscard]] bool is_writable_data() const { return (type() & 0x1a) == 0x12; }
    };
    /// The instruction being executed, as far as it is decoded.
    struct Instruction {
        uint8_t opcode = 0;
        bool two_byte = false;
        bool lock = false;
        uint8_t repeat = 0;  ///< F2h or F3h, or 0
        uint8_t segment = kNoSegment;
        bool operand32 = false;
        bool address32 = false;
        uint8_t mod = 0;
        uint8_t reg = 0;
        uint8_t rm = 0;
        uint8_t opcode_at = 0;  ///< index of the opcode in the code buffer, after the prefixes
        uint8_t next = 0;       ///< index of the next byte to decode
        unsigned data_segment = kDs;
        uint32_t offset = 0;
        [[nodiscard]] unsigned operand_size() const { return operand32 ? 4 : 2; }
        [[nodiscard]] unsigned size() const { return (opcode & 1) != 0 ? operand_size() : 1; }
        [[nodiscard]] bool memory() const { return mod != 3; }
    };

    SoftCpu(const SoftMemory& memory, SoftCpuHost& host, const std::atomic<uint32_t>& attention);

    // soft_cpu.cpp: the loop and the library's callbacks.
    static int code_callback(x86emu_t* library);
    static unsigned memory_callback(x86emu_t* library, uint32_t address, uint32_t* value,
                                    unsigned type);
    static int interrupt_callback(x86emu_t* library, uint8_t vector, unsigned type);
    int before_instruction();
    bool at_boundary();
    unsigned library_access(uint32_t address, uint32_t* value, unsigned type);
    void library_fault(uint8_t vector);
    bool prepare_library();
    void finish_own();
    void fetch_code();
    void take_snapshot();
    void roll_back();
    void stop_with(Exit exit);
    void unsupported(const std::string& what);
    [[nodiscard]] std::string where() const;

    // soft_decode.cpp
    void decode_prefixes();
    void decode_operand(uint32_t pop_adjust = 0);
    uint32_t decode_address16();
    uint32_t decode_address32(uint32_t pop_adjust);
    uint8_t next8();
    uint16_t next16();
    uint32_t next32();
    uint32_t next_operand() { return insn_.operand32 ? next32() : next16(); }
    uint32_t next_operand_signed() {
        return insn_.operand32 ? next32() : static_cast<uint32_t>(static_cast<int16_t>(next16()));
    }
    uint32_t next_address() { return insn_.address32 ? next32() : next16(); }
    [[nodiscard]] bool lock_allowed() const;
    [[nodiscard]] bool library_executes() const;
    [[nodiscard]] bool library_writes() const;
    [[nodiscard]] unsigned library_access_size() const;

    // soft_access.cpp: registers, memory and the stack.
    [[nodiscard]] uint32_t& gpr(unsigned index) const { return *gpr_[index]; }
    [[nodiscard]] uint32_t read_register(unsigned index, unsigned size) const;
    void write_register(unsigned index, unsigned size, uint32_t value);
    uint32_t read_operand(unsigned size);
    void write_operand(unsigned size, uint32_t value);
    uint32_t load(unsigned segment, uint32_t offset, unsigned size);
    void store(unsigned segment, uint32_t offset, unsigned size, uint32_t value);
    bool check_access(unsigned segment, uint32_t offset, unsigned size, bool write);
    uint32_t load_linear(uint32_t address, unsigned size);
    void store_linear(uint32_t address, unsigned size, uint32_t value);
    uint32_t load_slow(uint32_t address, unsigned size);
    void store_slow(uint32_t address, unsigned size, uint32_t value);
    void push(unsigned size, uint32_t value);
    uint32_t pop(unsigned size);
    [[nodiscard]] uint32_t stack_mask() const { return stack32() ? 0xffffffff : 0xffff; }
    void set_stack_pointer(uint32_t value);
    bool port_allowed(uint16_t port, unsigned size);

    // soft_own.cpp: which function executes an instruction.
    void execute_own();
    void execute_own_one_byte();
    void own_one_byte_00();
    void own_one_byte_80();
    void own_one_byte_c0();
    void own_one_byte_e0();
    void execute_own_two_byte();
    void own_two_byte_00();
    void own_two_byte_a0();

    // soft_arithmetic.cpp
    void set_result_flags(unsigned size, uint32_t result, uint32_t extra);
    uint32_t add(unsigned size, uint32_t a, uint32_t b);
    uint32_t subtract(unsigned size, uint32_t a, uint32_t b);
    void shift_group();
    uint32_t rotate(unsigned size, bool left, uint32_t value, unsigned count);
    uint32_t rotate_carry(unsigned size, bool left, uint32_t value, unsigned count);
    uint32_t shift_left(unsigned size, uint32_t value, unsigned count);
    uint32_t shift_right(unsigned size, bool arithmetic, uint32_t value, unsigned count);
    void shift_double(bool left, bool by_cl);
    void divide(bool is_signed);
    void bit_operation(unsigned kind, bool immediate);
    void bit_scan(bool reverse);
    void decimal_adjust(bool subtracting);
    void ascii_adjust(bool subtracting);
    void ascii_multiply();
    void ascii_divide();
    void exchange_add();
    void compare_exchange();
    void compare_exchange_8();
    void conditional_move();
    [[nodiscard]] bool condition(unsigned code) const;
    void bound();
    void translate_byte();
    void move_offset();
    void coprocessor();
    void enter();
    void push_all();
    void pop_all();

    // soft_string.cpp
    void string_instruction();
    bool string_step(unsigned size, uint32_t stride, uint32_t mask);
    bool string_batch(unsigned size, uint32_t mask);
    void string_advance(unsigned index, uint32_t stride, uint32_t mask);
    void port_instruction();

    // soft_control.cpp: transfers of control.
    [[nodiscard]] uint32_t next_ip() const;
    void jump_near(uint32_t target);
    void jump_relative(uint32_t displacement, bool taken);
    void jump_short(bool taken);
    void near_direct(bool call);
    void indirect_transfer();
    void loop_instruction();
    void far_direct(bool call);
    void far_indirect(bool call);
    void far_transfer(uint16_t selector, uint32_t target, bool call);
    void far_return(uint32_t release);
    void interrupt_return();
    void protected_return(uint32_t target, uint16_t selector, unsigned size, uint32_t release);
    void software_interrupt(uint8_t vector);
    void push_flags();
    void pop_flags();
    void set_flags(uint32_t value, uint32_t writable);
    void change_interrupt_flag(bool on);
    void near_return(uint32_t release);
    void halt();

    // soft_segment.cpp: descriptors.
    bool read_descriptor(uint16_t selector, Descriptor* descriptor);
    void load_segment(unsigned index, uint16_t selector);
    void load_code_segment(uint16_t selector, const Descriptor& descriptor, unsigned privilege);
    void install_segment(unsigned index, uint16_t selector, uint32_t base, uint32_t limit,
                         uint16_t access);
    void mark_accessed(Descriptor* descriptor);
    void load_far_pointer(unsigned index);
    void push_segment(unsigned index);
    void pop_segment(unsigned index);
    void pop_operand();
    void move_to_segment();
    void load_local_table(uint16_t selector);
    void load_task_register(uint16_t selector);
    void invalidate_outer_segments();
    void load_access_rights(bool limit);
    void verify_segment(bool write);
    void adjust_privilege();

    // soft_system.cpp
    void system_group_0();
    void system_group_1();
    void move_control(bool to_control);
    void write_cr0(uint32_t value);
    void move_debug(bool to_debug);
    void identify();
    void model_register(bool write);
    void read_time_stamp();
    void fence_group();
    bool require_supervisor();

    // soft_exception.cpp
    void fault(uint8_t vector);
    void fault(uint8_t vector, uint32_t error);
    void deliver_fault(Fault fault);
    bool deliver(uint8_t vector, Source source, const Fault* fault);
    void deliver_real(uint8_t vector);
    void deliver_protected(uint8_t vector, Source source, const Fault* fault);
    void deliver_through(const Descriptor& gate, uint32_t external, const Fault* fault);
    bool load_inner_stack(unsigned privilege, uint32_t external);
    void debug_trap();

    [[nodiscard]] x86emu_regs_t& cpu() const { return library_->x86; }
    [[nodiscard]] uint32_t& flags() const { return cpu().spc.FLAGS; }
    [[nodiscard]] uint32_t& ip() const { return cpu().spc.IP.I32_reg.e_reg; }
    [[nodiscard]] uint32_t& cr0() const { return cpu().crx[0]; }
    [[nodiscard]] bool protected_mode() const { return (cr0() & 1) != 0; }
    [[nodiscard]] bool code32() const { return (cpu().seg[kCs].acc & kBig) != 0; }
    [[nodiscard]] bool stack32() const { return (cpu().seg[kSs].acc & kBig) != 0; }
    [[nodiscard]] unsigned privilege() const {
        return protected_mode() ? (cpu().seg[kSs].acc >> 5) & 3 : 0;
    }
    [[nodiscard]] bool faulted() const { return fault_.set || cpu().intr_type != 0; }

    /// D/B in sel_t's form of the access rights.
    static constexpr uint16_t kBig = 1U << 10;
    /// No instruction is longer (Intel SDM 2A 2.3.11).
    static constexpr unsigned kMaxLength = 15;
    /// Room before the code bytes for the canonical prefixes.
    static constexpr unsigned kPrefixRoom = 4;

    const SoftMemory& memory_;
    SoftCpuHost& host_;
    const std::atomic<uint32_t>& attention_;
    x86emu_t* library_ = nullptr;
    std::array<uint32_t*, 8> gpr_{};

    int64_t budget_ = 0;
    uint32_t local_ = 0;
    Exit exit_ = Exit::kBudget;
    bool window_wanted_ = false;
    bool nmi_blocked_ = false;
    /// The instruction executed here has set EIP itself.
    bool own_jumped_ = false;
    Fault fault_;
    Snapshot snapshot_{};
    Instruction insn_;
    /// The bytes at CS:EIP, from index kPrefixRoom on; code_end_ is the end of what may be used.
    std::array<uint8_t, kPrefixRoom + 32> code_{};
    unsigned code_end_ = 0;
    /// Where the library reads next.
    unsigned library_next_ = 0;
    /// The true limits: the library, which does not know expand-down segments, is given FFFFFFFFh
    /// for those.
    std::array<uint32_t, 6> limit_{};
    /// Some data segment needs more than a limit check: null, read-only, expand-down.
    bool unusual_segments_ = false;
    /// State that only an unreachable mode uses (upper halves, R8-R15), kept for register access.
    VcpuRegisters wide_{};
    std::string unsupported_;
};

}  // namespace halcyon
