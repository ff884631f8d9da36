// The parts of a kick: the stub, the handler, the signal mask, the stop word; and many kicks.
#include "accel/run_entry.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "base/mapping.h"
#include "tests/accel/bare_vcpu.h"
#include "tests/accel/guest_fixture.h"

namespace halcyon::testing_support {
namespace {

class RunEntry : public ::testing::Test {
protected:
    void SetUp() override { ASSERT_TRUE(install_kick_handler()); }
};

TEST_F(RunEntry, EntersWhenTheWordIsClearAndReturnsTheRawResult) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    ASSERT_EQ(::write(pipe[1], "abc", 3), 3);
    const uint32_t word = 0;
    int available = 0;
    EXPECT_EQ(
        halcyon_run_entry(pipe[0], FIONREAD, reinterpret_cast<unsigned long>(&available), &word),
        0);
    EXPECT_EQ(available, 3);
    EXPECT_EQ(halcyon_run_entry(-1, FIONREAD, 0, &word), -EBADF);
    ::close(pipe[0]);
    ::close(pipe[1]);
}

TEST_F(RunEntry, DoesNotEnterWhenTheWordIsSet) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const uint32_t word = 1;
    int available = -1;
    EXPECT_EQ(
        halcyon_run_entry(pipe[0], FIONREAD, reinterpret_cast<unsigned long>(&available), &word),
        kRunEntryAborted);
    EXPECT_EQ(available, -1);
    ::close(pipe[0]);
    ::close(pipe[1]);
}

TEST_F(RunEntry, TheAbortedResultIsNoErrno) {
    EXPECT_LT(kRunEntryAborted, -4095);
}

TEST_F(RunEntry, TheHandlerBlocksEverySignalAndDoesNotRestartCalls) {
    // The kernel's view, since a sanitizer may show its own.
    struct {
        void* handler;
        unsigned long flags;
        void* restorer;
        uint64_t mask;
    } action{};
    ASSERT_EQ(::syscall(SYS_rt_sigaction, kick_signal(), nullptr, &action, sizeof(action.mask)), 0);
    EXPECT_NE(action.handler, nullptr);
    EXPECT_NE(action.flags & SA_SIGINFO, 0u);
    EXPECT_EQ(action.flags & SA_RESTART, 0u);
    for (int signal = 1; signal <= 64; ++signal) {
        if (signal == SIGKILL || signal == SIGSTOP || signal == 32 || signal == 33) {
            continue;  // cannot be blocked; 32 and 33 are the C library's own
        }
        EXPECT_NE(action.mask & uint64_t{1} << (signal - 1), 0u) << "signal " << signal;
    }
}

TEST_F(RunEntry, AVcpuThreadTakesTheKickSignalAndFaultsOnly) {
    std::thread thread([] {
        ASSERT_TRUE(prepare_vcpu_thread_signals());
        sigset_t mask;
        ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, nullptr, &mask), 0);
        EXPECT_EQ(sigismember(&mask, kick_signal()), 0);
        for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) {
            EXPECT_EQ(sigismember(&mask, signal), 0) << signal;
        }
        for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGALRM, SIGCHLD, SIGUSR1, SIGUSR2,
                                 SIGPIPE, SIGPROF, SIGRTMIN, SIGRTMAX}) {
            EXPECT_EQ(sigismember(&mask, signal), 1) << signal;
        }
    });
    thread.join();
}

/// How many kick signals are pending for the calling thread, which blocks them: 0 or 1.
int pending_kicks() {
    sigset_t pending;
    ::sigpending(&pending);
    return sigismember(&pending, kick_signal());
}

class BlockedKick {
public:
    BlockedKick() {
        sigset_t mask;
        ::sigemptyset(&mask);
        ::sigaddset(&mask, kick_signal());
        ::pthread_sigmask(SIG_BLOCK, &mask, &before_);
    }
    ~BlockedKick() {
        // Takes what is pending, so that it is not handled later.
        sigset_t mask;
        ::sigemptyset(&mask);
        ::sigaddset(&mask, kick_signal());
        const timespec now{};
        while (::sigtimedwait(&mask, nullptr, &now) > 0) {
        }
        ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }

private:
    sigset_t before_;
};

TEST_F(RunEntry, AKickWithoutAThreadOnlySetsTheWord) {
    const BlockedKick blocked;
    KickTarget target;
    EXPECT_FALSE(target.is_set());
    target.kick();
    EXPECT_TRUE(target.is_set());
    EXPECT_EQ(*target.word(), 1u);
    EXPECT_EQ(pending_kicks(), 0);
    target.clear();
    EXPECT_FALSE(target.is_set());
}

