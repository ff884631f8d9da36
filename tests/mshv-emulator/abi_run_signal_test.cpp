/// RUN_VP and signals, and other threads' calls while it runs.
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "tests/mshv-emulator/abi_run_fixture.h"

namespace halcyon::mshv {
namespace {

constexpr auto kRbx = static_cast<RegisterName>(0x20003);

/// A handler that does nothing but make the signal interrupt.
class Handler {
public:
    Handler(
        int number, int flags, void (*handle)(int) = [](int) {})
        : number_(number) {
        struct sigaction action {};
        action.sa_handler = handle;
        action.sa_flags = flags;
        sigaction(number, &action, &old_);
    }
    ~Handler() { sigaction(number_, &old_, nullptr); }
    Handler(const Handler&) = delete;
    Handler& operator=(const Handler&) = delete;

private:
    int number_;
    struct sigaction old_ {};
};

/// Whether the launcher was asked for the root kernel's scheduler, which does not suspend a VP.
bool has_root_scheduler() {
    const char* options = std::getenv("MSHV_EMULATOR");
    return options != nullptr && std::strstr(options, "scheduler=root") != nullptr;
}

class AbiRunSignalTest : public AbiRunTest {
protected:
    /// Waits until the guest, which counts in RBX, is running.
    void wait_until_running() {
        const uint64_t before = get(kRbx).low;
        while (get(kRbx).low == before) {
        }
    }

