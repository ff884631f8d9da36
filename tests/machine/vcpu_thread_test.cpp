#include "machine/vcpu_thread.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <ctime>
#include <fstream>
#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include "accel/run_entry.h"
#include "base/unique_fd.h"
#include "machine/vcpu_set.h"
#include "tests/machine/fake_accelerator.h"
#include "tests/machine/test_loop.h"

namespace halcyon {
namespace {

/// Asks for a reset when port 1 is written, as a keyboard controller would. A test says what a
/// write to port 3 does.
class ResettingIo : public GuestIo {
public:
    explicit ResettingIo(PowerGate& gate) : gate_(gate) {}
    void pio_read(PioPort, std::span<std::byte>) override {}
    void pio_write(PioPort port, std::span<const std::byte>) override {
        if (port == PioPort(1)) {
            gate_.request(PowerRequest::kReset);
        } else if (port == PioPort(3)) {
            on_port_3();
        }
    }
    void mmio_read(Gpa, std::span<std::byte>) override {}
    void mmio_write(Gpa, std::span<const std::byte>) override {}
    std::optional<uint8_t> acknowledge_extint() override { return std::nullopt; }
    void end_of_interrupt(uint8_t) override {}

    std::function<void()> on_port_3;

private:
    PowerGate& gate_;
};

class VcpuSetTest : public testing::Test {
protected:
    void launch(uint32_t count) {
        launch_without_waiting(count);
        for (const auto& thread : set_.threads()) {
            thread->wait_until_parked();
        }
    }
    void launch_without_waiting(uint32_t count) {
        for (uint32_t i = 0; i < count; ++i) {
            auto thread = std::make_unique<VcpuThread>(
                VcpuIndex(i), io_, gate_, [this](VcpuIndex index, const RunOutcome& outcome) {
                    loop_.post(
                        [this, index, outcome] { exits_.emplace_back(index.value(), outcome); });
                });
            ASSERT_TRUE(thread->launch(partition_));
            set_.add(std::move(thread));
        }
    }
    void TearDown() override {
        if (joined_) {
            return;
        }
        set_.ask_all(VcpuGoal::kEnd, [] {});
        set_.join_all();
        EXPECT_EQ(hypervisor_.open_vcpus, 0);
    }
    bool ask(VcpuGoal goal) {
        bool done = false;
        set_.ask_all(goal, [&done] { done = true; });
        return loop_.run_until([&done] { return done; });
    }
    /// The next run of vCPU 0 writes to port 3.
    void write_port_3() {
        const std::lock_guard lock(hypervisor_.mutex);
        hypervisor_.next_port_write[0] = {3, 0};
    }
    VcpuThread& thread(size_t index) { return *set_.threads()[index]; }
    uint64_t rekicks() {
        uint64_t sum = 0;
        for (const auto& thread : set_.threads()) {
            sum += thread->rekicks();
        }
        return sum;
    }

    bool joined_ = false;
    test::FakeHypervisor hypervisor_;
    test::FakePartition partition_{hypervisor_};
    test::TestLoop loop_;
    int requests_ = 0;
    PowerGate gate_{[this](PowerRequest) { ++requests_; }};
    ResettingIo io_{gate_};
    std::vector<std::pair<uint32_t, RunOutcome>> exits_;
    VcpuSet set_{loop_};
};

TEST_F(VcpuSetTest, LaunchedThreadIsParkedAndNamed) {
    launch(1);
    EXPECT_EQ(thread(0).state(), VcpuState::kPaused);
    std::string name;
    std::getline(
        std::ifstream("/proc/self/task/" + std::to_string(thread(0).thread_id()) + "/comm"), name);
    EXPECT_EQ(name, "vcpu0");
    EXPECT_EQ(hypervisor_.runs, 0);
}

TEST_F(VcpuSetTest, AThreadTakesTheKickSignalAndItsStarterKeepsItsMask) {
    sigset_t before;
    ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, nullptr, &before), 0);
    launch(1);
    sigset_t after;
    ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, nullptr, &after), 0);
    std::ifstream status("/proc/self/task/" + std::to_string(thread(0).thread_id()) + "/status");
    uint64_t blocked = 0;
    for (std::string word; status >> word;) {
        if (word == "SigBlk:") {
            status >> std::hex >> blocked;
        }
    }
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGALRM, SIGUSR1, kick_signal()}) {
        EXPECT_EQ(::sigismember(&after, signal), ::sigismember(&before, signal)) << signal;
        EXPECT_EQ((blocked >> (signal - 1) & 1) != 0, signal != kick_signal()) << signal;
    }
}

