#include "machine/machine.h"

#include <thread>

#include <gtest/gtest.h>

#include "tests/machine/fake_accelerator.h"
#include "tests/machine/temp_file.h"
#include "tests/machine/test_loop.h"

namespace halcyon {
namespace {

using namespace std::chrono_literals;

class Recorder : public MachineObserver {
public:
    void on_stopped() override { events.emplace_back("STOP"); }
    void on_resumed() override { events.emplace_back("RESUME"); }
    void on_reset(ShutdownCause cause) override {
        events.push_back("RESET " + std::string(to_string(cause)));
    }
    void on_powerdown() override { events.emplace_back("POWERDOWN"); }
    void on_shutdown(ShutdownCause cause) override {
        events.push_back("SHUTDOWN " + std::string(to_string(cause)));
    }
    void on_ended() override { events.emplace_back("ended"); }
    std::vector<std::string> events;
};

using Events = std::vector<std::string>;

class MachineTest : public testing::Test {
protected:
    MachineTest() {
        config_.accelerators = {&accelerator_};
        config_.firmware_path = firmware_.path();
        config_.vcpu_count = 2;
        config_.ram_size = 2_MiB;
    }
    ~MachineTest() override { hypervisor_.release(); }

    Result<void> create() {
        machine_ = TRY(Machine::create(config_, loop_, recorder_));
        return {};
    }
    /// Creates and starts, and waits until the guest runs.
    void start_running() {
        auto created = create();
        ASSERT_TRUE(created) << created.error().message();
        ASSERT_EQ(call(&Machine::start), "ok");
        ASSERT_TRUE(hypervisor_.wait_inside(static_cast<int>(config_.vcpu_count)));
        recorder_.events.clear();
    }
    /// Makes the call and runs the loop until it completes: "ok" or the error's message.
    std::string call(void (Machine::*method)(Machine::Done)) {
        return complete([&](Machine::Done done) { (machine_.get()->*method)(std::move(done)); });
    }
    std::string quit() {
        return complete([&](Machine::Done done) {
            machine_->quit(ShutdownCause::kHostQmpQuit, std::move(done));
        });
    }
    std::string complete(const std::function<void(Machine::Done)>& begin) {
        std::optional<std::string> answer;
        begin([&](Result<void> result) { answer = result ? "ok" : result.error().message(); });
        EXPECT_TRUE(loop_.run_until([&] { return answer.has_value(); }));
        return answer.value_or("never completed");
    }
    Machine::Done into(std::vector<std::string>& answers, const std::string& name) {
        return [&answers, name](const Result<void>& result) {
            answers.push_back(name + ": " + (result ? "ok" : result.error().message()));
        };
    }

