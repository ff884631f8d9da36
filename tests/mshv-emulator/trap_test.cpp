#include "tools/mshv-emulator/trap.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <thread>

#include <gtest/gtest.h>

#include "tests/mshv-emulator/test_file.h"

// A system call of the program's own, with a name for the instruction after it.
asm(R"(
    .pushsection .text
    .type trap_test_ioctl, @function
trap_test_ioctl:
    mov $16, %eax
    syscall
trap_test_after:
    ret
    .popsection
)");
extern "C" {
long trap_test_ioctl(int fd, unsigned long request, unsigned long argument);
extern const char trap_test_after[];
}

namespace halcyon::emulator {
namespace {

constexpr unsigned long kRequest = 0xB842;

// Written by the signal handler.
// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables)
volatile greg_t g_handler_rip = 0;
volatile greg_t g_handler_rax = 0;
volatile int g_handled = 0;
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

void record(int, siginfo_t*, void* raw) {
    const auto* context = static_cast<const ucontext_t*>(raw);
    g_handler_rip = context->uc_mcontext.gregs[REG_RIP];
    g_handler_rax = context->uc_mcontext.gregs[REG_RAX];
    g_handled = g_handled + 1;
}

class TrapTest : public ::testing::Test {
protected:
    static void SetUpTestSuite() {
        static const bool installed = (install_trap(), true);
        ASSERT_TRUE(installed);
    }

    /// A file whose ioctls `serve` serves.
    void open_file(TestFile::Serve serve) {
        fd = open_emulated_file(std::make_shared<TestFile>(std::move(serve)), 0);
        ASSERT_GE(fd, 0);
    }
    void TearDown() override { close(fd); }