TEST_F(VcpuSetTest, TheEndAskedForBeforeTheThreadsAreUpIsReached) {
    launch_without_waiting(8);
    ASSERT_TRUE(ask(VcpuGoal::kEnd));
    for (const auto& vcpu : set_.threads()) {
        EXPECT_EQ(vcpu->state(), VcpuState::kStopping);
    }
    EXPECT_EQ(hypervisor_.runs, 0);
}

TEST_F(VcpuSetTest, TheRunAskedForBeforeTheThreadsAreUpIsReached) {
    launch_without_waiting(8);
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    EXPECT_TRUE(hypervisor_.wait_inside(8));
}

TEST_F(VcpuSetTest, LaunchFailsWhenTheVcpuCannotBeMade) {
    hypervisor_.refuse_vcpu = true;
    VcpuThread thread(VcpuIndex(0), io_, gate_, {});
    auto result = thread.launch(partition_);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message(), "no more vCPUs");
    EXPECT_EQ(thread.state(), VcpuState::kCreated);
}

TEST_F(VcpuSetTest, RunIsAcknowledgedAndEntersTheGuest) {
    launch(2);
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    EXPECT_TRUE(hypervisor_.wait_inside(2));
    EXPECT_EQ(thread(0).state(), VcpuState::kRunning);
}

TEST_F(VcpuSetTest, PauseWhileRunningIsAcknowledged) {
    launch(8);
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    ASSERT_TRUE(hypervisor_.wait_inside(8));
    ASSERT_TRUE(ask(VcpuGoal::kPause));
    EXPECT_EQ(hypervisor_.inside, 0);
    for (const auto& vcpu : set_.threads()) {
        EXPECT_EQ(vcpu->state(), VcpuState::kPaused);
        EXPECT_EQ(vcpu->kicks(), 1u);
    }
    EXPECT_EQ(rekicks(), 0u);
}

TEST_F(VcpuSetTest, PauseWhilePausedIsAcknowledged) {
    launch(2);
    EXPECT_TRUE(ask(VcpuGoal::kPause));
    EXPECT_TRUE(ask(VcpuGoal::kPause));
    EXPECT_EQ(hypervisor_.runs, 0);
}

TEST_F(VcpuSetTest, PauseBeforeTheThreadHasEnteredIsAcknowledged) {
    launch(4);
    for (int i = 0; i < 500; ++i) {
        set_.ask_all(VcpuGoal::kRun, [] { FAIL() << "given up by the pause"; });
        ASSERT_TRUE(ask(VcpuGoal::kPause));
        ASSERT_EQ(hypervisor_.inside, 0);
    }
    EXPECT_EQ(rekicks(), 0u);
}

TEST_F(VcpuSetTest, RunAfterPauseRunsAgain) {
    launch(1);
    for (int i = 1; i <= 3; ++i) {
        ASSERT_TRUE(ask(VcpuGoal::kRun));
        ASSERT_TRUE(hypervisor_.wait_inside(1));
        ASSERT_TRUE(ask(VcpuGoal::kPause));
    }
    EXPECT_GE(hypervisor_.runs, 3);
}

