#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>
#include <thread>

#include <gtest/gtest.h>

#include "machine/machine.h"
#include "tests/machine/fake_accelerator.h"
#include "tests/machine/temp_file.h"
#include "tests/machine/test_loop.h"

namespace halcyon {
namespace {

using Events = std::vector<std::string>;

class Recorder : public MachineObserver {
public:
    void on_stopped() override { events.emplace_back("STOP"); }
    void on_resumed() override { events.emplace_back("RESUME"); }
    void on_reset(ShutdownCause) override { events.emplace_back("RESET"); }
    void on_powerdown() override {}
    void on_shutdown(ShutdownCause) override { events.emplace_back("SHUTDOWN"); }
    void on_ended() override { events.emplace_back("ended"); }
    void on_dump_completed(const DumpStatus& status) override {
        events.emplace_back(status.state == DumpStatus::State::kFailed ? "dump failed" : "dumped");
    }
    Events events;
};

class MachineMemoryTest : public testing::Test {
protected:
    void SetUp() override {
        config_.accelerators = {&accelerator_};
        config_.firmware_path = firmware_.path();
        config_.vcpu_count = 2;
        config_.ram_size = 2_MiB;
        auto machine = Machine::create(config_, loop_, recorder_);
        ASSERT_TRUE(machine) << machine.error().message();
        machine_ = *std::move(machine);
        ASSERT_EQ(complete([&](auto done) { machine_->start(std::move(done)); }), "ok");
        ASSERT_TRUE(hypervisor_.wait_inside(2));
        recorder_.events.clear();
    }
    ~MachineMemoryTest() override { hypervisor_.release(); }

    std::string complete(const std::function<void(Machine::Done)>& begin) {
        std::optional<std::string> answer;
        begin([&](Result<void> result) { answer = result ? "ok" : result.error().message(); });
        EXPECT_TRUE(loop_.run_until([&] { return answer.has_value(); }));
        return answer.value_or("never completed");
    }
    std::string dump(std::optional<DumpOptions::Range> range = std::nullopt) {
        return complete([&](Machine::Done done) {
            DumpOptions options;
            options.path = file_.path();
            options.range = range;
            machine_->dump(std::move(options), std::move(done));
        });
    }

