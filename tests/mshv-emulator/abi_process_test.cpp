/// The device in a program that has threads, signals and children.
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <atomic>
#include <string>
#include <thread>

#include "tests/mshv-emulator/abi_fixture.h"

extern char** environ;

namespace halcyon::mshv {
namespace {

/// A forked child that starts threads, as the emulator does in one that makes partitions.
#ifdef __SANITIZE_THREAD__
#define NEEDS_THREADS_IN_CHILDREN \
    GTEST_SKIP() << "ThreadSanitizer ends a forked child that starts a thread"
#else
#define NEEDS_THREADS_IN_CHILDREN
#endif

class AbiProcessTest : public AbiTest {
protected:
    /// Makes and drops a partition: whether the device is there, all the way.
    [[nodiscard]] bool works() const {
        const auto fd = static_cast<int>(create_partition());
        close(fd);
        return fd >= 0;
    }
    /// The exit status of a child that runs `work`.
    template <typename Work>
    static int in_child(Work work) {
        const pid_t child = fork();
        if (child == 0) {
            _exit(work());
        }
        int status = -1;
        EXPECT_EQ(waitpid(child, &status, 0), child);
        return status;
    }
};

TEST_F(AbiProcessTest, ThreadThatBlocksAllSignalsCanUseIt) {
    sigset_t all;
    sigset_t before;
    sigset_t seen;
    sigfillset(&all);
    ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &all, &before), 0);
    EXPECT_TRUE(works());
    ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &before, &seen), 0);
    EXPECT_EQ(sigismember(&seen, SIGSYS), 1);  // as it was set
    EXPECT_EQ(sigismember(&seen, SIGUSR1), 1);
    ASSERT_EQ(pthread_sigmask(SIG_BLOCK, nullptr, &seen), 0);
    EXPECT_EQ(sigismember(&seen, SIGSYS), 0);
}

TEST_F(AbiProcessTest, BlockingAndUnblockingSigsysIsRemembered) {
    sigset_t one;
    sigset_t seen;
    sigemptyset(&one);
    sigaddset(&one, SIGSYS);
    ASSERT_EQ(sigprocmask(SIG_BLOCK, &one, nullptr), 0);
    EXPECT_TRUE(works());
    ASSERT_EQ(sigprocmask(SIG_UNBLOCK, &one, &seen), 0);
    EXPECT_EQ(sigismember(&seen, SIGSYS), 1);
    ASSERT_EQ(sigprocmask(SIG_BLOCK, nullptr, &seen), 0);
    EXPECT_EQ(sigismember(&seen, SIGSYS), 0);
}

TEST_F(AbiProcessTest, ThreadMayStartWithAllSignalsBlocked) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool worked = false;
    std::thread([this, &worked] { worked = works(); }).join();
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    EXPECT_TRUE(worked);
}

// Set by signal handlers.
// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables)
std::atomic<int> g_device{-1};
std::atomic<long> g_in_handler{0};
std::atomic<int> g_sigsys{0};
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

TEST_F(AbiProcessTest, HandlerThatBlocksAllSignalsCanUseIt) {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "ThreadSanitizer blocks SIGSYS around handlers, by bare system calls";
#endif
    struct sigaction action {};
    action.sa_handler = [](int) { g_in_handler = ioctl(g_device, kIoctlCreatePartition, nullptr); };
    sigfillset(&action.sa_mask);
    struct sigaction before {};
    ASSERT_EQ(sigaction(SIGUSR1, &action, &before), 0);
    g_device = device;
    raise(SIGUSR1);
    EXPECT_EQ(g_in_handler, -1);  // EFAULT
    struct sigaction seen {};
    ASSERT_EQ(sigaction(SIGUSR1, &before, &seen), 0);
    EXPECT_EQ(sigismember(&seen.sa_mask, SIGSYS), 1);
}