TEST_F(VcpuSetTest, KickWithoutRequestGoesOnRunning) {
    launch(1);
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    ASSERT_TRUE(hypervisor_.wait_inside(1));
    thread(0).kick();
    EXPECT_TRUE(
        hypervisor_.wait([this] { return hypervisor_.runs == 2 && hypervisor_.inside == 1; }));
    EXPECT_EQ(thread(0).state(), VcpuState::kRunning);
}

TEST_F(VcpuSetTest, ExitIsPostedAndTheThreadParks) {
    launch(2);
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    hypervisor_.end_run(1, {RunStop::kFault, "bad instruction"});
    ASSERT_TRUE(loop_.run_until([this] { return !exits_.empty(); }));
    EXPECT_EQ(exits_[0].first, 1u);
    EXPECT_EQ(exits_[0].second.stop, RunStop::kFault);
    EXPECT_EQ(exits_[0].second.detail, "bad instruction");
    ASSERT_TRUE(ask(VcpuGoal::kPause));
    EXPECT_EQ(thread(1).state(), VcpuState::kExited);
    EXPECT_EQ(thread(0).state(), VcpuState::kPaused);
}

TEST_F(VcpuSetTest, ExitedVcpuRunsAgainWhenAsked) {
    launch(1);
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    hypervisor_.end_run(0, {RunStop::kTripleFault, ""});
    ASSERT_TRUE(loop_.run_until([this] { return !exits_.empty(); }));
    ASSERT_TRUE(ask(VcpuGoal::kPause));
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    EXPECT_TRUE(hypervisor_.wait_inside(1));
    EXPECT_EQ(thread(0).state(), VcpuState::kRunning);
}

TEST_F(VcpuSetTest, VcpuThatAskedForAResetExecutesNothingMore) {
    launch(1);
    {
        const std::lock_guard lock(hypervisor_.mutex);
        hypervisor_.next_port_write[0] = {1, 0xfe};
    }
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    ASSERT_TRUE(loop_.run_until([this] { return thread(0).state() == VcpuState::kExited; }));
    EXPECT_EQ(requests_, 1);
    EXPECT_EQ(hypervisor_.runs, 1);
    gate_.clear();
    ASSERT_TRUE(ask(VcpuGoal::kPause));
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    EXPECT_TRUE(hypervisor_.wait_inside(1));
}

TEST_F(VcpuSetTest, OtherPortWritesDoNotLeaveTheRun) {
    launch(1);
    {
        const std::lock_guard lock(hypervisor_.mutex);
        hypervisor_.next_port_write[0] = {2, 0xfe};
    }
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    ASSERT_TRUE(hypervisor_.wait([this] { return hypervisor_.next_port_write.empty(); }));
    ASSERT_TRUE(hypervisor_.wait_inside(1));
    EXPECT_EQ(hypervisor_.runs, 1);
}

TEST_F(VcpuSetTest, EndFromEveryStateJoins) {
    launch(3);
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    ASSERT_TRUE(hypervisor_.wait_inside(3));
    hypervisor_.end_run(2, {RunStop::kHalted, ""});
    ASSERT_TRUE(loop_.run_until([this] { return thread(2).state() == VcpuState::kExited; }));
    ASSERT_TRUE(ask(VcpuGoal::kEnd));
    EXPECT_EQ(hypervisor_.inside, 0);
    EXPECT_EQ(thread(0).state(), VcpuState::kStopping);
}

TEST_F(VcpuSetTest, JoinedThreadsAreGoneFromProc) {
    launch(8);
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    std::vector<std::string> paths;
    for (const auto& vcpu : set_.threads()) {
        paths.push_back("/proc/self/task/" + std::to_string(vcpu->thread_id()));
        ASSERT_EQ(::access(paths.back().c_str(), F_OK), 0);
    }
    ASSERT_TRUE(ask(VcpuGoal::kEnd));
    for (size_t i = 0; i < paths.size(); ++i) {
        thread(i).join();
        EXPECT_NE(::access(paths[i].c_str(), F_OK), 0) << paths[i];
    }
    joined_ = true;
}

