// What every backend that has interrupts and doorbells by eventfd must do.
#include <poll.h>
#include <sys/eventfd.h>

#include "base/unique_fd.h"
#include "tests/accel/guest_fixture.h"

namespace halcyon::testing_support {
namespace {

constexpr uint8_t kVector = 0x40;
constexpr uint64_t kApicBase = 0xfee00000;
constexpr uint64_t kDoorbell = 0xd0000000;

class EventfdConformance : public BackendTest {
protected:
    void SetUp() override {
        BackendTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) {
            return;
        }
        auto partition = accelerator().create_partition({});
        ASSERT_TRUE(partition) << partition.error().message();
        if ((*partition)->eventfds() == nullptr) {
            GTEST_SKIP() << "this backend has no eventfds";
        }
    }
};
FOR_EVERY_BACKEND(EventfdConformance);

UniqueFd make_eventfd() {
    return UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}
void raise_line(const UniqueFd& eventfd) {
    ASSERT_EQ(::eventfd_write(eventfd.get(), 1), 0);
}
/// The count within the time given; 0 when there is none.
uint64_t take_count(const UniqueFd& eventfd, std::chrono::milliseconds patience = kPatience) {
    pollfd wait{.fd = eventfd.get(), .events = POLLIN, .revents = 0};
    uint64_t count = 0;
    if (::poll(&wait, 1, static_cast<int>(patience.count())) == 1) {
        (void)::eventfd_read(eventfd.get(), &count);
    }
    return count;
}

/// A guest with its local APIC on, that takes kVector and reports it at port 90h, its end at 91h,
/// and itself at 80h when it is ready.
class InterruptedGuest {
public:
    explicit InterruptedGuest(const Accelerator& accelerator) : guest(accelerator) {
        if (!guest.ok()) {
            return;
        }
        guest.io().on_write = [this](const Access& access) {
            (access.address == 0x80 ? ready : ended).report();
        };
        guest.write<uint16_t>(4u * kVector, kHandler);
        guest.write<uint16_t>(4u * kVector + 2, 0);
        guest.load(kHandler, {0x64, 0x66, 0xc7, 0x06, 0xb0, 0x00, 0x00, 0x00, 0x00,
                              0x00,        // mov dword fs:[0xb0], 0
                              0xe6, 0x91,  // out 0x91, al
                              0xcf});      // iret
        guest.load(kCode, {0x64, 0x66, 0xc7, 0x06, 0xf0, 0x00, 0xff, 0x01, 0x00,
                           0x00,          // mov dword fs:[0xf0], 0x1ff
                           0xfb,          // sti
                           0xe6, 0x80,    // out 0x80, al
                           0xeb, 0xfe});  // jmp $
        VcpuRegisters registers = real_mode_registers();
        registers.fs.base = kApicBase;
        guest.set_registers(registers);
    }
    void route(uint32_t gsi) {
        const MsiRoute routes[] = {{.gsi = Gsi(gsi), .message = {kApicBase, kVector}}};
        ASSERT_TRUE(guest.partition().set_msi_routes(routes));
    }
    [[nodiscard]] EventfdWiring& wiring() { return *guest.partition().eventfds(); }