TEST_F(AbiProcessTest, SigsysIsTheProgramsToHandle) {
    struct sigaction action {};
    action.sa_handler = [](int) { ++g_sigsys; };
    struct sigaction before {};
    ASSERT_EQ(sigaction(SIGSYS, &action, &before), 0);
    EXPECT_EQ(before.sa_handler, SIG_DFL);
    g_sigsys = 0;
    EXPECT_TRUE(works());
    EXPECT_EQ(g_sigsys, 0);
    raise(SIGSYS);
    EXPECT_EQ(g_sigsys, 1);
    struct sigaction seen {};
    ASSERT_EQ(sigaction(SIGSYS, nullptr, &seen), 0);
    EXPECT_EQ(seen.sa_handler, action.sa_handler);
    EXPECT_EQ(signal(SIGSYS, SIG_IGN), action.sa_handler);
    raise(SIGSYS);
    EXPECT_TRUE(works());
    EXPECT_EQ(g_sigsys, 1);
    ASSERT_EQ(sigaction(SIGSYS, &before, nullptr), 0);
}

TEST_F(AbiProcessTest, SigsysEndsAProgramThatDoesNotHandleIt) {
    const int status = in_child([] {
        raise(SIGSYS);
        return 0;
    });
    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), SIGSYS);
}

TEST_F(AbiProcessTest, ChildCanUseIt) {
    NEEDS_THREADS_IN_CHILDREN;
    EXPECT_EQ(in_child([this] { return works() ? 0 : 1; }), 0);
    EXPECT_TRUE(works());
}

TEST_F(AbiProcessTest, ChildThatIsAnotherProgramCanUseIt) {
    // This program again, twice over, each with what its parent left it.
    const char* depth = getenv("ABI_TEST_DEPTH");
    EXPECT_TRUE(works());
    if (depth != nullptr && std::string(depth) == "2") {
        return;
    }
    const int status = in_child([depth] {
        setenv("ABI_TEST_DEPTH", depth == nullptr ? "1" : "2", 1);
        unsetenv("GTEST_OUTPUT");
        close(STDOUT_FILENO);
        const std::string filter =
            "--gtest_filter=AbiProcessTest.ChildThatIsAnotherProgramCanUseIt";
        execl("/proc/self/exe", "abi_tests", filter.c_str(), "--gtest_output=", nullptr);
        return 127;
    });
    EXPECT_EQ(status, 0);
}

TEST_F(AbiProcessTest, ProcessEndsWithAllOpen) {
    NEEDS_THREADS_IN_CHILDREN;
    const auto start = std::chrono::steady_clock::now();
    const int status = in_child([this] {
        make_initialized_partition();
        const auto vp = static_cast<int>(create_vp(0));
        // A VP without code runs for ever; the thread is in it when the process ends.
        std::thread([vp] {
            uint8_t message[kRunVpBufferSize];
            ioctl(vp, kIoctlRunVp, message);
        }).detach();
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        return vp >= 0 ? 5 : 6;
    });
    EXPECT_EQ(WEXITSTATUS(status), 5);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST_F(AbiProcessTest, ProcessCanBeKilled) {
    NEEDS_THREADS_IN_CHILDREN;
    int ready[2];
    ASSERT_EQ(pipe2(ready, O_CLOEXEC), 0);
    const pid_t child = fork();
    if (child == 0) {
        make_initialized_partition();
        const auto vp = static_cast<int>(create_vp(0));
        [[maybe_unused]] const ssize_t written = write(ready[1], "x", 1);
        uint8_t message[kRunVpBufferSize];
        while (ioctl(vp, kIoctlRunVp, message) != 12345) {
        }
        _exit(0);
    }
    close(ready[1]);
    char byte = 0;
    EXPECT_EQ(read(ready[0], &byte, 1), 1);
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(WTERMSIG(status), SIGKILL);
    close(ready[0]);
}

TEST_F(AbiProcessTest, ManyThreadsUseItAtOnce) {
    std::atomic<int> failures = 0;
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([this, &failures] {
            for (int round = 0; round < 20; ++round) {
                failures += works() ? 0 : 1;
            }
        });
    }
    threads.clear();
    EXPECT_EQ(failures, 0);
}

}  // namespace
}  // namespace halcyon::mshv