TEST_F(VcpuSetTest, LostKickIsRepeatedAndCounted) {
    launch(2);
    hypervisor_.deaf_to[1] = 1;
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    ASSERT_TRUE(hypervisor_.wait_inside(2));
    ASSERT_TRUE(ask(VcpuGoal::kPause));
    EXPECT_EQ(thread(0).rekicks(), 0u);
    EXPECT_EQ(thread(1).rekicks(), 1u);
    EXPECT_EQ(thread(1).kicks(), 2u);
}

TEST_F(VcpuSetTest, SeveralLostKicksAreAllRepeated) {
    launch(1);
    hypervisor_.deaf_to[0] = 3;
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    ASSERT_TRUE(hypervisor_.wait_inside(1));
    ASSERT_TRUE(ask(VcpuGoal::kPause));
    EXPECT_EQ(thread(0).rekicks(), 3u);
}

TEST_F(VcpuSetTest, KickWhoseSignalIsPendingIsNotTakenForLost) {
    launch(1);
    std::atomic<bool> busy = false;
    io_.on_port_3 = [this, &busy] {
        sigset_t kick;
        ::sigemptyset(&kick);
        ::sigaddset(&kick, kick_signal());
        ::pthread_sigmask(SIG_BLOCK, &kick, nullptr);
        ::pthread_kill(::pthread_self(), kick_signal());
        busy = true;
        loop_.post([] {});  // wakes the loop to see it
        timespec used{};
        do {
            ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
        } while (used.tv_sec == 0 && used.tv_nsec < 60'000'000);
        const timespec no_wait{};
        ::sigtimedwait(&kick, nullptr, &no_wait);
        ::pthread_sigmask(SIG_UNBLOCK, &kick, nullptr);
    };
    write_port_3();
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    ASSERT_TRUE(loop_.run_until([&] { return busy.load(); }));
    ASSERT_TRUE(ask(VcpuGoal::kPause));
    EXPECT_EQ(rekicks(), 0u);
}