    Guest guest;
    Event ready;
    Event ended;
};

TEST_P(EventfdConformance, AnIrqfdInterruptsTheGuest) {
    InterruptedGuest it(accelerator());
    ASSERT_TRUE(it.guest.ok());
    const UniqueFd line = make_eventfd();
    it.route(30);
    ASSERT_TRUE(it.wiring().connect_irqfd(Gsi(30), line.get()));
    VcpuRun run(it.guest.vcpu());
    ASSERT_TRUE(it.ready.wait());
    for (int i = 0; i < 20; ++i) {
        raise_line(line);
        ASSERT_TRUE(it.ended.wait()) << "interrupt " << i;
    }
    EXPECT_TRUE(it.guest.io().ended_interrupts().empty()) << "these are edge-triggered";
}

TEST_P(EventfdConformance, AnIrqfdThatIsSignalledAlreadyInterruptsAtOnce) {
    InterruptedGuest it(accelerator());
    ASSERT_TRUE(it.guest.ok());
    const UniqueFd line = make_eventfd();
    it.route(30);
    VcpuRun run(it.guest.vcpu());
    ASSERT_TRUE(it.ready.wait());
    raise_line(line);
    ASSERT_TRUE(it.wiring().connect_irqfd(Gsi(30), line.get()));
    EXPECT_TRUE(it.ended.wait());
}

TEST_P(EventfdConformance, AnIrqfdFollowsTheRouteOfItsLine) {
    InterruptedGuest it(accelerator());
    ASSERT_TRUE(it.guest.ok());
    const UniqueFd line = make_eventfd();
    ASSERT_TRUE(it.wiring().connect_irqfd(Gsi(30), line.get()));
    it.route(31);
    VcpuRun run(it.guest.vcpu());
    ASSERT_TRUE(it.ready.wait());
    raise_line(line);  // no route: nobody hears
    it.route(30);
    raise_line(line);
    EXPECT_TRUE(it.ended.wait());
}

TEST_P(EventfdConformance, ADisconnectedIrqfdIsAnOrdinaryEventfd) {
    InterruptedGuest it(accelerator());
    ASSERT_TRUE(it.guest.ok());
    const UniqueFd line = make_eventfd();
    it.route(30);
    ASSERT_TRUE(it.wiring().connect_irqfd(Gsi(30), line.get()));
    ASSERT_TRUE(it.wiring().disconnect_irqfd(Gsi(30), line.get()));
    VcpuRun run(it.guest.vcpu());
    ASSERT_TRUE(it.ready.wait());
    raise_line(line);
    EXPECT_EQ(take_count(line), 1u) << "somebody else took it";
    EXPECT_EQ(run.kick_and_wait().stop, RunStop::kKicked);
    EXPECT_EQ(it.guest.io().accesses().size(), 1u);
}

TEST_P(EventfdConformance, AnEventfdServesOneLine) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    EventfdWiring& wiring = *guest.partition().eventfds();
    const UniqueFd line = make_eventfd();
    ASSERT_TRUE(wiring.connect_irqfd(Gsi(30), line.get()));
    EXPECT_FALSE(wiring.connect_irqfd(Gsi(31), line.get()));
    ASSERT_TRUE(wiring.disconnect_irqfd(Gsi(30), line.get()));
    EXPECT_TRUE(wiring.connect_irqfd(Gsi(31), line.get()));
    const UniqueFd other = make_eventfd();
    EXPECT_TRUE(wiring.disconnect_irqfd(Gsi(30), other.get())) << "was never connected";
}

TEST_P(EventfdConformance, WhatIsNoEventfdIsRefused) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    EventfdWiring& wiring = *guest.partition().eventfds();
    EXPECT_FALSE(wiring.connect_irqfd(Gsi(30), -1));
    EXPECT_FALSE(wiring.connect_irqfd(Gsi(30), STDOUT_FILENO));
    EXPECT_FALSE(wiring.connect_ioeventfd({.address = Gpa(kDoorbell), .length = 4}, -1));
    EXPECT_FALSE(wiring.connect_ioeventfd({.address = Gpa(kDoorbell), .length = 4}, STDOUT_FILENO));
}

TEST_P(EventfdConformance, WithoutLocalApicsThereAreNoIrqfds) {
    Guest guest(accelerator(), {.local_apic = false});
    ASSERT_TRUE(guest.ok());
    const UniqueFd line = make_eventfd();
    EXPECT_FALSE(guest.partition().eventfds()->connect_irqfd(Gsi(30), line.get()));
}

/// Writes `value` to the doorbell with a width of four bytes, then to the next four.
Code ring(uint8_t value) {
    return {
        0xc7, 0x05, 0x00, 0x00, 0x00, 0xd0, value, 0x00, 0x00, 0x00,  // mov dword [doorbell], value
        0xc7, 0x05, 0x04, 0x00, 0x00, 0xd0, value, 0x00, 0x00, 0x00,  // ... and behind it
        0xe6, 0xf4,                                                   // out 0xf4, al
    };
}

/// The addresses that GuestIo saw.
std::vector<uint64_t> addresses(const Guest& guest) {
    std::vector<uint64_t> seen;
    for (const Access& access : const_cast<Guest&>(guest).io().accesses()) {
        seen.push_back(access.address);
    }
    return seen;
}

