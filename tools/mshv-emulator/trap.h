/// The trap: how a call of the program gets here instead of into the kernel.
///
/// A seccomp filter answers every ioctl whose number has the driver's type byte (0xB8) with
/// SECCOMP_RET_TRAP, unless the `syscall` instruction is the emulator's own. The kernel then raises
/// SIGSYS on the calling thread, whose handler serves the call, puts the result where the call
/// would have put it, and returns to the instruction after the `syscall`. So a raw `syscall` is
/// served as one through the C library. All signals are blocked while the handler runs: one that
/// arrives after the call began is delivered when it has ended, which is what a real system call
/// does, unless the call looks for it (RUN_VP lets KVM_RUN see them through KVM_SET_SIGNAL_MASK).
///
/// A filter outlives exec. So the emulator's own `syscall` instruction lies at the same fixed
/// address in every process, which the filters of its ancestors let through too.
#pragma once

#include <signal.h>

#include <cstdint>

namespace halcyon::emulator {

/// A signal set as the kernel has it: bit n-1 is signal n.
using KernelSigset = uint64_t;

/// The calling thread at the moment of the trap.
struct TrapContext {
    /// What the program has blocked: a signal outside of it would interrupt the real call.
    KernelSigset blocked = 0;
};

/// Installs the handler and the filter for the process; once, before the program's main. Ends the
/// process with a message when the kernel refuses.
void install_trap();

/// What to do with a SIGSYS that is not the trap's; `default_sigsys` until then.
using SignalHandler = void (*)(int signal, siginfo_t* info, void* context);
void set_foreign_sigsys_handler(SignalHandler handler);

/// Ends the process by SIGSYS, when the handler returns.
void default_sigsys();

/// A system call that the filter lets through; -errno on failure. All threads. The emulator opens
/// files, maps and unmaps with this alone: the C library's functions of these names come back to
/// it, and an open may be trapped, which within the trap ends the process.
long raw_syscall(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                 long f = 0);

/// Moves a descriptor of the emulator's own out of the way of the program's, which expects the
/// lowest free numbers; close-on-exec. Gives `fd` itself where no high number is free.
int to_high_descriptor(int fd);

/// Copies from or to the program's memory; -EFAULT where it is not there, never a fault.
long copy_from_program(void* to, uint64_t from, uint64_t size);
long copy_to_program(uint64_t to, const void* from, uint64_t size);

}  // namespace halcyon::emulator
