/// Vcpu: one virtual processor of a partition, whichever backend runs it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "accel/vcpu_counters.h"
#include "base/result.h"
#include "base/types.h"

namespace halcyon {

/// Why `Vcpu::run` came back. Port and memory accesses do not end a run; they go through GuestIo.
enum class RunStop {
    kKicked,       ///< the stop word was set; nothing is half done, registers are exact
    kHalted,       ///< HLT, in a partition without local APICs, or a halt the hypervisor reported
    kPowerOff,     ///< the hypervisor reported that the guest switched itself off
    kReset,        ///< the hypervisor reported that the guest asked for a reset
    kTripleFault,  ///< a fault while delivering a double fault
    kFault,        ///< the backend cannot go on with this guest: `detail` says why
};

struct RunOutcome {
    RunStop stop = RunStop::kKicked;
    /// For kFault: what happened, with the registers that matter. One line.
    std::string detail = {};
};

[[nodiscard]] const char* to_string(RunStop stop);

/// A segment register. `limit` is the expanded byte limit; `attributes` has the layout of a
/// descriptor's bits 40-55 (type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15; 8-11 zero), as
/// in hv_x64_segment_register of Linux's include/hyperv/hvgdk_mini.h. An unusable segment has P
/// clear.
struct SegmentRegister {
    uint64_t base = 0;
    uint32_t limit = 0;
    uint16_t selector = 0;
    uint16_t attributes = 0;
    friend bool operator==(const SegmentRegister&, const SegmentRegister&) = default;
};

struct TableRegister {
    uint64_t base = 0;
    uint16_t limit = 0;
    friend bool operator==(const TableRegister&, const TableRegister&) = default;
};

/// The general registers in the order of their encoding: RAX RCX RDX RBX RSP RBP RSI RDI R8-R15.
enum Gpr : uint8_t {
    kRax,
    kRcx,
    kRdx,
    kRbx,
    kRsp,
    kRbp,
    kRsi,
    kRdi,
    kR8,
    kR9,
    kR10,
    kR11,
    kR12,
    kR13,
    kR14,
    kR15
};

/// The architectural state that every backend can give and take.
struct VcpuRegisters {
    std::array<uint64_t, 16> gpr{};
    uint64_t rip = 0;
    uint64_t rflags = 2;
    SegmentRegister cs, ds, es, fs, gs, ss, tr, ldt;
    TableRegister gdt, idt;
    uint64_t cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0, efer = 0;
    friend bool operator==(const VcpuRegisters&, const VcpuRegisters&) = default;
};

/// What CPUID gives for one leaf.
struct CpuidRegisters {
    uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
    friend bool operator==(const CpuidRegisters&, const CpuidRegisters&) = default;
};

/// The state after RESET (Intel SDM 3A table 9-1): real mode, CS:IP = F000:FFF0 with base
/// FFFF0000h.
[[nodiscard]] VcpuRegisters reset_registers();

/// One vCPU. Owned by machine/'s VcpuThread, which is "the vCPU's thread" below; the partition
/// outlives it.
///
/// Kicking: a stop word, set by anybody, that makes `run` return kKicked soon and keeps it
/// returning at once until the vCPU's thread clears it. Setting it never loses a race with the
/// entry into the hypervisor (accel/run_entry.h). The thread clears the word first and looks for
/// what is wanted second, so a request made before a kick is never missed; a kick without a request
/// is legal and cheap.
class Vcpu {
public:
    virtual ~Vcpu() = default;

    /// Tells the vCPU that the calling thread will run it from now on; call before the first `run`,
    /// with the kick signal unblocked and every other asynchronous signal blocked.
    virtual void attach_thread() = 0;
    /// The calling thread will not run the vCPU any more, and kicks must not signal it: a thread
    /// that ends calls it, because its id may be given to another. (A kick that comes at the same
    /// moment may still signal the ended thread's id; accel/run_entry.h says why that is harmless.)
    virtual void detach_thread() = 0;

    /// Runs the guest until something stops it. vCPU's thread only. Never fails: what goes wrong is
    /// kFault.
    virtual RunOutcome run() = 0;

    /// Sets the stop word, without waking anybody: the first half of a kick, so that a fan-out can
    /// set all words before it sends the first signal. Any thread, also before `attach_thread`.
    virtual void set_stop() = 0;
    /// Sets the stop word and gets the vCPU out of the hypervisor. Any thread. Before
    /// `attach_thread` it only sets the word.
    virtual void kick() = 0;
    /// Clears the stop word. vCPU's thread only, outside `run`.
    virtual void clear_stop() = 0;

    /// What this vCPU has been doing; null when the backend does not count. Any thread.
    [[nodiscard]] virtual const VcpuCounters* counters() const { return nullptr; }

    /// What CPUID shows the guest, zeroes for a leaf that is not there; nothing when the backend
    /// cannot tell. Main thread, whether the vCPU runs or not.
    [[nodiscard]] virtual std::optional<CpuidRegisters> cpuid(uint32_t leaf,
                                                              uint32_t subleaf) const {
        static_cast<void>(leaf);
        static_cast<void>(subleaf);
        return std::nullopt;
    }

    /// Register access: vCPU's thread outside `run`, or any one thread while the vCPU's thread is
    /// parked. Whether the vCPU is halted or waits for a start-up IPI is not part of it, and stays.
    virtual Result<VcpuRegisters> registers() = 0;
    virtual Result<void> set_registers(const VcpuRegisters& registers) = 0;

    /// Back to the state after power-on, local APIC included: vCPU 0 will run from the reset
    /// vector, others wait for a start-up IPI (with local APICs; without, all run). Same threads as
    /// register access.
    virtual Result<void> reset() = 0;
};

}  // namespace halcyon