TEST_P(EventfdConformance, ADoorbellIsHeardOnItsEventfdAlone) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    const UniqueFd bell = make_eventfd();
    const Doorbell doorbell{.address = Gpa(kDoorbell), .length = 4};
    ASSERT_TRUE(guest.partition().eventfds()->connect_ioeventfd(doorbell, bell.get()));
    guest.start_protected_mode(ring(7));
    guest.run_to_done();
    EXPECT_EQ(take_count(bell), 1u);
    EXPECT_EQ(addresses(guest), std::vector<uint64_t>{kDoorbell + 4});
}

TEST_P(EventfdConformance, ADoorbellWithAValueIsHeardForThatValueOnly) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    const UniqueFd five = make_eventfd();
    const UniqueFd seven = make_eventfd();
    EventfdWiring& wiring = *guest.partition().eventfds();
    ASSERT_TRUE(
        wiring.connect_ioeventfd({.address = Gpa(kDoorbell), .length = 4, .value = 5}, five.get()));
    ASSERT_TRUE(wiring.connect_ioeventfd({.address = Gpa(kDoorbell), .length = 4, .value = 7},
                                         seven.get()));
    guest.start_protected_mode(ring(7));
    guest.run_to_done();
    EXPECT_EQ(take_count(seven), 1u);
    EXPECT_EQ(take_count(five, {}), 0u);
    guest.start_protected_mode(ring(6));
    guest.run_to_done();
    EXPECT_EQ(addresses(guest), (std::vector<uint64_t>{kDoorbell + 4, kDoorbell, kDoorbell + 4}));
}

TEST_P(EventfdConformance, ADoorbellThatIsTakenBackIsOnTheBus) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    const UniqueFd bell = make_eventfd();
    EventfdWiring& wiring = *guest.partition().eventfds();
    const Doorbell doorbell{.address = Gpa(kDoorbell), .length = 4, .value = 7};
    ASSERT_TRUE(wiring.connect_ioeventfd(doorbell, bell.get()));
    EXPECT_FALSE(wiring.disconnect_ioeventfd({.address = Gpa(kDoorbell), .length = 4}, bell.get()))
        << "another one";
    ASSERT_TRUE(wiring.disconnect_ioeventfd(doorbell, bell.get()));
    EXPECT_FALSE(wiring.disconnect_ioeventfd(doorbell, bell.get()));
    guest.start_protected_mode(ring(7));
    guest.run_to_done();
    EXPECT_EQ(take_count(bell, {}), 0u);
    EXPECT_EQ(addresses(guest), (std::vector<uint64_t>{kDoorbell, kDoorbell + 4}));
}

TEST_P(EventfdConformance, TwoDoorbellsThatMeanTheSameAreRefused) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    const UniqueFd bell = make_eventfd();
    const UniqueFd other = make_eventfd();
    EventfdWiring& wiring = *guest.partition().eventfds();
    const Doorbell doorbell{.address = Gpa(kDoorbell), .length = 4};
    ASSERT_TRUE(wiring.connect_ioeventfd(doorbell, bell.get()));
    EXPECT_FALSE(wiring.connect_ioeventfd(doorbell, other.get()));
    EXPECT_FALSE(wiring.connect_ioeventfd({.address = Gpa(kDoorbell), .length = 4, .value = 1},
                                          other.get()));
    EXPECT_FALSE(wiring.connect_ioeventfd({.address = Gpa(kDoorbell), .length = 3}, other.get()));
}

TEST_P(EventfdConformance, AClosedEventfdLeavesThePartitionInPeace) {
    InterruptedGuest it(accelerator());
    ASSERT_TRUE(it.guest.ok());
    it.route(30);
    {
        const UniqueFd line = make_eventfd();
        const UniqueFd bell = make_eventfd();
        ASSERT_TRUE(it.wiring().connect_irqfd(Gsi(30), line.get()));
        ASSERT_TRUE(
            it.wiring().connect_ioeventfd({.address = Gpa(kDoorbell), .length = 4}, bell.get()));
    }
    VcpuRun run(it.guest.vcpu());
    ASSERT_TRUE(it.ready.wait());
    EXPECT_EQ(run.kick_and_wait().stop, RunStop::kKicked);
}

}  // namespace
}  // namespace halcyon::testing_support
