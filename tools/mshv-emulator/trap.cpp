#include "tools/mshv-emulator/trap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "tools/mshv-emulator/device.h"
#include "tools/mshv-emulator/device_path.h"
#include "tools/mshv-emulator/emulated_file.h"
#include "tools/mshv-emulator/log.h"
#include "tools/mshv-emulator/options.h"

// halcyon_raw_syscall: the C calling convention to the kernel's; copied to the fixed address, so it
// must not refer to anything. halcyon_restore: the instructions by which unwinders and debuggers
// know a signal frame.
asm(R"(
    .pushsection .text
    .globl halcyon_raw_syscall, halcyon_raw_syscall_trap, halcyon_raw_syscall_end
    .hidden halcyon_raw_syscall, halcyon_raw_syscall_trap, halcyon_raw_syscall_end
    .type halcyon_raw_syscall, @function
halcyon_raw_syscall:
    mov %rdi, %rax
    mov %rsi, %rdi
    mov %rdx, %rsi
    mov %rcx, %rdx
    mov %r8, %r10
    mov %r9, %r8
    mov 8(%rsp), %r9
    syscall
halcyon_raw_syscall_trap:
    ret
halcyon_raw_syscall_end:
    .size halcyon_raw_syscall, . - halcyon_raw_syscall

    .globl halcyon_restore
    .hidden halcyon_restore
    .type halcyon_restore, @function
    nop
halcyon_restore:
    mov $15, %rax
    syscall
    .size halcyon_restore, . - halcyon_restore
    .popsection
)");
extern "C" {
long halcyon_raw_syscall(long number, long a, long b, long c, long d, long e, long f);
// NOLINTBEGIN(readability-identifier-naming): labels of the assembly above
extern const char halcyon_raw_syscall_trap[];
extern const char halcyon_raw_syscall_end[];
// NOLINTEND(readability-identifier-naming)
void halcyon_restore();
}

