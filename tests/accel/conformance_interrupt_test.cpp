// What every backend must do: local APICs, the 8259's interrupt, messages, start-up of vCPUs, HLT.
#include <atomic>

#include "tests/accel/guest_fixture.h"

namespace halcyon::testing_support {
namespace {

class InterruptConformance : public BackendTest {};
FOR_EVERY_BACKEND(InterruptConformance);

constexpr uint8_t kVector = 0x40;
constexpr uint64_t kHandlerPort = 0x90;
constexpr uint64_t kApicBase = 0xfee00000;

/// Points a real-mode interrupt vector at kHandler.
void set_vector(Guest& guest, uint8_t vector, const Code& handler) {
    guest.write<uint16_t>(4u * vector, kHandler);
    guest.write<uint16_t>(4u * vector + 2, 0);
    guest.load(kHandler, handler);
}

// out 0x90, al; iret
const Code kReportAndReturn = {0xe6, 0x90, 0xcf};

/// The 8259 pair of a test: its output goes down when the vector is taken.
struct TestPic {
    explicit TestPic(Guest& of) : guest(of) {
        guest.io().on_acknowledge = [this]() -> std::optional<uint8_t> {
            ++acknowledged;
            guest.partition().set_extint(false);
            return kVector;
        };
        guest.io().on_write = [this](const Access& access) {
            if (access.address == kHandlerPort) {
                handled.report();
            } else {
                progress.report();
            }
        };
    }
    void raise() { guest.partition().set_extint(true); }

    Guest& guest;
    std::atomic<int> acknowledged{0};
    Event handled;   ///< the guest's handler ran
    Event progress;  ///< the guest wrote to some other port
};

/// A run that goes on after kicks, as a vCPU's thread does, until the test ends.
class Running {
public:
    explicit Running(Vcpu& vcpu) : vcpu_(vcpu), thread_([this] { loop(); }) {}
    ~Running() {
        ending_.store(true);
        vcpu_.kick();
        thread_.join();
        vcpu_.clear_stop();
    }

private:
    void loop() {
        EXPECT_TRUE(prepare_vcpu_thread_signals());
        vcpu_.attach_thread();
        while (!ending_.load()) {
            const RunOutcome outcome = vcpu_.run();
            vcpu_.clear_stop();
            if (outcome.stop == RunStop::kHalted) {
                std::this_thread::yield();  // a halted vCPU's thread would wait for a kick
            } else if (outcome.stop != RunStop::kKicked) {
                ADD_FAILURE() << to_string(outcome.stop) << " " << outcome.detail;
                break;
            }
        }
        vcpu_.detach_thread();
    }