    test::FakeHypervisor hypervisor_;
    test::FakeAccelerator accelerator_{hypervisor_};
    test::TempFile firmware_{std::string(65536, '\xf4')};
    test::TempFile file_{""};
    test::TestLoop loop_;
    Recorder recorder_;
    MachineConfig config_;
    std::unique_ptr<Machine> machine_;
};

TEST_F(MachineMemoryTest, DumpStopsTheGuestAndLetsItRunOn) {
    EXPECT_EQ(machine_->dump_status().state, DumpStatus::State::kNone);
    EXPECT_EQ(dump(), "ok");
    EXPECT_EQ(recorder_.events, (Events{"STOP", "dumped", "RESUME"}));
    EXPECT_EQ(machine_->run_state(), RunState::kRunning);
    const DumpStatus status = machine_->dump_status();
    EXPECT_EQ(status.state, DumpStatus::State::kCompleted);
    EXPECT_EQ(status.completed, status.total);
    EXPECT_EQ(status.total, machine_->memory().size());
    EXPECT_FALSE(machine_->dumping());
}

TEST_F(MachineMemoryTest, DumpOfAPausedGuestLeavesItPaused) {
    ASSERT_EQ(complete([&](auto done) { machine_->pause(std::move(done)); }), "ok");
    recorder_.events.clear();
    EXPECT_EQ(dump(), "ok");
    EXPECT_EQ(recorder_.events, Events{"dumped"});
    EXPECT_EQ(machine_->run_state(), RunState::kPaused);
}

TEST_F(MachineMemoryTest, DumpOfNothingStopsNobody) {
    EXPECT_EQ(dump(DumpOptions::Range{.begin = 1_GiB, .length = 1}),
              "dump: no guest memory to dump");
    EXPECT_TRUE(recorder_.events.empty());
    EXPECT_EQ(machine_->dump_status().state, DumpStatus::State::kNone);
    EXPECT_EQ(dump(), "ok") << "another can follow";
}

TEST_F(MachineMemoryTest, WhileADumpIsUnderWayTheRestIsRefused) {
    std::vector<std::string> answers;
    const auto note = [&](const Result<void>& result) {
        answers.push_back(result ? "ok" : result.error().message());
    };
    DumpOptions options;
    options.path = file_.path();
    machine_->dump(std::move(options), note);
    machine_->pause(note);
    machine_->resume(note);
    machine_->reset(note);
    machine_->dump({.path = file_.path()}, note);
    EXPECT_EQ(answers, Events(4, "There is a dump in process, please wait."));
    EXPECT_TRUE(loop_.run_until([&] { return answers.size() == 5; }));
    EXPECT_EQ(answers.back(), "ok");
}

TEST_F(MachineMemoryTest, QuitCancelsADumpThatNobodyReads) {
    const std::string path = file_.path() + ".fifo";
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    const UniqueFd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    std::optional<std::string> answer;
    machine_->dump({.path = path}, [&](const Result<void>& result) {
        answer = result ? "ok" : result.error().message();
    });
    ASSERT_TRUE(loop_.run_until([&] { return machine_->run_state() == RunState::kSaveVm; }));
    EXPECT_EQ(
        complete([&](auto done) { machine_->quit(ShutdownCause::kHostQmpQuit, std::move(done)); }),
        "ok");
    EXPECT_EQ(answer, "the machine is ending");
    EXPECT_EQ(recorder_.events, (Events{"STOP", "SHUTDOWN", "ended"}));
    ::unlink(path.c_str());
}

TEST_F(MachineMemoryTest, QuitCancelsADumpThatWaitsForAReader) {
    const std::string path = file_.path() + ".fifo";
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    std::optional<std::string> answer;
    machine_->dump({.path = path}, [&](const Result<void>& result) {
        answer = result ? "ok" : result.error().message();
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_FALSE(answer.has_value());
    EXPECT_EQ(
        complete([&](auto done) { machine_->quit(ShutdownCause::kHostQmpQuit, std::move(done)); }),
        "ok");
    EXPECT_EQ(answer, "the machine is ending");
    ::unlink(path.c_str());
}

TEST_F(MachineMemoryTest, RegistersAreReadWithoutAnEvent) {
    std::optional<Result<VcpuRegisters>> found;
    machine_->read_registers(VcpuIndex(1),
                             [&](Result<VcpuRegisters> state) { found = std::move(state); });
    EXPECT_TRUE(loop_.run_until([&] { return found.has_value(); }));
    EXPECT_TRUE(*found);
    EXPECT_TRUE(recorder_.events.empty());
    EXPECT_EQ(machine_->run_state(), RunState::kRunning);
    EXPECT_TRUE(hypervisor_.wait_inside(2)) << "all run again";
}

TEST_F(MachineMemoryTest, RegistersOfNobodyAreAnError) {
    std::optional<Result<VcpuRegisters>> found;
    machine_->read_registers(VcpuIndex(2),
                             [&](Result<VcpuRegisters> state) { found = std::move(state); });
    ASSERT_TRUE(found.has_value());
    EXPECT_FALSE(*found);
}

TEST_F(MachineMemoryTest, BackgroundWorkCompletesOnTheMainThread) {
    const std::thread::id main = std::this_thread::get_id();
    std::thread::id worker;
    EXPECT_EQ(complete([&](Machine::Done done) {
                  machine_->run_in_background(
                      "test",
                      [&](const std::atomic<bool>&) -> Result<void> {
                          worker = std::this_thread::get_id();
                          return Error("so it is");
                      },
                      [&, done](const Result<void>& result) {
                          EXPECT_EQ(std::this_thread::get_id(), main);
                          done(result);
                      });
              }),
              "so it is");
    EXPECT_NE(worker, main);
}

TEST_F(MachineMemoryTest, AfterTheEndThereIsNoBackground) {
    ASSERT_EQ(
        complete([&](auto done) { machine_->quit(ShutdownCause::kHostQmpQuit, std::move(done)); }),
        "ok");
    EXPECT_EQ(complete([&](Machine::Done done) {
                  machine_->run_in_background(
                      "test", [](const std::atomic<bool>&) { return Result<void>(); },
                      std::move(done));
              }),
              "the machine is ending");
    EXPECT_EQ(machine_->memory().size(), 0u);
}

}  // namespace
}  // namespace halcyon
