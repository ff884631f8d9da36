/*
 * The one place from which a vCPU thread enters a hypervisor. See accel/run_entry.h for the
 * contract, and docs/proof.md for the argument.
 *
 *     long halcyon_run_entry(int fd, unsigned long request, unsigned long argument,
 *                            const uint32_t* stop_word);
 *
 * ioctl(2) takes its arguments in the registers in which a C function gets its first three, so
 * there is nothing to move. Everything that prepares the system call is done before the window:
 * from W0 on, the three registers and RAX are only read, so leaving the window at any instruction
 * undoes nothing and needs no clean-up. The stack pointer does not move either, so the unwind
 * information of the entry holds throughout.
 *
 *   W0  the load of the stop word. A kick whose signal was handled before this instruction has
 *       stored the word before; this load sees it.
 *       A signal handled with the program counter at W0, at the branch, or at `syscall` (not yet
 *       executed) has the handler move the program counter to the abort label.
 *   W2  the instruction after `syscall`: outside the window. The system call has begun, so the
 *       kernel has seen the pending signal: RAX is -EINTR, or 0 with an exit to be handled, and
 *       must survive. Had the kernel instead rewound the program counter to restart the call
 *       (-ERESTART*), it would stand on `syscall`, inside the window, and be moved: no restart.
 *
 * The abort label is reached by the branch and by a signal return, never by an indirect branch, so
 * it needs no ENDBR64; the shadow stack is untouched, since no call or return is skipped.
 */
#include <cet.h>

        .text
        .p2align 4
        .globl  halcyon_run_entry
        .hidden halcyon_run_entry
        .type   halcyon_run_entry, @function
        .globl  halcyon_run_entry_window_begin
        .hidden halcyon_run_entry_window_begin
        .globl  halcyon_run_entry_window_end
        .hidden halcyon_run_entry_window_end
        .globl  halcyon_run_entry_abort
        .hidden halcyon_run_entry_abort
        .globl  halcyon_run_entry_end
        .hidden halcyon_run_entry_end
halcyon_run_entry:
        .cfi_startproc
        _CET_ENDBR
        movl    $16, %eax               /* __NR_ioctl; EDI, RSI, RDX are in place */
halcyon_run_entry_window_begin:         /* W0 */
        cmpl    $0, (%rcx)
        jne     halcyon_run_entry_abort
        syscall                         /* overwrites RCX and R11, which the caller saves */
halcyon_run_entry_window_end:           /* W2 */
        ret
halcyon_run_entry_abort:
        movq    $-4096, %rax            /* kRunEntryAborted */
        ret
halcyon_run_entry_end:
        .cfi_endproc
        .size   halcyon_run_entry, . - halcyon_run_entry

/*
 * Return from a signal handler that was installed with the bare system call (ThreadSanitizer
 * builds, see run_entry.cpp). `S` in the augmentation marks a signal frame for unwinders.
 */
        .globl  halcyon_signal_return
        .hidden halcyon_signal_return
        .type   halcyon_signal_return, @function
halcyon_signal_return:
        .cfi_startproc
        .cfi_signal_frame
        movl    $15, %eax               /* __NR_rt_sigreturn */
        syscall
        .cfi_endproc
        .size   halcyon_signal_return, . - halcyon_signal_return

        .section .note.GNU-stack, "", @progbits