    int fd = -1;
};

TEST_F(TrapTest, AnIoctlOfTheCLibraryIsServed) {
    open_file([](unsigned long request, unsigned long argument, const TrapContext&) {
        return request == kRequest && argument == 0x123456789a ? 42 : -EINVAL;
    });
    EXPECT_EQ(ioctl(fd, kRequest, 0x123456789a), 42);
}

TEST_F(TrapTest, ABareSystemCallIsServed) {
    open_file([](unsigned long, unsigned long argument, const TrapContext&) {
        return static_cast<long>(argument);
    });
    EXPECT_EQ(trap_test_ioctl(fd, kRequest, 77), 77);
}

TEST_F(TrapTest, AnErrorIsTheSystemCalls) {
    open_file([](unsigned long, unsigned long, const TrapContext&) { return -EEXIST; });
    EXPECT_EQ(trap_test_ioctl(fd, kRequest, 0), -EEXIST);
    errno = 0;
    EXPECT_EQ(ioctl(fd, kRequest, 0), -1);
    EXPECT_EQ(errno, EEXIST);
}

TEST_F(TrapTest, ErrnoIsLeftAloneBySuccess) {
    open_file([](unsigned long, unsigned long, const TrapContext&) {
        errno = ENOSPC;
        return 0;
    });
    errno = EDOM;
    EXPECT_EQ(ioctl(fd, kRequest, 0), 0);
    EXPECT_EQ(errno, EDOM);
}

TEST_F(TrapTest, TheNumberHas32Bits) {
    open_file([](unsigned long request, unsigned long, const TrapContext&) {
        return request == kRequest ? 1 : 2;
    });
    EXPECT_EQ(trap_test_ioctl(fd, kRequest | 0xffffffff00000000, 0), 1);
}

TEST_F(TrapTest, OtherFilesGetTheirOwnIoctls) {
    std::array<int, 2> ends{};
    ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
    EXPECT_EQ(trap_test_ioctl(ends[0], kRequest, 0), -ENOTTY);
    EXPECT_EQ(trap_test_ioctl(-1, kRequest, 0), -EBADF);
    ASSERT_EQ(write(ends[1], "ab", 2), 2);
    int readable = 0;
    EXPECT_EQ(ioctl(ends[0], FIONREAD, &readable), 0);
    EXPECT_EQ(readable, 2);
    close(ends[0]);
    close(ends[1]);
}

TEST_F(TrapTest, TheProgramsSignalMaskIsSeen) {
    KernelSigset seen = 0;
    open_file([&seen](unsigned long, unsigned long, const TrapContext& context) {
        seen = context.blocked;
        return 0;
    });
    sigset_t wanted;
    sigset_t before;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &wanted, &before);
    trap_test_ioctl(fd, kRequest, 0);
    EXPECT_EQ(seen, KernelSigset{1} << (SIGUSR2 - 1));
    sigset_t after;
    pthread_sigmask(SIG_SETMASK, &before, &after);
    EXPECT_EQ(sigismember(&after, SIGUSR2), 1);
    EXPECT_EQ(sigismember(&after, SIGUSR1), 0);
}

TEST_F(TrapTest, ASignalMeanwhileIsDeliveredAtTheInstructionAfter) {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "ThreadSanitizer puts off handlers";
#endif
    struct sigaction action {};
    action.sa_sigaction = record;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    struct sigaction before {};
    sigaction(SIGUSR1, &action, &before);
    open_file([](unsigned long, unsigned long, const TrapContext&) -> long {
        pthread_kill(pthread_self(), SIGUSR1);
        return g_handled == 0 ? -EINTR : 0;
    });
    g_handled = 0;
    EXPECT_EQ(trap_test_ioctl(fd, kRequest, 0), -EINTR);
    EXPECT_EQ(g_handled, 1);
    EXPECT_EQ(g_handler_rip, reinterpret_cast<greg_t>(trap_test_after));
    EXPECT_EQ(g_handler_rax, -EINTR);
    sigaction(SIGUSR1, &before, nullptr);
}

TEST_F(TrapTest, EveryThreadIsServed) {
    open_file([](unsigned long, unsigned long argument, const TrapContext&) {
        return static_cast<long>(argument);
    });
    std::atomic<int> wrong = 0;
    std::vector<std::jthread> threads;
    for (long thread = 0; thread < 4; ++thread) {
        threads.emplace_back([this, thread, &wrong] {
            for (int round = 0; round < 1000; ++round) {
                wrong += trap_test_ioctl(fd, kRequest, static_cast<unsigned long>(thread)) == thread
                             ? 0
                             : 1;
            }
        });
    }
    threads.clear();
    EXPECT_EQ(wrong, 0);
}

TEST_F(TrapTest, AChildIsServed) {
    open_file([](unsigned long, unsigned long, const TrapContext&) { return 5; });
    const pid_t child = fork();
    if (child == 0) {
        _exit(static_cast<int>(trap_test_ioctl(fd, kRequest, 0)));
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 5);
}

using TrapDeathTest = TrapTest;

/// Has another filter trap getppid, and calls it.
void trap_by_another_filter() {
    std::array<sock_filter, 4> filter = {{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    const sock_fprog program{filter.size(), filter.data()};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
    getppid();
}

TEST_F(TrapDeathTest, ASigsysFromElsewhereEndsTheProcess) {
    EXPECT_EXIT(trap_by_another_filter(), ::testing::KilledBySignal(SIGSYS), "");
}

TEST_F(TrapDeathTest, ASigsysFromElsewhereIsTheProgramsIfItWants) {
    EXPECT_EXIT(
        {
            set_foreign_sigsys_handler([](int, siginfo_t* info, void*) {
                _exit(info->si_syscall == SYS_getppid ? 3 : 4);
            });
            trap_by_another_filter();
        },
        ::testing::ExitedWithCode(3), "");
}

TEST(ProgramMemory, IsCopied) {
    uint64_t there = 5;
    uint64_t here = 0;
    EXPECT_EQ(copy_from_program(&here, reinterpret_cast<uint64_t>(&there), sizeof(there)), 0);
    EXPECT_EQ(here, 5U);
    here = 6;
    EXPECT_EQ(copy_to_program(reinterpret_cast<uint64_t>(&there), &here, sizeof(here)), 0);
    EXPECT_EQ(there, 6U);
}

TEST(ProgramMemory, ThatIsNotThereIsAFault) {
    void* pages = mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(pages, MAP_FAILED);
    const auto address = reinterpret_cast<uint64_t>(pages);
    munmap(static_cast<char*>(pages) + 4096, 4096);
    std::array<char, 16> here{};
    EXPECT_EQ(copy_from_program(here.data(), address, here.size()), 0);
    EXPECT_EQ(copy_from_program(here.data(), address + 4090, here.size()), -EFAULT);
    EXPECT_EQ(copy_to_program(address, here.data(), here.size()), -EFAULT);  // for reading only
    EXPECT_EQ(copy_from_program(here.data(), 0, here.size()), -EFAULT);
    EXPECT_EQ(copy_from_program(here.data(), ~uint64_t{0} - 4, here.size()), -EFAULT);
    EXPECT_EQ(copy_from_program(here.data(), uint64_t{1} << 47, here.size()), -EFAULT);
    munmap(pages, 4096);
}

TEST(OwnDescriptor, GoesOutOfTheWay) {
    const int low = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const int high = to_high_descriptor(low);
    EXPECT_GE(high, 256);
    EXPECT_EQ(fcntl(high, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(low, F_GETFD), -1);
    close(high);
}

}  // namespace
}  // namespace halcyon::emulator
