// What every backend must do: stop when kicked, at any moment, exactly, and go on as if nothing had
// happened.
#include <atomic>
#include <random>

#include "tests/accel/guest_fixture.h"

namespace halcyon::testing_support {
namespace {

class KickConformance : public BackendTest {};
FOR_EVERY_BACKEND(KickConformance);

// jmp $
const Code kSpin = {0xeb, 0xfe};

// again: inc ebx
//        mov [0x2000], ebx
//        jmp again
const Code kCount = {0x66, 0x43, 0x66, 0x89, 0x1e, 0x00, 0x20, 0xeb, 0xf7};
constexpr uint64_t kCountStore = kCode + 2;

// again: inc ebx
//        mov eax, ebx
//        out 0x80, eax
//        jmp again
const Code kStorm = {0x66, 0x43, 0x66, 0x89, 0xd8, 0x66, 0xe7, 0x80, 0xeb, 0xf6};

/// One thread that runs a vCPU again after every kick, as a vCPU's thread does.
class Loop {
public:
    /// `on_stop` is called on the vCPU's thread at each stop.
    explicit Loop(Vcpu& vcpu, std::function<void()> on_stop)
        : vcpu_(vcpu), on_stop_(std::move(on_stop)), thread_([this] { run(); }) {}
    ~Loop() { end(); }

    /// False when the loop does not report in time that a kick arrived.
    [[nodiscard]] bool wait_for_stop() { return stopped_.wait(); }
    void end() {
        if (thread_.joinable()) {
            ending_.store(true);
            vcpu_.kick();
            thread_.join();
            vcpu_.clear_stop();
        }
    }
    /// Why the loop ended before it was told to; after `end`.
    RunOutcome outcome;

private:
    void run() {
        if (!prepare_vcpu_thread_signals()) {
            return;
        }
        vcpu_.attach_thread();
        for (;;) {
            outcome = vcpu_.run();
            if (outcome.stop != RunStop::kKicked) {
                break;
            }
            vcpu_.clear_stop();
            if (ending_.load()) {
                break;
            }
            on_stop_();
            stopped_.report();
        }
        vcpu_.detach_thread();
    }

    Vcpu& vcpu_;
    std::function<void()> on_stop_;
    std::atomic<bool> ending_{false};
    Event stopped_;
    std::thread thread_;
};

/// Some nanoseconds to some tens of microseconds, of doing nothing.
void dawdle(std::mt19937& random) {
    const unsigned turns = random() % (1u << random() % 14);
    for (unsigned i = 0; i < turns; ++i) {
        __builtin_ia32_pause();
    }
}

TEST_P(KickConformance, AKickBeforeAttachStopsTheFirstRunBeforeItBegins) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.start_real_mode(kStorm);
    guest.vcpu().kick();
    VcpuRun run(guest.vcpu());
    EXPECT_EQ(run.wait().stop, RunStop::kKicked);
    EXPECT_EQ(guest.registers().rip, kCode);
    EXPECT_TRUE(guest.io().accesses().empty());
}

TEST_P(KickConformance, AStopWordAloneStopsTheNextRun) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.start_real_mode(kStorm);
    guest.vcpu().set_stop();
    VcpuRun run(guest.vcpu());
    EXPECT_EQ(run.wait().stop, RunStop::kKicked);
    EXPECT_TRUE(guest.io().accesses().empty());
}

TEST_P(KickConformance, TheStopWordStaysUntilItIsCleared) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.start_real_mode(kStorm);
    std::vector<RunStop> stops;
    std::thread thread([&] {
        EXPECT_TRUE(prepare_vcpu_thread_signals());
        guest.vcpu().attach_thread();
        guest.vcpu().kick();  // from the thread itself
        for (int i = 0; i < 3; ++i) {
            stops.push_back(guest.vcpu().run().stop);
        }
        guest.vcpu().clear_stop();
        guest.vcpu().detach_thread();
    });
    thread.join();
    EXPECT_EQ(stops, std::vector(3, RunStop::kKicked));
    EXPECT_TRUE(guest.io().accesses().empty());
    EXPECT_EQ(guest.registers().rip, kCode);
}

TEST_P(KickConformance, AKickStopsASpinningGuest) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    Event running;
    guest.io().on_write = [&](const Access&) { running.report(); };
    guest.start_real_mode({
        0xe6, 0x80,  // out 0x80, al
        0xeb, 0xfe,  // jmp $
    });
    VcpuRun run(guest.vcpu());
    EXPECT_TRUE(running.wait());
    EXPECT_EQ(run.kick_and_wait().stop, RunStop::kKicked);
    EXPECT_EQ(guest.registers().rip, kCode + 2u);
}