    /// RUN_VP of a guest that only counts, until it is signalled; its result.
    int run_until_signalled(int signal) {
        load({0x43, 0xeb, 0xfd});  // inc bx; jmp
        int result = 0;
        std::thread vcpu([this, &result] { result = run(); });
        wait_until_running();
        pthread_kill(vcpu.native_handle(), signal);
        vcpu.join();
        return result;
    }
};

TEST_F(AbiRunSignalTest, SignalInterrupts) {
    const Handler handler(SIGUSR1, 0);
    EXPECT_EQ(run_until_signalled(SIGUSR1), EINTR);
}

TEST_F(AbiRunSignalTest, SignalInterruptsAlthoughItsHandlerSaysRestart) {
    const Handler handler(SIGUSR1, SA_RESTART);
    EXPECT_EQ(run_until_signalled(SIGUSR1), EINTR);
}

TEST_F(AbiRunSignalTest, RegisterPageIsValidAfterASignalWhenTheProcessorIsSuspended) {
    const Handler handler(SIGUSR1, 0);
    ASSERT_EQ(run_until_signalled(SIGUSR1), EINTR);
    if (has_root_scheduler()) {
        EXPECT_EQ(page().is_valid, 0);
        return;
    }
    EXPECT_EQ(page().is_valid, 1);
    EXPECT_GE(page().rip, kCode);
    EXPECT_LE(page().rip, kCode + 1);
    EXPECT_EQ(page().gpr[3], get(kRbx).low);
}

TEST_F(AbiRunSignalTest, RunGoesOnAfterASignal) {
    const Handler handler(SIGUSR1, 0);
    ASSERT_EQ(run_until_signalled(SIGUSR1), EINTR);
    page().rip = kCode + 3;
    page().dirty = kDirtyRip;
    ram[kCode + 3] = 0xe6;
    ram[kCode + 4] = 0x80;
    EXPECT_EQ(expect_io().header.rip, kCode + 3);
}

TEST_F(AbiRunSignalTest, SignalBeforeTheGuestHasRunInterrupts) {
    // It arrives in the call: pending before, it would be delivered before.
    const Handler handler(SIGUSR1, 0);
    load({0xeb, 0xfe});
    std::atomic<bool> ended = false;
    std::thread vcpu([this, &ended] {
        EXPECT_EQ(run(), EINTR);
        ended = true;
    });
    while (!ended) {
        pthread_kill(vcpu.native_handle(), SIGUSR1);
        std::this_thread::yield();
    }
    vcpu.join();
}

TEST_F(AbiRunSignalTest, BlockedSignalDoesNotInterrupt) {
    load({0xe6, 0x80});
    std::thread([this] {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        pthread_sigmask(SIG_BLOCK, &set, nullptr);
        pthread_kill(pthread_self(), SIGUSR1);
        expect_io();
        int number = 0;
        sigwait(&set, &number);
        EXPECT_EQ(number, SIGUSR1);
    }).join();
}

TEST_F(AbiRunSignalTest, IgnoredSignalDoesNotInterrupt) {
    const Handler handler(SIGUSR1, 0);
    load({0x43, 0xeb, 0xfd});
    std::atomic<int> returns = 0;
    std::thread vcpu([this, &returns] {
        EXPECT_EQ(run(), EINTR);
        ++returns;
    });
    wait_until_running();
    for (int i = 0; i < 20; ++i) {
        pthread_kill(vcpu.native_handle(), SIGWINCH);  // ignored by default
        wait_until_running();
    }
    EXPECT_EQ(returns, 0);
    pthread_kill(vcpu.native_handle(), SIGUSR1);
    vcpu.join();
}

TEST_F(AbiRunSignalTest, PartitionsCallsReachARunningProcessor) {
    const Handler handler(SIGUSR1, 0);
    load({0x43, 0xeb, 0xfd});
    int result = 0;
    std::thread vcpu([this, &result] { result = run(); });
    wait_until_running();
    for (int i = 0; i < 200; ++i) {
        const uint64_t rip = get(RegisterName::kRip).low;
        EXPECT_TRUE(rip == kCode || rip == kCode + 1) << rip;
    }
    EXPECT_EQ(set(static_cast<RegisterName>(0x2000f), 0x1515), 0);
    EXPECT_EQ(get(static_cast<RegisterName>(0x2000f)).low, 0x1515U);
    // To behind the loop, where it ends: nothing of all this has interrupted it.
    ram[kCode + 3] = 0xe6;
    ram[kCode + 4] = 0x80;
    EXPECT_EQ(set(RegisterName::kRip, kCode + 3), 0);
    vcpu.join();
    EXPECT_EQ(result, 0);
    EXPECT_EQ(message.type, MessageType::kX64IoPortIntercept);
}

TEST_F(AbiRunSignalTest, WhatGetsAProcessorOutIsNotSeenByTheProgram) {
    // Any signal that the program did not send, in a thread that runs a VP while others look at it.
    static std::atomic<int> strays = 0;
    std::vector<std::unique_ptr<Handler>> handlers;
    const auto count = [](int) { ++strays; };
    for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) {
        handlers.push_back(std::make_unique<Handler>(number, 0, count));
    }
    const Handler handler(SIGUSR1, 0);
    load({0x43, 0xeb, 0xfd});
    constexpr int kSignals = 100;
    std::atomic<int> interrupted = 0;
    std::thread vcpu([&] {
        while (interrupted < kSignals) {
            EXPECT_EQ(run(), EINTR);
            ++interrupted;
        }
    });
    wait_until_running();
    std::vector<std::thread> others;
    others.reserve(3);
    for (int i = 0; i < 3; ++i) {
        others.emplace_back([this] {
            for (int n = 0; n < 300; ++n) {
                const uint64_t rip = get(RegisterName::kRip).low;
                EXPECT_TRUE(rip == kCode || rip == kCode + 1) << rip;
            }
        });
    }
    for (std::thread& other : others) {
        other.join();
    }
    EXPECT_EQ(interrupted, 0);
    // One between two runs interrupts none, so until the last has.
    while (interrupted < kSignals) {
        pthread_kill(vcpu.native_handle(), SIGUSR1);
        get(RegisterName::kRip);
    }
    vcpu.join();
    EXPECT_EQ(strays, 0);
}

TEST_F(AbiRunSignalTest, ProcessorsOwnCallsWaitForTheRun) {
    const Handler handler(SIGUSR1, 0);
    load({0x43, 0xeb, 0xfd});
    std::thread vcpu([this] { EXPECT_EQ(run(), EINTR); });
    wait_until_running();
    std::atomic<bool> ended = false;
    std::thread other([this, &ended] {
        // Whatever it is: it is not looked at before.
        EXPECT_NE(ioctl(vps[0], kIoctlGetVpState, nullptr), 0);
        ended = true;
    });
    for (int i = 0; i < 50; ++i) {
        wait_until_running();
    }
    EXPECT_FALSE(ended);
    pthread_kill(vcpu.native_handle(), SIGUSR1);
    vcpu.join();
    other.join();
}

TEST_F(AbiRunSignalTest, SuspendingARunningProcessorStopsItUntilASignal) {
    const Handler handler(SIGUSR1, 0);
    load({0x43, 0xeb, 0xfd});
    int result = 0;
    std::thread vcpu([this, &result] { result = run(); });
    wait_until_running();
    ASSERT_EQ(set(RegisterName::kExplicitSuspend, 1), 0);
    if (has_root_scheduler()) {
        wait_until_running();  // the kernel has cleared it
        pthread_kill(vcpu.native_handle(), SIGUSR1);
        vcpu.join();
        EXPECT_EQ(result, EINTR);
        return;
    }
    const uint64_t stopped = get(kRbx).low;
    for (int i = 0; i < 20; ++i) {
        EXPECT_EQ(get(kRbx).low, stopped);
    }
    pthread_kill(vcpu.native_handle(), SIGUSR1);
    vcpu.join();
    EXPECT_EQ(result, EINTR);
}

TEST_F(AbiRunSignalTest, SuspendRegistersShowWhy) {
    EXPECT_EQ(get(RegisterName::kExplicitSuspend).low, 1U);
    EXPECT_EQ(get(RegisterName::kInterceptSuspend).low, 0U);
    load({0xe6, 0x80});
    expect_io();
    EXPECT_EQ(get(RegisterName::kExplicitSuspend).low, 0U);
    EXPECT_EQ(get(RegisterName::kInterceptSuspend).low, 1U);
    const Handler handler(SIGUSR1, 0);
    ASSERT_EQ(run_until_signalled(SIGUSR1), EINTR);
    EXPECT_EQ(get(RegisterName::kExplicitSuspend).low, has_root_scheduler() ? 0U : 1U);
    EXPECT_EQ(get(RegisterName::kInterceptSuspend).low, 0U);
}

TEST_F(AbiRunSignalTest, HaltedProcessorIsInterrupted) {
    const Handler handler(SIGUSR1, 0);
    load({0xf4});
    std::atomic<bool> ended = false;
    std::thread vcpu([this, &ended] {
        EXPECT_EQ(run(), EINTR);
        ended = true;
    });
    while ((get(RegisterName::kInternalActivityState).low & 2) == 0) {
        std::this_thread::yield();
    }
    EXPECT_FALSE(ended);
    pthread_kill(vcpu.native_handle(), SIGUSR1);
    vcpu.join();
    EXPECT_EQ(get(RegisterName::kRip).low, kCode + 1);
}

}  // namespace
}  // namespace halcyon::mshv
