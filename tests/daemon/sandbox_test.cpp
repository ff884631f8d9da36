#include "daemon/sandbox/sandbox.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <thread>

#include <gtest/gtest.h>

namespace halcyon {
namespace {

/// What became of a call in a process of its own whose thread has entered the sandbox: its errno, 0
/// for success; more than 1000 when there was no sandbox.
int errno_in(SandboxRole role, const std::function<long()>& call,
             SandboxMode mode = SandboxMode::kOn) {
    const pid_t child = fork();
    if (child == 0) {
        const auto sandbox = Sandbox::create(mode);
        if (!sandbox || *sandbox == nullptr) {
            _exit(255);
        }
        (*sandbox)->enter(role);
        errno = 0;
        _exit(call() < 0 ? errno : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) != 255 ? WEXITSTATUS(status) : 1000 + status;
}

class SandboxTest : public testing::Test {
protected:
    void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
        GTEST_SKIP() << "the sanitizers' own calls are not in the lists";
#endif
        if (!sandbox_is_built_in()) {
            GTEST_SKIP() << "built without libseccomp";
        }
    }
};

long open_file() {
    return open("/dev/null", O_RDWR | O_CLOEXEC);
}

long run_program() {
    const char* const words[] = {"/bin/true", nullptr};
    return execv(words[0], const_cast<char* const*>(words));
}

TEST_F(SandboxTest, AVcpuThreadOpensNoFiles) {
    EXPECT_EQ(errno_in(SandboxRole::kVcpu, open_file), EPERM);
}

TEST_F(SandboxTest, AVcpuThreadMayUseIoctls) {
    // Of no descriptor: the kernel has looked at it.
    EXPECT_EQ(errno_in(SandboxRole::kVcpu, [] { return ioctl(-1, 0); }), EBADF);
}

TEST_F(SandboxTest, AVcpuThreadHasNoNetwork) {
    EXPECT_EQ(errno_in(SandboxRole::kVcpu, [] { return socket(AF_INET, SOCK_STREAM, 0); }), EPERM);
    EXPECT_EQ(errno_in(SandboxRole::kVcpu, [] { return socket(AF_UNIX, SOCK_DGRAM, 0); }), 0);
    EXPECT_EQ(errno_in(SandboxRole::kVcpu, [] { return syscall(SYS_connect, -1, nullptr, 0); }),
              EPERM);
}

TEST_F(SandboxTest, TheMainThreadOpensFilesAndSocketsAndStartsThreads) {
    EXPECT_EQ(errno_in(SandboxRole::kMain, open_file), 0);
    EXPECT_EQ(errno_in(SandboxRole::kMain, [] { return socket(AF_INET, SOCK_STREAM, 0); }), 0);
    EXPECT_EQ(errno_in(SandboxRole::kMain,
                       [] {
                           std::thread([] {}).join();
                           return 0L;
                       }),
              0);
}

TEST_F(SandboxTest, NoThreadRunsPrograms) {
    for (const SandboxRole role : {SandboxRole::kMain, SandboxRole::kVcpu}) {
        EXPECT_EQ(errno_in(role, run_program), EPERM) << static_cast<int>(role);
    }
}

TEST_F(SandboxTest, NoThreadSignalsOtherProcesses) {
    const pid_t other = getpid();
    for (const SandboxRole role : {SandboxRole::kMain, SandboxRole::kVcpu}) {
        EXPECT_EQ(errno_in(role, [other] { return syscall(SYS_tgkill, other, other, 0); }), EPERM);
        EXPECT_EQ(errno_in(role, [other] { return kill(other, 0); }), EPERM);
        EXPECT_EQ(errno_in(role, [] { return syscall(SYS_tgkill, getpid(), getpid(), 0); }), 0);
    }
}

TEST_F(SandboxTest, NoThreadHasOthersSignalled) {
    for (const SandboxRole role : {SandboxRole::kMain, SandboxRole::kVcpu}) {
        EXPECT_EQ(errno_in(role, [] { return fcntl(0, F_SETOWN, getppid()); }), EPERM);
        EXPECT_EQ(errno_in(role, [] { return fcntl(0, F_SETSIG, SIGKILL); }), EPERM);
        EXPECT_EQ(errno_in(role, [] { return fcntl(0, F_GETFD); }), 0);
    }
}

TEST_F(SandboxTest, TheMainThreadStartsNoProcessesAndNamespaces) {
    EXPECT_EQ(errno_in(SandboxRole::kMain, [] { return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }),
              EPERM);
    EXPECT_EQ(errno_in(SandboxRole::kMain,
                       [] { return syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0); }),
              EPERM);
    EXPECT_EQ(errno_in(SandboxRole::kMain, [] { return syscall(SYS_clone3, nullptr, 0); }), ENOSYS);
    EXPECT_EQ(errno_in(SandboxRole::kMain, [] { return unshare(CLONE_NEWUSER); }), EPERM);
}

TEST_F(SandboxTest, TheMainThreadChangesNoOtherProcesssLimits) {
    const rlimit limit{.rlim_cur = 10, .rlim_max = 10};
    EXPECT_EQ(errno_in(SandboxRole::kMain,
                       [&] { return prlimit(getppid(), RLIMIT_NOFILE, &limit, nullptr); }),
              EPERM);
}

TEST_F(SandboxTest, AThreadMayBeNamedAndMayNotBeUnlocked) {
    EXPECT_EQ(errno_in(SandboxRole::kVcpu, [] { return prctl(PR_SET_NAME, "x", 0, 0, 0); }), 0);
    EXPECT_EQ(errno_in(SandboxRole::kVcpu, [] { return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); }),
              EPERM);
}

TEST_F(SandboxTest, AThreadThatTheMainThreadStartsIsBoundAsItIs) {
    EXPECT_EQ(errno_in(SandboxRole::kMain,
                       [] {
                           long result = 0;
                           int error = 0;
                           std::thread([&] {
                               result = run_program();
                               error = errno;
                           }).join();
                           errno = error;
                           return result;
                       }),
              EPERM);
}

TEST_F(SandboxTest, ThatWhichOnlyLogsLetsThrough) {
    EXPECT_EQ(errno_in(SandboxRole::kVcpu, open_file, SandboxMode::kLog), 0);
}

TEST_F(SandboxTest, OffIsNone) {
    const auto sandbox = Sandbox::create(SandboxMode::kOff);
    ASSERT_TRUE(sandbox);
    EXPECT_EQ(*sandbox, nullptr);
}

}  // namespace
}  // namespace halcyon