TEST_P(KickConformance, AKickStopsAPioStorm) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    Event busy;
    std::atomic<int> writes{0};
    guest.io().record = false;
    guest.io().on_write = [&](const Access&) {
        if (++writes == 100) {
            busy.report();
        }
    };
    guest.start_real_mode(kStorm);
    VcpuRun run(guest.vcpu());
    EXPECT_TRUE(busy.wait());
    EXPECT_EQ(run.kick_and_wait().stop, RunStop::kKicked);
}

TEST_P(KickConformance, AKickStopsAHaltedGuestAndItStaysHalted) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    Event before;
    guest.io().on_write = [&](const Access&) { before.report(); };
    guest.start_real_mode({
        0xe6, 0x80,  // out 0x80, al
        0xfa,        // cli
        0xf4,        // hlt
        0xe6, 0x81,  // out 0x81, al
    });
    {
        VcpuRun run(guest.vcpu());
        EXPECT_TRUE(before.wait());
        EXPECT_EQ(run.kick_and_wait().stop, RunStop::kKicked);
    }
    // The kick may have come before the HLT; from here on the guest is in it or will be.
    for (int i = 0; i < 100; ++i) {
        VcpuRun run(guest.vcpu());
        ASSERT_EQ(run.kick_and_wait().stop, RunStop::kKicked);
    }
    EXPECT_EQ(guest.io().accesses().size(), 1u) << "the guest went on behind its HLT";
}

TEST_P(KickConformance, AGuestThatIsStoppedAtRandomGoesOnExactly) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.start_real_mode(kCount);
    std::mt19937 random(1);
    uint32_t last = 0;
    Loop loop(guest.vcpu(), [&] {
        const auto state = guest.vcpu().registers();
        ASSERT_TRUE(state);
        const auto count = static_cast<uint32_t>(state->gpr[kRbx]);
        const auto stored = guest.read<uint32_t>(kData);
        // Between the increment and the store, memory is one behind.
        EXPECT_EQ(stored, state->rip == kCountStore ? count - 1 : count) << "rip " << state->rip;
        EXPECT_GE(stored, last);
        last = stored;
    });
    for (int i = 0; i < 300 && !HasFailure(); ++i) {
        dawdle(random);
        guest.vcpu().kick();
        ASSERT_TRUE(loop.wait_for_stop()) << "kick " << i << " was lost";
    }
    loop.end();
    EXPECT_EQ(loop.outcome.stop, RunStop::kKicked) << loop.outcome.detail;
}

TEST_P(KickConformance, APioStormThatIsStoppedAtRandomLosesNoAccess) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    uint64_t expected = 1;
    guest.io().record = false;
    guest.io().on_write = [&](const Access& access) { ASSERT_EQ(access.value, expected++); };
    guest.start_real_mode(kStorm);
    std::mt19937 random(2);
    Loop loop(guest.vcpu(), [&] {
        const auto state = guest.vcpu().registers();
        ASSERT_TRUE(state);
        // Whatever was written, the registers show as done.
        EXPECT_GE(state->gpr[kRbx] + 1, expected);
        EXPECT_LE(state->gpr[kRbx], expected);
    });
    for (int i = 0; i < 300 && !HasFailure(); ++i) {
        dawdle(random);
        guest.vcpu().kick();
        ASSERT_TRUE(loop.wait_for_stop()) << "kick " << i << " was lost";
    }
    loop.end();
    EXPECT_EQ(loop.outcome.stop, RunStop::kKicked) << loop.outcome.detail;
}

TEST_P(KickConformance, AKickInTheMiddleOfAnInLeavesItDone) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    Event inside;
    Event kicked;
    guest.io().on_read = [&](const Access&) {
        inside.report();
        EXPECT_TRUE(kicked.wait());
        return 0x5a;
    };
    guest.start_real_mode({
        0xe4, 0x71,  // in al, 0x71
        0xb4, 0x01,  // mov ah, 1
        0xe6, 0xf4,  // out 0xf4, al
    });
    VcpuRun run(guest.vcpu());
    ASSERT_TRUE(inside.wait());
    guest.vcpu().kick();
    kicked.report();
    EXPECT_EQ(run.wait().stop, RunStop::kKicked);
    const VcpuRegisters stopped = guest.registers();
    EXPECT_EQ(stopped.gpr[kRax], 0x5au);
    EXPECT_EQ(stopped.rip, kCode + 2u);
    EXPECT_EQ(guest.run_to_done().gpr[kRax], 0x15au);
    EXPECT_EQ(guest.io().accesses().size(), 1u) << "the IN was done again";
}