    test::FakeHypervisor hypervisor_;
    test::FakeAccelerator accelerator_{hypervisor_};
    test::TempFile firmware_{std::string(65536, '\xf4')};
    test::TestLoop loop_;
    Recorder recorder_;
    MachineConfig config_;
    std::unique_ptr<Machine> machine_;
};

TEST_F(MachineTest, CreatedMachineIsPrelaunch) {
    ASSERT_TRUE(create());
    EXPECT_EQ(machine_->run_state(), RunState::kPrelaunch);
    EXPECT_EQ(machine_->vcpus().size(), 2u);
    EXPECT_EQ(hypervisor_.runs, 0);
}

TEST_F(MachineTest, StartedMachineHasAllItsThreads) {
    config_.start_paused = true;
    ASSERT_TRUE(create());
    EXPECT_EQ(call(&Machine::start), "ok");
    EXPECT_EQ(machine_->run_state(), RunState::kPrelaunch);
    for (const VcpuInfo& vcpu : machine_->vcpus()) {
        EXPECT_EQ(vcpu.state, "paused");
        EXPECT_NE(vcpu.thread_id, 0);
    }
    EXPECT_EQ(hypervisor_.runs, 0);
}

TEST_F(MachineTest, AMachineThatIsNeverStartedGoesWithItsThreads) {
    ASSERT_TRUE(create());
    machine_.reset();
    EXPECT_EQ(hypervisor_.open_vcpus, 0);
    EXPECT_EQ(hypervisor_.runs, 0);
}

TEST_F(MachineTest, StartRunsTheGuest) {
    ASSERT_TRUE(create());
    EXPECT_EQ(call(&Machine::start), "ok");
    EXPECT_EQ(machine_->run_state(), RunState::kRunning);
    EXPECT_EQ(recorder_.events, Events{"RESUME"});
    EXPECT_TRUE(hypervisor_.wait_inside(2));
}

TEST_F(MachineTest, StartPausedStaysInPrelaunchUntilResumed) {
    config_.start_paused = true;
    ASSERT_TRUE(create());
    EXPECT_EQ(call(&Machine::start), "ok");
    EXPECT_EQ(machine_->run_state(), RunState::kPrelaunch);
    EXPECT_EQ(call(&Machine::resume), "ok");
    EXPECT_EQ(machine_->run_state(), RunState::kRunning);
}

TEST_F(MachineTest, PreconfigWaitsForItsExit) {
    config_.preconfig = true;
    ASSERT_TRUE(create());
    EXPECT_EQ(call(&Machine::start), "ok");
    EXPECT_EQ(machine_->run_state(), RunState::kPreconfig);
    EXPECT_NE(call(&Machine::resume), "ok");
    EXPECT_EQ(call(&Machine::exit_preconfig), "ok");
    EXPECT_EQ(machine_->run_state(), RunState::kRunning);
    EXPECT_EQ(recorder_.events, Events{"RESUME"});
    EXPECT_EQ(call(&Machine::exit_preconfig),
              "The command is permitted only before machine initialization");
}

TEST_F(MachineTest, PauseParksEveryVcpuBeforeItCompletes) {
    start_running();
    EXPECT_EQ(call(&Machine::pause), "ok");
    EXPECT_EQ(hypervisor_.inside, 0);
    EXPECT_EQ(machine_->run_state(), RunState::kPaused);
    EXPECT_EQ(recorder_.events, Events{"STOP"});
    EXPECT_TRUE(hypervisor_.time_frozen);
}

TEST_F(MachineTest, PauseOfWhatIsNotRunningDoesNothing) {
    config_.start_paused = true;
    ASSERT_TRUE(create());
    EXPECT_EQ(call(&Machine::start), "ok");
    EXPECT_EQ(call(&Machine::pause), "ok");
    EXPECT_EQ(machine_->run_state(), RunState::kPrelaunch);
    EXPECT_EQ(recorder_.events, Events{});
}

TEST_F(MachineTest, ResumeThawsTheClockAndRuns) {
    start_running();
    ASSERT_EQ(call(&Machine::pause), "ok");
    EXPECT_EQ(call(&Machine::resume), "ok");
    EXPECT_FALSE(hypervisor_.time_frozen);
    EXPECT_EQ(recorder_.events, (Events{"STOP", "RESUME"}));
    EXPECT_EQ(call(&Machine::resume), "ok");
    EXPECT_EQ(recorder_.events.size(), 2u);
}

TEST_F(MachineTest, ResetWhileRunningRunsOn) {
    start_running();
    EXPECT_EQ(call(&Machine::reset), "ok");
    EXPECT_EQ(machine_->run_state(), RunState::kRunning);
    EXPECT_EQ(recorder_.events, Events{"RESET host-qmp-system-reset"});
    EXPECT_EQ(hypervisor_.resets, 2);
    EXPECT_TRUE(hypervisor_.wait_inside(2));
}

TEST_F(MachineTest, ResetWhilePausedEndsInPrelaunch) {
    start_running();
    ASSERT_EQ(call(&Machine::pause), "ok");
    EXPECT_EQ(call(&Machine::reset), "ok");
    EXPECT_EQ(machine_->run_state(), RunState::kPrelaunch);
    EXPECT_EQ(hypervisor_.resets, 2);
}

TEST_F(MachineTest, RequestsAreCarriedOutInOrder) {
    start_running();
    std::vector<std::string> answers;
    machine_->pause(into(answers, "pause"));
    machine_->reset(into(answers, "reset"));
    machine_->resume(into(answers, "resume"));
    machine_->pause(into(answers, "pause"));
    ASSERT_TRUE(loop_.run_until([&] { return answers.size() == 4; }));
    EXPECT_EQ(answers, (Events{"pause: ok", "reset: ok", "resume: ok", "pause: ok"}));
    EXPECT_EQ(recorder_.events, (Events{"STOP", "RESET host-qmp-system-reset", "RESUME", "STOP"}));
}

TEST_F(MachineTest, ManyRequestsThatFinishAtOnceDoNotNest) {
    config_.start_paused = true;
    ASSERT_TRUE(create());
    int left = 200000;
    Machine::Done next = [&](const Result<void>&) {
        if (--left > 0) {
            machine_->pause(next);
        }
    };
    machine_->pause(next);
    EXPECT_EQ(left, 0);
}

TEST_F(MachineTest, QuitEndsEverythingBeforeItCompletes) {
    start_running();
    EXPECT_EQ(quit(), "ok");
    EXPECT_EQ(hypervisor_.inside, 0);
    EXPECT_EQ(hypervisor_.open_vcpus, 0);
    EXPECT_FALSE(hypervisor_.open_partition);
    EXPECT_EQ(machine_->vcpus()[0].thread_id, 0);
    EXPECT_EQ(recorder_.events, (Events{"SHUTDOWN host-qmp-quit", "ended"}));
}

TEST_F(MachineTest, QuitBeforeTheFirstRun) {
    config_.start_paused = true;
    ASSERT_TRUE(create());
    EXPECT_EQ(quit(), "ok");
    EXPECT_EQ(hypervisor_.open_vcpus, 0);
}

TEST_F(MachineTest, QuitWhilePaused) {
    start_running();
    ASSERT_EQ(call(&Machine::pause), "ok");
    EXPECT_EQ(quit(), "ok");
}

TEST_F(MachineTest, QuitOvertakesWhatWaits) {
    start_running();
    std::vector<std::string> answers;
    machine_->reset(into(answers, "reset"));
    machine_->pause(into(answers, "pause"));
    machine_->quit(ShutdownCause::kHostSignal, into(answers, "quit"));
    machine_->resume(into(answers, "resume"));
    ASSERT_TRUE(loop_.run_until([&] { return answers.size() == 4; }));
    EXPECT_EQ(answers, (Events{"reset: the machine is ending", "pause: the machine is ending",
                               "resume: the machine is ending", "quit: ok"}));
    EXPECT_EQ(recorder_.events.back(), "ended");
}

TEST_F(MachineTest, EveryQuitIsAnsweredOnce) {
    start_running();
    std::vector<std::string> answers;
    machine_->quit(ShutdownCause::kHostQmpQuit, into(answers, "first"));
    machine_->quit(ShutdownCause::kHostSignal, into(answers, "second"));
    ASSERT_TRUE(loop_.run_until([&] { return answers.size() == 2; }));
    EXPECT_EQ(answers, (Events{"first: ok", "second: ok"}));
    EXPECT_EQ(recorder_.events, (Events{"SHUTDOWN host-qmp-quit", "ended"}));
    EXPECT_EQ(quit(), "ok");
}

TEST_F(MachineTest, StuckVcpuMakesQuitFailAndTheEndComesLater) {
    config_.quit_timeout = 50ms;
    start_running();
    hypervisor_.stuck = true;
    const std::string answer = quit();
    EXPECT_EQ(answer.find("vCPU 0 (thread "), 0u) << answer;
    EXPECT_NE(answer.find("has not left the hypervisor after 50 ms; the machine ends when it does"),
              std::string::npos)
        << answer;
    EXPECT_EQ(recorder_.events, Events{});
    EXPECT_NE(quit(), "ok");
    hypervisor_.release();
    EXPECT_TRUE(loop_.run_until([&] { return !recorder_.events.empty(); }));
    EXPECT_EQ(recorder_.events, (Events{"SHUTDOWN host-qmp-quit", "ended"}));
}

TEST_F(MachineTest, TripleFaultResets) {
    start_running();
    hypervisor_.end_run(0, {RunStop::kTripleFault, ""});
    ASSERT_TRUE(loop_.run_until([&] { return !recorder_.events.empty(); }));
    EXPECT_EQ(recorder_.events, Events{"RESET guest-reset"});
    EXPECT_TRUE(hypervisor_.wait_inside(2));
    EXPECT_EQ(machine_->run_state(), RunState::kRunning);
}

TEST_F(MachineTest, TripleFaultEndsTheMachineWithoutReboot) {
    config_.no_reboot = true;
    start_running();
    hypervisor_.end_run(0, {RunStop::kTripleFault, ""});
    ASSERT_TRUE(loop_.run_until([&] { return recorder_.events.size() == 2; }));
    EXPECT_EQ(recorder_.events, (Events{"SHUTDOWN guest-reset", "ended"}));
}

TEST_F(MachineTest, HostResetEndsTheMachineWithoutReboot) {
    config_.no_reboot = true;
    start_running();
    EXPECT_EQ(call(&Machine::reset), "ok");
    EXPECT_EQ(recorder_.events, (Events{"SHUTDOWN host-qmp-system-reset", "ended"}));
}

TEST_F(MachineTest, HostResetPausesWithoutRebootAndShutdown) {
    config_.no_reboot = true;
    config_.no_shutdown = true;
    start_running();
    EXPECT_EQ(call(&Machine::reset), "ok");
    EXPECT_EQ(recorder_.events, (Events{"SHUTDOWN host-qmp-system-reset", "STOP"}));
    EXPECT_EQ(machine_->run_state(), RunState::kShutdown);
}

TEST_F(MachineTest, GuestPowerOffEndsTheMachine) {
    start_running();
    hypervisor_.end_run(1, {RunStop::kPowerOff, ""});
    ASSERT_TRUE(loop_.run_until([&] { return recorder_.events.size() == 2; }));
    EXPECT_EQ(recorder_.events, (Events{"SHUTDOWN guest-shutdown", "ended"}));
}

TEST_F(MachineTest, GuestPowerOffPausesWithNoShutdown) {
    config_.no_shutdown = true;
    start_running();
    hypervisor_.end_run(1, {RunStop::kPowerOff, ""});
    ASSERT_TRUE(loop_.run_until([&] { return recorder_.events.size() == 2; }));
    EXPECT_EQ(recorder_.events, (Events{"SHUTDOWN guest-shutdown", "STOP"}));
    EXPECT_EQ(machine_->run_state(), RunState::kShutdown);
    EXPECT_EQ(call(&Machine::resume), "Resetting the Virtual Machine is required");
    EXPECT_EQ(call(&Machine::reset), "ok");
    EXPECT_EQ(machine_->run_state(), RunState::kPrelaunch);
    EXPECT_EQ(call(&Machine::resume), "ok");
    EXPECT_TRUE(hypervisor_.wait_inside(2));
}

TEST_F(MachineTest, FaultStopsTheMachineUntilAReset) {
    start_running();
    hypervisor_.end_run(0, {RunStop::kFault, "cannot emulate"});
    ASSERT_TRUE(loop_.run_until([&] { return !recorder_.events.empty(); }));
    EXPECT_EQ(recorder_.events, Events{"STOP"});
    EXPECT_EQ(machine_->run_state(), RunState::kInternalError);
    EXPECT_EQ(hypervisor_.inside, 0);
    EXPECT_EQ(call(&Machine::resume), "Resetting the Virtual Machine is required");
    EXPECT_EQ(call(&Machine::reset), "ok");
    EXPECT_EQ(call(&Machine::resume), "ok");
    EXPECT_EQ(machine_->run_state(), RunState::kRunning);
}

TEST_F(MachineTest, FaultThatAResetOvertakesStopsNothing) {
    start_running();
    hypervisor_.end_run_when_kicked(0, {RunStop::kFault, "before the reset"});
    EXPECT_EQ(call(&Machine::reset), "ok");
    ASSERT_EQ(call(&Machine::resume), "ok");  // behind whatever the fault asked for
    EXPECT_EQ(machine_->run_state(), RunState::kRunning);
    EXPECT_EQ(recorder_.events, Events{"RESET host-qmp-system-reset"});
    EXPECT_TRUE(hypervisor_.wait_inside(2));
}

TEST_F(MachineTest, PowerOffAfterAResetThatOvertookAGuestResetIsNoReset) {
    start_running();
    hypervisor_.end_run_when_kicked(0, {RunStop::kTripleFault, ""});
    machine_->reset([](const Result<void>&) {});
    // The machine is reset and runs again, but the first guest's request still waits.
    ASSERT_TRUE(loop_.run_until([&] { return hypervisor_.resets == 2; }));
    hypervisor_.end_run(1, {RunStop::kPowerOff, ""});
    while (machine_->vcpus()[1].state != "exited") {
        std::this_thread::yield();
    }
    ASSERT_TRUE(loop_.run_until([&] { return recorder_.events.size() == 3; }));
    EXPECT_EQ(recorder_.events,
              (Events{"RESET host-qmp-system-reset", "SHUTDOWN guest-shutdown", "ended"}));
}

TEST_F(MachineTest, GuestPowerOffThatAPauseOvertakesStopsOnce) {
    config_.no_shutdown = true;
    start_running();
    hypervisor_.end_run_when_kicked(1, {RunStop::kPowerOff, ""});
    EXPECT_EQ(call(&Machine::pause), "ok");
    ASSERT_TRUE(loop_.run_until([&] { return machine_->run_state() == RunState::kShutdown; }));
    EXPECT_EQ(recorder_.events, (Events{"STOP", "SHUTDOWN guest-shutdown"}));
}

TEST_F(MachineTest, ResetWhoseClockCannotRunOnLeavesAPausedMachine) {
    start_running();
    hypervisor_.refuse_thaw = true;
    EXPECT_EQ(call(&Machine::reset), "cannot restart the guest's clock: the clock is stuck");
    EXPECT_EQ(machine_->run_state(), RunState::kPaused);
    EXPECT_EQ(recorder_.events, (Events{"RESET host-qmp-system-reset", "STOP"}));
    hypervisor_.refuse_thaw = false;
    EXPECT_EQ(call(&Machine::resume), "ok");
    EXPECT_TRUE(hypervisor_.wait_inside(2));
}

TEST_F(MachineTest, PauseThatOvertakesAGuestResetLosesNeither) {
    start_running();
    std::vector<std::string> answers;
    hypervisor_.end_run(0, {RunStop::kTripleFault, ""});
    machine_->pause(into(answers, "pause"));
    ASSERT_TRUE(loop_.run_until([&] { return !answers.empty() && recorder_.events.size() >= 2; }));
    EXPECT_EQ(call(&Machine::resume), "ok");
    EXPECT_TRUE(hypervisor_.wait_inside(2));
}

TEST_F(MachineTest, PowerButtonTellsTheObserver) {
    start_running();
    machine_->power_button();
    EXPECT_EQ(recorder_.events, Events{"POWERDOWN"});
}

TEST_F(MachineTest, NmiGoesToEveryVcpu) {
    start_running();
    ASSERT_TRUE(machine_->inject_nmi());
    EXPECT_EQ(hypervisor_.messages,
              (std::vector<MsiMessage>{{0xfee00000, 0x400}, {0xfee01000, 0x400}}));
}

TEST_F(MachineTest, NmiAfterTheEndIsRefused) {
    start_running();
    ASSERT_EQ(quit(), "ok");
    EXPECT_FALSE(machine_->inject_nmi());
}

TEST_F(MachineTest, BoardNoneHasNoVcpusAndEndsToo) {
    config_.board = BoardKind::kNone;
    config_.accelerators.clear();
    ASSERT_TRUE(create());
    EXPECT_EQ(call(&Machine::start), "ok");
    EXPECT_EQ(machine_->run_state(), RunState::kRunning);
    EXPECT_TRUE(machine_->vcpus().empty());
    EXPECT_EQ(call(&Machine::pause), "ok");
    EXPECT_EQ(call(&Machine::reset), "ok");
    EXPECT_EQ(quit(), "ok");
}

TEST_F(MachineTest, FirstUsableAcceleratorIsTaken) {
    test::FakeHypervisor absent;
    absent.probe_error = "no device";
    const test::FakeAccelerator first(absent, "first");
    config_.accelerators = {&first, &accelerator_};
    ASSERT_TRUE(create());
    EXPECT_EQ(machine_->accelerator()->name(), "fake");
}

TEST_F(MachineTest, UnusableAcceleratorsAreAllExplained) {
    hypervisor_.probe_error = "no device";
    test::FakeHypervisor absent;
    absent.probe_error = "no rights";
    const test::FakeAccelerator other(absent, "other");
    config_.accelerators = {&accelerator_, &other};
    auto result = create();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message(),
              "-accel: no accelerator works here (fake: no device; other: no rights)");
}

TEST_F(MachineTest, UnusableMemorySizesAreRefused) {
    for (const uint64_t size : {uint64_t{0}, 512_KiB, 1_MiB + 1, uint64_t{1} << 50}) {
        config_.ram_size = size;
        auto result = create();
        ASSERT_FALSE(result) << size;
        EXPECT_EQ(result.error().message().find("-m: "), 0u) << result.error().message();
    }
    EXPECT_FALSE(hypervisor_.open_partition);
}

TEST_F(MachineTest, FailedVcpuCreationLeavesNothing) {
    hypervisor_.refuse_vcpu = true;
    EXPECT_FALSE(create());
    EXPECT_FALSE(hypervisor_.open_partition);
    EXPECT_EQ(hypervisor_.open_vcpus, 0);
}

TEST_F(MachineTest, MissingFirmwareIsNamed) {
    config_.firmware_path = "/nowhere/bios.bin";
    auto result = create();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message(),
              "-bios: cannot open '/nowhere/bios.bin': No such file or directory");
}

}  // namespace
}  // namespace halcyon