    Vcpu& vcpu_;
    std::atomic<bool> ending_{false};
    std::thread thread_;
};

/// With and without local APICs, the 8259's interrupt arrives in the state after reset.
void extint_reaches(const Accelerator& accelerator, bool local_apic, const Code& code) {
    Guest guest(accelerator, {.local_apic = local_apic});
    ASSERT_TRUE(guest.ok());
    TestPic pic(guest);
    set_vector(guest, kVector, kReportAndReturn);
    guest.start_real_mode(code);
    Running running(guest.vcpu());
    ASSERT_TRUE(pic.progress.wait());
    for (int i = 1; i <= 20; ++i) {
        pic.raise();
        ASSERT_TRUE(pic.handled.wait()) << "interrupt " << i;
    }
    EXPECT_EQ(pic.acknowledged.load(), 20);
}

// out 0x80, al; sti; jmp $
const Code kSpinning = {0xe6, 0x80, 0xfb, 0xeb, 0xfe};
// out 0x80, al; again: sti; hlt; jmp again
const Code kHalting = {0xe6, 0x80, 0xfb, 0xf4, 0xeb, 0xfc};

TEST_P(InterruptConformance, ExtintInterruptsASpinningGuest) {
    extint_reaches(accelerator(), true, kSpinning);
}

TEST_P(InterruptConformance, ExtintWakesAHaltedGuest) {
    extint_reaches(accelerator(), true, kHalting);
}

TEST_P(InterruptConformance, ExtintInterruptsASpinningGuestWithoutLocalApic) {
    extint_reaches(accelerator(), false, kSpinning);
}

TEST_P(InterruptConformance, ExtintWakesAHaltedGuestWithoutLocalApic) {
    extint_reaches(accelerator(), false, kHalting);
}

TEST_P(InterruptConformance, ExtintWaitsUntilTheGuestTakesInterrupts) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    TestPic pic(guest);
    set_vector(guest, kVector, kReportAndReturn);
    pic.raise();
    guest.start_real_mode({
        0xfa,        // cli
        0xe6, 0x80,  // out 0x80, al
        0xe6, 0x81,  // out 0x81, al
        0xfb,        // sti
        0x90,        // nop, in the shadow of the sti
        0xe6, 0x82,  // out 0x82, al
        0xeb, 0xfe,  // jmp $
    });
    Running running(guest.vcpu());
    ASSERT_TRUE(pic.handled.wait());
    // Not before the STI, that is. How soon after is the processor's affair: an emulated one may
    // finish the instruction at hand.
    std::vector<uint64_t> ports;
    for (const Access& access : guest.io().accesses()) {
        ports.push_back(access.address);
    }
    ASSERT_GE(ports.size(), 3u);
    EXPECT_EQ(ports[0], 0x80u);
    EXPECT_EQ(ports[1], 0x81u);
}

TEST_P(InterruptConformance, AnExtintThatIsTakenBackIsNotDelivered) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    TestPic pic(guest);
    set_vector(guest, kVector, kReportAndReturn);
    guest.start_real_mode({
        0xfa,        // cli
        0xe6, 0x80,  // out 0x80, al
        0xe4, 0x60,  // in al, 0x60
        0xfb,        // sti
        0x90,        // nop
        0x90,        // nop
        0xe6, 0x81,  // out 0x81, al
        0xeb, 0xfe,  // jmp $
    });
    guest.io().on_read = [&](const Access&) {
        pic.raise();
        guest.partition().set_extint(false);
        return 0;
    };
    Running running(guest.vcpu());
    ASSERT_TRUE(pic.progress.wait());
    ASSERT_TRUE(pic.progress.wait());
    EXPECT_EQ(pic.acknowledged.load(), 0);
    EXPECT_FALSE(guest.io().accesses().empty());
    EXPECT_EQ(guest.io().accesses().back().address, 0x81u);
}

TEST_P(InterruptConformance, ExtintRaisedByTheVcpusOwnAccessArrives) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    TestPic pic(guest);
    set_vector(guest, kVector, kReportAndReturn);
    guest.io().on_read = [&](const Access&) {
        pic.raise();
        return 0;
    };
    guest.start_real_mode({
        0xfb,        // sti
        0xe4, 0x60,  // again: in al, 0x60
        0xeb, 0xfe,  // jmp $
    });
    Running running(guest.vcpu());
    EXPECT_TRUE(pic.handled.wait());
}

/// Real mode with FS at the local APIC, which is enabled; then `sti; out 0x80, al; jmp $`.
void start_with_apic(Guest& guest) {
    guest.load(kCode, {
                          0x64, 0x66, 0xc7, 0x06, 0xf0, 0x00, 0xff, 0x01, 0x00,
                          0x00,        // mov dword fs:[0xf0], 0x1ff
                          0xfb,        // sti
                          0xe6, 0x80,  // out 0x80, al
                          0xeb, 0xfe,  // jmp $
                      });
    VcpuRegisters registers = real_mode_registers();
    registers.fs.base = kApicBase;
    guest.set_registers(registers);
}

// out 0x90, al; mov dword fs:[0xb0], 0 (EOI); out 0x91, al; iret
const Code kReportAndEnd = {0xe6, 0x90, 0x64, 0x66, 0xc7, 0x06, 0xb0, 0x00,
                            0x00, 0x00, 0x00, 0x00, 0xe6, 0x91, 0xcf};