TEST_F(RunEntry, AKickFromTheThreadItselfOnlySetsTheWord) {
    const BlockedKick blocked;
    KickTarget target;
    target.attach_current_thread();
    EXPECT_TRUE(target.is_current_thread());
    target.kick();
    EXPECT_TRUE(target.is_set());
    EXPECT_EQ(pending_kicks(), 0);
}

TEST_F(RunEntry, AKickFromAnotherThreadSetsTheWordAndSignals) {
    const BlockedKick blocked;
    KickTarget target;
    target.attach_current_thread();
    std::thread([&] {
        EXPECT_FALSE(target.is_current_thread());
        target.kick();
    }).join();
    EXPECT_TRUE(target.is_set());
    EXPECT_EQ(pending_kicks(), 1);
}

TEST_F(RunEntry, AKickArrivesThoughNoMoreSignalsCanBeQueued) {
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_SIGPENDING, &before), 0);
    const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_SIGPENDING, &none), 0);
    {
        const BlockedKick blocked;
        KickTarget target;
        target.attach_current_thread();
        std::thread([&] { target.kick(); }).join();
        EXPECT_EQ(pending_kicks(), 1);
    }
    EXPECT_EQ(::setrlimit(RLIMIT_SIGPENDING, &before), 0);
}

TEST_F(RunEntry, AfterDetachNobodyIsSignalled) {
    const BlockedKick blocked;
    KickTarget target;
    target.attach_current_thread();
    target.detach();
    std::thread([&] { target.kick(); }).join();
    EXPECT_TRUE(target.is_set());
    EXPECT_EQ(pending_kicks(), 0);
}

TEST_F(RunEntry, AKickOfAThreadThatHasEndedDoesNothing) {
    KickTarget target;
    std::thread([&] { target.attach_current_thread(); }).join();
    target.kick();
    EXPECT_TRUE(target.is_set());
}

class RunEntryOnHypervisor : public RunEntry,
                             public ::testing::WithParamInterface<BareHypervisor> {};
INSTANTIATE_TEST_SUITE_P(Hypervisor, RunEntryOnHypervisor, ::testing::ValuesIn(bare_hypervisors()),
                         [](const auto& hypervisor) { return hypervisor.param.name; });

/// Many kicks at random moments of a vCPU that spins, each awaited: none may be lost, since nothing
/// else would end the run and no kick is repeated.
TEST_P(RunEntryOnHypervisor, ThousandsOfKicksAtRandomMomentsAndNoneIsLost) {
    if (const auto why = GetParam().unavailable()) {
        GTEST_SKIP() << *why;
    }
    constexpr int kKicks = 2000;
    auto memory = Mapping::anonymous(BareVcpu::kMemorySize, "guest memory");
    ASSERT_TRUE(memory);
    const auto vcpu = GetParam().make(memory->data());
    ASSERT_TRUE(vcpu->ok());
    KickTarget target;
    Event attached;
    Event came_back;
    std::atomic<bool> ending{false};
    long unexpected = 0;
    int aborted = 0;
    std::thread thread([&] {
        ASSERT_TRUE(prepare_vcpu_thread_signals());
        target.attach_current_thread();
        attached.report();
        while (!ending.load()) {
            const long result =
                halcyon_run_entry(vcpu->fd(), vcpu->request(), vcpu->argument(), target.word());
            if (result == kRunEntryAborted) {
                ++aborted;
            } else if (result != -EINTR &&
                       result != -EAGAIN) {  // the latter from an old mshv driver
                unexpected = result;
                break;
            }
            if (target.is_set()) {
                target.clear();
                came_back.report();
            }
        }
        target.detach();
    });
    ASSERT_TRUE(attached.wait());
    std::mt19937 random(3);
    int sent = 0;
    for (; sent < kKicks; ++sent) {
        // Mostly nothing or little: around the entry is where it matters.
        for (unsigned turns = random() % (1u << random() % 12); turns > 0; --turns) {
            __builtin_ia32_pause();
        }
        target.kick();
        if (!came_back.wait()) {
            ADD_FAILURE() << "kick " << sent << " was lost";
            break;
        }
    }
    ending.store(true);
    target.kick();
    thread.join();
    EXPECT_EQ(sent, kKicks);
    EXPECT_EQ(unexpected, 0);
    RecordProperty("aborted_entries", aborted);
}

}  // namespace
}  // namespace halcyon::testing_support