namespace halcyon::emulator {
namespace {

/// Where the copy of halcyon_raw_syscall lies: above what mmap_min_addr forbids, below where the
/// linkers put programs (2 MiB at the lowest), and where the sanitizers take memory to be the
/// program's. All processes must agree, also of different builds: see the file's head.
constexpr uint64_t kStubAddress = 0x1b8000;
constexpr uint64_t kStubSize = 4096;

constexpr unsigned kDriverType = 0xB8;
/// The filter's mark in siginfo, by which its traps are told from those of other filters.
constexpr uint32_t kTrapData = 0x4D53;
/// SYS_SECCOMP of <asm-generic/siginfo.h>, which does not go with <signal.h>.
constexpr int kSysSeccomp = 1;
/// An ioctl that no driver has, on no descriptor, and an open of no path, in no directory: they ask
/// whether the filter is there.
constexpr long kProbeRequest = 0xB8FF;
constexpr long kProbeAnswer = 0x4D534856;

using RawSyscall = long (*)(long, long, long, long, long, long, long);

// The handler has no other way to what install_trap and the program set up.
// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables)
std::atomic<RawSyscall> g_raw_syscall{halcyon_raw_syscall};
std::atomic<SignalHandler> g_foreign_sigsys{nullptr};
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

/// What rt_sigaction takes; the kernel's struct sigaction.
struct KernelSigaction {
    SignalHandler handler;
    uint64_t flags;
    void (*restorer)();
    KernelSigset mask;
};
constexpr uint64_t kSaRestorer = 0x04000000;
constexpr long kSigsetSize = sizeof(KernelSigset);

[[noreturn]] void give_up(const char* what, long error) {
    dprintf(STDERR_FILENO, "mshv-emulator: %s: %s\n", what, strerror(static_cast<int>(-error)));
    _exit(125);
}

long raw_sigaction(int signal, const KernelSigaction& action) {
    return raw_syscall(SYS_rt_sigaction, signal, reinterpret_cast<long>(&action), 0, kSigsetSize);
}

long serve_ioctl(int fd, unsigned long request, unsigned long argument,
                 const TrapContext& context) {
    // The kernel takes the number as 32 bits; what is above is not looked at.
    request &= 0xffffffffU;
    const std::shared_ptr<EmulatedFile> file = find_emulated_file(fd);
    if (file == nullptr) {
        return raw_syscall(SYS_ioctl, fd, static_cast<long>(request), static_cast<long>(argument));
    }
    const long result = file->ioctl(request, argument, context);
    if (result < 0 && result != -EINTR) {
        log_line("ioctl 0x%08lx on descriptor %d: %s", request, fd,
                 strerrorname_np(static_cast<int>(-result)));
    }
    return result;
}

long serve_open(long number, const greg_t* registers) {
    const bool at = number != SYS_open;
    const int directory = at ? static_cast<int>(registers[REG_RDI]) : AT_FDCWD;
    const auto path = static_cast<uint64_t>(registers[at ? REG_RSI : REG_RDI]);
    auto flags = static_cast<uint64_t>(registers[at ? REG_RDX : REG_RSI]);
    if (number == SYS_openat2 && copy_from_program(&flags, flags, sizeof(flags)) < 0) {
        return -EFAULT;
    }
    if (program_path_is_device(directory, path)) {
        return open_device(static_cast<int>(flags));
    }
    return raw_syscall(number, registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
                       registers[REG_R10]);
}

long serve(long number, const greg_t* registers, const TrapContext& context) {
    const auto fd = static_cast<int>(registers[REG_RDI]);
    const long probe = number == SYS_ioctl ? kProbeRequest : 0;
    if (fd == -1 && registers[REG_RSI] == probe) {
        return kProbeAnswer;
    }
    if (number != SYS_ioctl) {
        return serve_open(number, registers);
    }
    return serve_ioctl(fd, static_cast<unsigned long>(registers[REG_RSI]),
                       static_cast<unsigned long>(registers[REG_RDX]), context);
}

void foreign_sigsys(int signal, siginfo_t* info, void* context) {
    if (const SignalHandler handler = g_foreign_sigsys; handler != nullptr) {
        handler(signal, info, context);
    } else {
        default_sigsys();
    }
}

void on_sigsys(int signal, siginfo_t* info, void* raw_context) {
    const int saved_errno = errno;
    auto* context = static_cast<ucontext_t*>(raw_context);
    if (info->si_code == kSysSeccomp && info->si_errno == static_cast<int>(kTrapData)) {
        TrapContext trap;
        memcpy(&trap.blocked, &context->uc_sigmask, sizeof(trap.blocked));
        greg_t* registers = context->uc_mcontext.gregs;
        registers[REG_RAX] = serve(info->si_syscall, registers, trap);
    } else {
        foreign_sigsys(signal, info, raw_context);
    }
    errno = saved_errno;
}

void map_stub() {
    const long mapped = raw_syscall(SYS_mmap, kStubAddress, kStubSize, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (mapped != static_cast<long>(kStubAddress)) {
        give_up("the emulator's address is taken", mapped < 0 ? mapped : -EEXIST);
    }
    auto* stub = reinterpret_cast<char*>(mapped);
    const auto* code = reinterpret_cast<const char*>(halcyon_raw_syscall);
    memcpy(stub, code, static_cast<size_t>(halcyon_raw_syscall_end - code));
    const long error = raw_syscall(SYS_mprotect, kStubAddress, kStubSize, PROT_READ | PROT_EXEC);
    if (error < 0) {
        give_up("cannot make the emulator's code executable", error);
    }
    g_raw_syscall = reinterpret_cast<RawSyscall>(mapped);
}

void install_handler() {
    // Not through the C library: a sanitizer would put off the handler, and give it no true
    // context. Not on the alternate stack: the program's coroutines may be on theirs.
    const KernelSigaction action{on_sigsys, SA_SIGINFO | kSaRestorer, halcyon_restore,
                                 ~KernelSigset{0}};
    const KernelSigset unblocked = KernelSigset{1} << (SIGSYS - 1);
    long error = raw_sigaction(SIGSYS, action);
    if (error == 0) {
        // A parent may have blocked it across exec.
        error = raw_syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, reinterpret_cast<long>(&unblocked), 0,
                            kSigsetSize);
    }
    if (error < 0) {
        give_up("cannot handle SIGSYS", error);
    }
}

/// A system call that the filter does trap.
long trapped_syscall(long number, long a, long b, long c) {
    long result = 0;
    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(number), "D"(a), "S"(b), "d"(c)
                 : "rcx", "r11", "memory");
    return result;
}

bool filter_is_inherited() {
    return trapped_syscall(SYS_ioctl, -1, kProbeRequest, 0) == kProbeAnswer &&
           (!options().trap_open || trapped_syscall(SYS_openat, -1, 0, O_RDWR) == kProbeAnswer);
}

sock_filter load(size_t offset) {
    return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset));
}

/// Skips `yes` instructions when the loaded word is `value`, otherwise `no`.
sock_filter skip_if_equal(uint32_t value, size_t yes, size_t no) {
    return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, static_cast<uint8_t>(yes),
                    static_cast<uint8_t>(no));
}

constexpr size_t argument_offset(size_t index) {
    return offsetof(seccomp_data, args) + index * sizeof(uint64_t);
}