TEST_P(InterruptConformance, AnEdgeMessageRunsItsHandlerAndReportsNoEnd) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    Event ready;
    Event ended;
    guest.io().on_write = [&](const Access& access) {
        if (access.address == 0x80) {
            ready.report();
        } else if (access.address == 0x91) {
            ended.report();
        }
    };
    set_vector(guest, kVector, kReportAndEnd);
    start_with_apic(guest);
    Running running(guest.vcpu());
    ASSERT_TRUE(ready.wait());
    for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(guest.partition().signal_msi({.address = kApicBase, .data = kVector}));
        ASSERT_TRUE(ended.wait()) << "message " << i;
    }
    EXPECT_TRUE(guest.io().ended_interrupts().empty());
}

TEST_P(InterruptConformance, ALevelMessageReportsItsEnd) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    Event ready;
    Event ended;
    guest.io().on_write = [&](const Access& access) {
        if (access.address == 0x80) {
            ready.report();
        } else if (access.address == 0x91) {
            ended.report();
        }
    };
    set_vector(guest, kVector, kReportAndEnd);
    // Trigger mode level (bit 15), assert (bit 14): Intel SDM 3A 11.11.2.
    const MsiMessage level{.address = kApicBase, .data = 0xc000 | kVector};
    const MsiRoute routes[] = {{.gsi = Gsi(5), .message = level}};
    ASSERT_TRUE(guest.partition().set_msi_routes(routes));
    start_with_apic(guest);
    Running running(guest.vcpu());
    ASSERT_TRUE(ready.wait());
    for (size_t i = 1; i <= 5; ++i) {
        ASSERT_TRUE(guest.partition().signal_msi(level));
        ASSERT_TRUE(ended.wait()) << "message " << i;
        // The write behind the EOI has been served, so the EOI has.
        EXPECT_EQ(guest.io().ended_interrupts(), std::vector<uint8_t>(i, kVector));
    }
}

TEST_P(InterruptConformance, AMessageThatNoLocalApicTakesIsDropped) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    // Destination 77h, physical.
    const auto sent = guest.partition().signal_msi({.address = kApicBase | 0x77000, .data = 0x41});
    EXPECT_TRUE(sent) << sent.error().message();
}

TEST_P(InterruptConformance, RoutesCanBeReplacedAtAnyTimeAndEmptied) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    guest.start_real_mode({0xeb, 0xfe});  // jmp $
    Running running(guest.vcpu());
    for (uint32_t count = 0; count <= 24; ++count) {
        std::vector<MsiRoute> routes;
        for (uint32_t gsi = 0; gsi < count; ++gsi) {
            routes.push_back({.gsi = Gsi(gsi), .message = {kApicBase, 0x50 + gsi}});
        }
        ASSERT_TRUE(guest.partition().set_msi_routes(routes));
    }
    EXPECT_TRUE(guest.partition().set_msi_routes({}));
}

/// Flat protected mode: switches the local APIC on, sends INIT and start-up IPIs to APIC id 1,
/// which then runs from 8000h, and spins.
const Code kStartSecondVcpu = {
    0xc7, 0x05, 0xf0, 0x00, 0xe0, 0xfe, 0xff, 0x01, 0x00, 0x00,  // mov dword [0xfee000f0], 0x1ff
    0xc7, 0x05, 0x10, 0x03, 0xe0, 0xfe, 0x00, 0x00, 0x00, 0x01,  // mov dword [0xfee00310], 1 << 24
    0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x00, 0x45, 0x00, 0x00,  // mov dword [0xfee00300], 0x4500
    0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x08, 0x46, 0x00, 0x00,  // mov dword [0xfee00300], 0x4608
    0xeb, 0xfe,                                                  // jmp $
};