TEST_F(VcpuSetTest, KickOfAThreadThatWritesTheLogIsNotTakenForLost) {
    launch(1);
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const UniqueFd reader(ends[0]);
    const UniqueFd writer(ends[1]);
    const std::vector<char> text(static_cast<size_t>(::fcntl(writer.get(), F_GETPIPE_SZ)) + 1);
    std::atomic<size_t> written = 0;
    io_.on_port_3 = [&] {
        written = static_cast<size_t>(::write(writer.get(), text.data(), text.size()));
    };
    write_port_3();
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    pollfd begun{reader.get(), POLLIN, 0};  // the vCPU is in the write, whose end nobody reads yet
    ASSERT_EQ(::poll(&begun, 1, 30'000), 1);
    bool paused = false;
    set_.ask_all(VcpuGoal::kPause, [&paused] { paused = true; });
    const SteadyTime start = loop_.now();
    ASSERT_TRUE(
        loop_.run_until([&] { return loop_.now() - start >= 5 * VcpuSet::kRekickInterval; }));
    EXPECT_EQ(rekicks(), 0u);
    std::vector<char> read(text.size());
    ASSERT_GT(::read(reader.get(), read.data(), read.size()), 0);
    EXPECT_TRUE(loop_.run_until([&paused] { return paused; }));
    EXPECT_EQ(written, text.size());
}

TEST_F(VcpuSetTest, StuckVcpuIsNamedWithItsThread) {
    launch(2);
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    ASSERT_TRUE(hypervisor_.wait_inside(2));
    hypervisor_.stuck = true;
    set_.ask_all(VcpuGoal::kPause, [] {});
    const std::string stuck = set_.describe_unacknowledged();
    EXPECT_EQ(stuck.find("vCPU 0 (thread " + std::to_string(thread(0).thread_id()) + " "), 0u)
        << stuck;
    hypervisor_.release();
}

TEST_F(VcpuSetTest, NoVcpusAcknowledgeAtOnce) {
    EXPECT_TRUE(ask(VcpuGoal::kRun));
    EXPECT_TRUE(ask(VcpuGoal::kPause));
    EXPECT_EQ(set_.describe_unacknowledged(), "");
}

// -- proofs that vCPUs are alive ------------------------------------------------------------------

TEST_F(VcpuSetTest, RunningVcpusProveThatTheyAreAliveAndRunOn) {
    launch(3);
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    ASSERT_TRUE(hypervisor_.wait_inside(3));
    bool proven = false;
    set_.prove_alive([&] { proven = true; });
    EXPECT_TRUE(loop_.run_until([&] { return proven; }));
    EXPECT_EQ(set_.describe_unproven(), "");
    // Six runs, and one more for a vCPU that proved it before its kick came.
    EXPECT_TRUE(hypervisor_.wait([&] { return hypervisor_.runs >= 6 && hypervisor_.inside == 3; }));
    EXPECT_EQ(rekicks(), 0u);
}

TEST_F(VcpuSetTest, ParkedVcpusNeedNoKickToProveIt) {
    launch(2);
    bool proven = false;
    set_.prove_alive([&] { proven = true; });
    EXPECT_TRUE(loop_.run_until([&] { return proven; }));
    EXPECT_EQ(thread(0).kicks(), 0u);
    EXPECT_EQ(hypervisor_.runs, 0);
}

TEST_F(VcpuSetTest, NoVcpusAreAllAlive) {
    bool proven = false;
    set_.prove_alive([&] { proven = true; });
    EXPECT_TRUE(loop_.run_until([&] { return proven; }));
}

TEST_F(VcpuSetTest, AWedgedVcpuIsNamedAndProvesItOnceItIsFree) {
    launch(2);
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    ASSERT_TRUE(hypervisor_.wait_inside(2));
    {
        const std::lock_guard lock(hypervisor_.mutex);
        hypervisor_.stuck = true;
    }
    bool proven = false;
    set_.prove_alive([&] { proven = true; });
    const SteadyTime start = loop_.now();
    ASSERT_TRUE(
        loop_.run_until([&] { return loop_.now() - start >= 5 * VcpuSet::kRekickInterval; }));
    EXPECT_FALSE(proven);
    const std::string wedged = set_.describe_unproven();
    EXPECT_EQ(wedged.find("vCPU 0 (thread " + std::to_string(thread(0).thread_id()) + " "), 0u)
        << wedged;
    EXPECT_EQ(thread(0).kicks(), 1u);
    hypervisor_.release();
    EXPECT_TRUE(loop_.run_until([&] { return proven; }));
}

TEST_F(VcpuSetTest, AVcpuThatExitsByItselfHasProvenIt) {
    launch(1);
    ASSERT_TRUE(ask(VcpuGoal::kRun));
    ASSERT_TRUE(hypervisor_.wait_inside(1));
    hypervisor_.end_run_when_kicked(0, {.stop = RunStop::kHalted});
    bool proven = false;
    set_.prove_alive([&] { proven = true; });
    EXPECT_TRUE(loop_.run_until([&] { return proven; }));
}

TEST_F(VcpuSetTest, AProofAndARequestAtTheSameTimeBothComeThrough) {
    launch(4);
    for (int round = 0; round < 100; ++round) {
        bool proven = false;
        set_.prove_alive([&] { proven = true; });
        ASSERT_TRUE(ask(round % 2 == 0 ? VcpuGoal::kRun : VcpuGoal::kPause));
        ASSERT_TRUE(loop_.run_until([&] { return proven; }));
    }
    EXPECT_EQ(rekicks(), 0u);
}

}  // namespace
}  // namespace halcyon