TEST_P(KickConformance, AKickInTheMiddleOfAnMmioReadLeavesItDone) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.io().on_read = [&](const Access&) {
        guest.vcpu().kick();
        return 0x11223344;
    };
    guest.start_protected_mode({
        0xa1, 0x00, 0x00, 0x00, 0xd0,  // mov eax, [0xd0000000]
        0x40,                          // inc eax
        0xe6, 0xf4,                    // out 0xf4, al
    });
    const VcpuRegisters stopped = guest.run_to_done();
    EXPECT_EQ(stopped.gpr[kRax], 0x11223344u);
    EXPECT_EQ(stopped.rip, kCode + 5u);
    EXPECT_EQ(guest.run_to_done().gpr[kRax], 0x11223345u);
    EXPECT_EQ(guest.io().accesses().size(), 1u);
}

TEST_P(KickConformance, AKickInTheMiddleOfAReadModifyWriteLeavesNothingHalfDone) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.io().on_read = [&](const Access&) {
        guest.vcpu().kick();
        return 0x0f;
    };
    guest.start_protected_mode({
        0x80, 0x0d, 0x00, 0x00, 0x00, 0xd0, 0xa0,  // or byte [0xd0000000], 0xa0
        0xe6, 0xf4,                                // out 0xf4, al
    });
    EXPECT_EQ(guest.run_to_done().rip, kCode + 7u);
    EXPECT_EQ(guest.io().accesses(),
              (std::vector<Access>{{AccessKind::kMmioRead, 0xd0000000, 1, 0x0f},
                                   {AccessKind::kMmioWrite, 0xd0000000, 1, 0xaf}}));
}

TEST_P(KickConformance, KicksInTheMiddleOfStringInputLoseNoElement) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    uint64_t count = 0;
    guest.io().on_read = [&](const Access&) {
        guest.vcpu().kick();
        return ++count;
    };
    guest.start_real_mode({
        0xfc,              // cld
        0xba, 0x34, 0x12,  // mov dx, 0x1234
        0xbf, 0x00, 0x20,  // mov di, 0x2000
        0xb9, 0x40, 0x00,  // mov cx, 64
        0xf3, 0x6d,        // rep insw
        0xe6, 0xf4,        // out 0xf4, al
    });
    constexpr uint64_t kEnd = kCode + 14;
    for (int runs = 0; runs < 66; ++runs) {
        const VcpuRegisters stopped = guest.run_to_done();
        // At any stop, the registers tell how far it has come, and memory agrees.
        const uint64_t done = (stopped.gpr[kRdi] - kData) / 2;
        EXPECT_EQ(stopped.gpr[kRcx] + done, 64u);
        EXPECT_EQ(count, done);
        if (stopped.rip == kEnd) {
            break;
        }
    }
    EXPECT_EQ(guest.registers().rip, kEnd);
    for (unsigned i = 0; i < 64; ++i) {
        EXPECT_EQ(guest.read<uint16_t>(kData + 2 * i), i + 1);
    }
}

TEST_P(KickConformance, ManyVcpusRunAndStopEachForItself) {
    constexpr uint32_t kVcpus = 4;
    Guest guest(accelerator(), {.vcpu_count = kVcpus, .local_apic = false});
    ASSERT_TRUE(guest.ok());
    std::vector<std::unique_ptr<VcpuRun>> runs;
    std::vector<Event> busy(kVcpus);
    std::vector<int> writes(kVcpus);
    guest.load(kCode, kStorm);
    for (uint32_t i = 0; i < kVcpus; ++i) {
        guest.io(i).record = false;
        guest.io(i).on_write = [&, i](const Access&) {
            if (++writes[i] == 50) {
                busy[i].report();
            }
        };
        guest.set_registers(real_mode_registers(), i);
        runs.push_back(std::make_unique<VcpuRun>(guest.vcpu(i)));
    }
    for (Event& event : busy) {
        EXPECT_TRUE(event.wait());
    }
    // All words, then all signals: the fan-out of a pause.
    for (uint32_t i = 0; i < kVcpus; ++i) {
        guest.vcpu(i).set_stop();
    }
    for (uint32_t i = 0; i < kVcpus; ++i) {
        guest.vcpu(i).kick();
    }
    for (auto& run : runs) {
        EXPECT_EQ(run->wait().stop, RunStop::kKicked);
    }
}

TEST_P(KickConformance, APartitionGoesWhileItsGuestWouldStillRun) {
    for (int i = 0; i < 20; ++i) {
        Guest guest(accelerator());
        ASSERT_TRUE(guest.ok());
        guest.start_real_mode(kSpin);
        VcpuRun run(guest.vcpu());
        EXPECT_EQ(run.kick_and_wait().stop, RunStop::kKicked);
    }
}

}  // namespace
}  // namespace halcyon::testing_support