TEST_P(InterruptConformance, AnInitAndAStartupIpiStartAVcpuInRealMode) {
    Guest guest(accelerator(), {.vcpu_count = 2});
    ASSERT_TRUE(guest.ok());
    Event started;
    guest.io(1).on_write = [&](const Access&) { started.report(); };
    guest.load(0x8000, {
                           0x8c, 0xc8,  // mov ax, cs
                           0xe7, 0x80,  // out 0x80, ax
                           0xeb, 0xfe,  // jmp $
                       });
    guest.start_protected_mode(kStartSecondVcpu);
    Running second(guest.vcpu(1));
    Running first(guest.vcpu(0));
    ASSERT_TRUE(started.wait());
    EXPECT_EQ(guest.io(1).accesses(),
              (std::vector<Access>{{AccessKind::kPioWrite, 0x80, 2, 0x800}}));
}

TEST_P(InterruptConformance, AVcpuThatWaitsForAStartupIpiStopsWhenKickedAndGoesOnWaiting) {
    Guest guest(accelerator(), {.vcpu_count = 2});
    ASSERT_TRUE(guest.ok());
    for (int i = 0; i < 50; ++i) {
        VcpuRun run(guest.vcpu(1));
        ASSERT_EQ(run.kick_and_wait().stop, RunStop::kKicked);
    }
    EXPECT_EQ(guest.registers(1).rip, 0xfff0u);
}

TEST_P(InterruptConformance, AResetVcpuWaitsForAStartupIpiAgain) {
    Guest guest(accelerator(), {.vcpu_count = 2});
    ASSERT_TRUE(guest.ok());
    guest.load(0x8000, {
                           0xe6, 0x80,  // out 0x80, al
                           0xeb, 0xfe,  // jmp $
                       });
    Event started;
    guest.io(1).on_write = [&](const Access&) { started.report(); };
    for (int round = 0; round < 3; ++round) {
        guest.start_protected_mode(kStartSecondVcpu);
        {
            Running second(guest.vcpu(1));
            Running first(guest.vcpu(0));
            ASSERT_TRUE(started.wait()) << "round " << round;
        }
        ASSERT_TRUE(guest.vcpu(0).reset());
        ASSERT_TRUE(guest.vcpu(1).reset());
        VcpuRun run(guest.vcpu(1));
        EXPECT_EQ(run.kick_and_wait().stop, RunStop::kKicked);
        EXPECT_EQ(guest.registers(1).rip, 0xfff0u);
    }
    EXPECT_EQ(guest.io(1).accesses().size(), 3u);
}

TEST_P(InterruptConformance, AfterResetTheLocalApicHasForgotten) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    const auto look = [&] {
        guest.load(kCode, {
                              0x64, 0x66, 0xa1, 0xf0, 0x00,        // mov eax, fs:[0xf0]
                              0x64, 0x66, 0x8b, 0x1e, 0x50, 0x03,  // mov ebx, fs:[0x350]
                              0x64, 0x66, 0xc7, 0x06, 0xf0, 0x00,
                              0xff, 0x01, 0x00, 0x00,  // mov dword fs:[0xf0], 0x1ff
                              0x64, 0x66, 0xc7, 0x06, 0x50, 0x03,
                              0x00, 0x00, 0x01, 0x00,  // mov dword fs:[0x350], 0x10000
                              0xe6, 0xf4,              // out 0xf4, al
                          });
        VcpuRegisters registers = real_mode_registers();
        registers.fs.base = kApicBase;
        guest.set_registers(registers);
        return guest.run_to_done();
    };
    for (int round = 0; round < 2; ++round) {
        const VcpuRegisters seen = look();
        EXPECT_EQ(seen.gpr[kRax], 0xffu) << "spurious vector register";
        EXPECT_EQ(seen.gpr[kRbx], 0x700u) << "LVT LINT0: the 8259's interrupt goes through";
        ASSERT_TRUE(guest.vcpu().reset());
    }
}

}  // namespace
}  // namespace halcyon::testing_support