/// Appends a call's rule: `conditions`, which end at their last instruction for the trap, then the
/// emulator's own calls let through.
void add_rule(std::vector<sock_filter>& filter, uint32_t number,
              const std::vector<sock_filter>& conditions) {
    const auto own = static_cast<uint32_t>(kStubAddress) +
                     static_cast<uint32_t>(halcyon_raw_syscall_trap -
                                           reinterpret_cast<const char*>(halcyon_raw_syscall));
    const sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    const sock_filter trap = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP | kTrapData);
    const std::vector<sock_filter> ending = {
        allow,  // where a condition that does not hold goes
        load(offsetof(seccomp_data, instruction_pointer)),
        skip_if_equal(own, 0, 2),
        load(offsetof(seccomp_data, instruction_pointer) + 4),
        skip_if_equal(0, 1, 0),
        trap,
        allow,
    };
    filter.push_back(load(offsetof(seccomp_data, nr)));
    filter.push_back(skip_if_equal(number, 0, conditions.size() + ending.size()));
    filter.insert(filter.end(), conditions.begin(), conditions.end());
    filter.insert(filter.end(), ending.begin(), ending.end());
}

std::vector<sock_filter> make_filter() {
    const sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    std::vector<sock_filter> filter = {load(offsetof(seccomp_data, arch)),
                                       skip_if_equal(AUDIT_ARCH_X86_64, 1, 0), allow};
    add_rule(filter, SYS_ioctl,
             {load(argument_offset(1)), BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 8),
              BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff), skip_if_equal(kDriverType, 1, 0)});
    if (options().trap_open) {
        // Only for reading and writing, as the driver's users do: the dynamic linker opens much,
        // before a child has a handler, but only for reading.
        for (const auto& [number, flags] : {std::pair{SYS_open, 1}, std::pair{SYS_openat, 2}}) {
            add_rule(filter, static_cast<uint32_t>(number),
                     {load(argument_offset(static_cast<size_t>(flags))),
                      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, O_ACCMODE), skip_if_equal(O_RDWR, 1, 0)});
        }
        add_rule(filter, SYS_openat2, {skip_if_equal(SYS_openat2, 1, 0)});
    }
    filter.push_back(allow);
    return filter;
}

void install_filter() {
    std::vector<sock_filter> filter = make_filter();
    const sock_fprog program{static_cast<uint16_t>(filter.size()), filter.data()};
    const auto install = [&program] {
        return raw_syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                           SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                           reinterpret_cast<long>(&program));
    };
    long error = install();
    if (error == -EACCES) {
        raw_syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1);
        error = install();
    }
    if (error != 0) {
        give_up("cannot install the seccomp filter", error > 0 ? -ESRCH : error);
    }
}

}  // namespace

void install_trap() {
    map_stub();
    install_handler();
    if (!filter_is_inherited()) {
        install_filter();
    }
}

void default_sigsys() {
    const KernelSigaction standard{nullptr, 0, nullptr, 0};
    raw_sigaction(SIGSYS, standard);
    // Blocked until the handler returns.
    raw_syscall(SYS_tgkill, raw_syscall(SYS_getpid), raw_syscall(SYS_gettid), SIGSYS);
}

void set_foreign_sigsys_handler(SignalHandler handler) {
    g_foreign_sigsys = handler;
}

long raw_syscall(long number, long a, long b, long c, long d, long e, long f) {
    return g_raw_syscall.load(std::memory_order_relaxed)(number, a, b, c, d, e, f);
}

int to_high_descriptor(int fd) {
    // High enough to be out of the way, low enough for the kernel's table to stay small.
    constexpr long kAbove = 512;
    rlimit limit{};
    const long error =
        raw_syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, reinterpret_cast<long>(&limit));
    const long most =
        error < 0 ? kAbove : static_cast<long>(std::min<rlim_t>(limit.rlim_cur, 1024));
    const long moved = raw_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, most / 2);
    if (moved < 0) {
        return fd;
    }
    raw_syscall(SYS_close, fd);
    return static_cast<int>(moved);
}

long copy_from_program(void* to, uint64_t from, uint64_t size) {
    const iovec local{to, size};
    const iovec remote{reinterpret_cast<void*>(from), size};
    const long copied =
        raw_syscall(SYS_process_vm_readv, raw_syscall(SYS_getpid), reinterpret_cast<long>(&local),
                    1, reinterpret_cast<long>(&remote), 1);
    return copied == static_cast<long>(size) ? 0 : -EFAULT;
}

long copy_to_program(uint64_t to, const void* from, uint64_t size) {
    const iovec local{const_cast<void*>(from), size};
    const iovec remote{reinterpret_cast<void*>(to), size};
    const long copied =
        raw_syscall(SYS_process_vm_writev, raw_syscall(SYS_getpid), reinterpret_cast<long>(&local),
                    1, reinterpret_cast<long>(&remote), 1);
    return copied == static_cast<long>(size) ? 0 : -EFAULT;
}

}  // namespace halcyon::emulator
