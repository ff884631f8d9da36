// The lists of -sandbox. docs/service.md tells users what they mean.
#include "daemon/sandbox/sandbox.h"

namespace halcyon {
namespace {

constexpr SandboxCalls kCommon[] = {
    {"memory of the C library's heap, stacks, and guest memory",
     "brk mmap munmap mremap madvise mprotect"},
    {"locks and waits", "futex sched_yield restart_syscall clock_nanosleep nanosleep"},
    {"the time, where the vDSO has no answer", "clock_gettime gettimeofday clock_getres"},
    {"signals: kicks, and the C library's own",
     "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait sigaltstack "
     "tgkill:self"},
    {"the end, of a thread or of all", "exit exit_group"},
    {"who we are", "getpid gettid getuid geteuid getgid getegid"},
    {"what a thread registers at its start", "rseq set_robust_list set_tid_address membarrier"},
    {"a thread's name", "prctl:set-name"},
    // Not narrowed down: the kernel would look at the arguments of each entry into the guest.
    {"hypervisors: every run of a vCPU, memory slots, interrupts", "ioctl"},
    {"the log, on stderr, in a file, in the journal; eventfds", "write writev sendmsg"},
    {"the log's first message to the journal", "socket:unix memfd_create"},
    {"descriptors that go", "close"},
    {"mshv-emulator, inside its callers: which descriptor is this, careful accesses to memory, "
     "timers of guests",
     "fstat newfstatat fcntl:flags ppoll mincore process_vm_readv:self process_vm_writev:self "
     "timer_create timer_settime timer_delete"},
};

// Devices run on vCPU threads, but what they do to the world is the main thread's.
constexpr SandboxCalls kVcpu[] = {
    {"the loop's timers and wake-ups", "timerfd_settime epoll_ctl read"},
};

// Also binds the threads that it starts.
constexpr SandboxCalls kMain[] = {
    {"the event loop",
     "epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 poll ppoll pselect6 "
     "timerfd_create timerfd_settime timerfd_gettime eventfd2 signalfd4 inotify_init1 "
     "inotify_add_watch inotify_rm_watch"},
    {"clients and consoles: the sockets of the start, and those that chardev-add makes later",
     "socket accept4 bind listen connect getsockname getpeername getsockopt setsockopt shutdown "
     "socketpair recvmsg recvfrom sendto sendmmsg recvmmsg"},
    {"files that QMP commands name, consoles in files, the pidfile, /proc of our own threads",
     "open openat openat2 access faccessat faccessat2 stat lstat statx readlink readlinkat getcwd "
     "umask "
     "unlink unlinkat lseek ftruncate fallocate fsync fdatasync getdents64 statfs fstatfs flock"},
    {"reading and writing", "read readv pread64 preadv pwrite64 pwritev"},
    {"whether the terminal is ours at present", "getpgrp getpgid"},
    {"descriptors", "dup dup2 dup3 pipe2"},
    {"threads for dumps and other work in the background", "clone:thread sched_getaffinity"},
    {"random numbers and sizes of the host", "getrandom uname sysinfo prlimit64:caller"},
};

void append(std::vector<SandboxCalls>& to, std::span<const SandboxCalls> from) {
    to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

std::vector<SandboxCalls> sandbox_calls(SandboxRole role) {
    std::vector<SandboxCalls> calls(std::begin(kCommon), std::end(kCommon));
    switch (role) {
        case SandboxRole::kMain:
            append(calls, kMain);
            break;
        case SandboxRole::kVcpu:
            append(calls, kVcpu);
            break;
    }
    return calls;
}

}  // namespace halcyon
