// How the mshv backend makes a partition, and what goes through the partition's own descriptor.
#include <sys/eventfd.h>

#include <cerrno>

#include "tests/accel/mshv_fixture.h"

namespace halcyon::testing_support {
namespace {

using namespace mshv;

constexpr auto kFreeze = PartitionProperty::kTimeFreeze;
constexpr uint64_t kMessageAddress = 0xfee00000;

class MshvPartitionTest : public MshvTest {
protected:
    std::string creation_error(const PartitionConfig& config = {}) {
        const auto made = MshvAccelerator("/dev/mshv", driver).create_partition(config);
        return made ? "" : made.error().message();
    }
    /// What a message becomes; nothing when it is dropped.
    std::optional<AssertInterruptInput> sent(const MsiMessage& message) {
        driver.interrupts.clear();
        EXPECT_TRUE(partition().signal_msi(message));
        return driver.interrupts.empty() ? std::nullopt : std::optional(driver.interrupts.back());
    }
};

// ---- creation ----

TEST_F(MshvPartitionTest, HasLocalApicsAndLargePages) {
    start();
    EXPECT_EQ(driver.created.flags, kPartitionLapic | kPartitionX2apic | kPartitionGpaSuperPages);
    EXPECT_EQ(driver.created.isolation, kIsolationNone);
    EXPECT_TRUE(driver.initialized);
}

TEST_F(MshvPartitionTest, OrNoLocalApics) {
    start({.local_apic = false});
    EXPECT_EQ(driver.created.flags, kPartitionGpaSuperPages);
}

TEST_F(MshvPartitionTest, UnknownMsrsAreHarmless) {
    start();
    EXPECT_EQ(driver.property(PartitionProperty::kUnimplementedMsrAction), 1u);
}

TEST_F(MshvPartitionTest, OffersClocksAndHypercallsButNoSynic) {
    start();
    // Bits 0 1 3 6 7 8 9 11 25 26.
    EXPECT_EQ(driver.property(PartitionProperty::kSyntheticProcFeatures), 0x6000bcbu);
}

TEST_F(MshvPartitionTest, OffersOnlyWhatTheHostCanGive) {
    driver.assignable_features = 0x3;
    start();
    EXPECT_EQ(driver.property(PartitionProperty::kSyntheticProcFeatures), 0x3u);
}

TEST_F(MshvPartitionTest, OffersEverythingWhereTheHostDoesNotTell) {
    driver.knows_assignable_features = false;
    start();
    EXPECT_EQ(driver.property(PartitionProperty::kSyntheticProcFeatures), 0x6000bcbu);
}

TEST(MshvPartitionOldKernel, NeedsNoHypercallsOnTheDevice) {
    FakeMshv driver(FakeMshv::Kernel::kOld);
    EXPECT_TRUE(MshvAccelerator("/dev/mshv", driver).create_partition({}));
    EXPECT_EQ(driver.property(PartitionProperty::kSyntheticProcFeatures), 0x6000bcbu);
}

TEST_F(MshvPartitionTest, AnInterruptedCreationIsRepeated) {
    driver.ioctl_faults = {{kIoctlCreatePartition, -EINTR}, {kIoctlCreatePartition, -EAGAIN}};
    EXPECT_EQ(creation_error(), "");
}

TEST_F(MshvPartitionTest, EachStepThatFailsIsNamed) {
    driver.ioctl_faults = {{kIoctlCreatePartition, -ENOMEM}};
    EXPECT_EQ(creation_error().find("MSHV_CREATE_PARTITION: "), 0u);
    driver.ioctl_faults = {{kIoctlInitializePartition, -EIO}};
    EXPECT_EQ(creation_error().find("MSHV_INITIALIZE_PARTITION: "), 0u);
    for (int calls = 0; calls < 3; ++calls) {
        driver.faults.assign(
            1, {HypercallCode::kSetPartitionProperty, EIO, HvStatus::kInvalidPartitionState});
        EXPECT_NE(creation_error().find("SET_PARTITION_PROPERTY (status 7)"), std::string::npos);
    }
}

TEST_F(MshvPartitionTest, AnAbsurdXsaveSizeIsRefused) {
    for (const uint64_t size : {uint64_t{0}, uint64_t{1} << 40}) {
        driver.xsave_size = size;
        EXPECT_NE(creation_error().find("XSAVE"), std::string::npos);
    }
}

TEST_F(MshvPartitionTest, TakesTheCpuModelsThatPassOnTheHost) {
    EXPECT_EQ(creation_error({.cpu_model = "max"}), "");
    EXPECT_NE(creation_error({.cpu_model = "486"}).find("\"486\""), std::string::npos);
}

TEST_F(MshvPartitionTest, TakesAsManyVcpusAsTheDriverHas) {
    EXPECT_EQ(creation_error({.vcpu_count = 255}), "");
    EXPECT_NE(creation_error({.vcpu_count = 256}).find("1 to 255"), std::string::npos);
    EXPECT_EQ(creation_error({.vcpu_count = 256, .local_apic = false}), "");
    EXPECT_NE(creation_error({.vcpu_count = 257, .local_apic = false}).find("1 to 256"),
              std::string::npos);
}

TEST_F(MshvPartitionTest, AVcpuIsMadeOnce) {
    start();
    TestIo other;
    const auto again = partition().create_vcpu(VcpuIndex(0), other);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().errno_value(), EEXIST);
}

TEST_F(MshvPartitionTest, AVcpuThatCannotBeMadeSaysWhatFailed) {
    auto made = MshvAccelerator("/dev/mshv", driver).create_partition({});
    ASSERT_TRUE(made);
    TestIo other;
    driver.ioctl_faults = {{kIoctlCreateVp, -EIO}};
    EXPECT_EQ((*made)->create_vcpu(VcpuIndex(0), other).error().message().find("MSHV_CREATE_VP"),
              0u);
    driver.page_error = EINVAL;
    EXPECT_EQ((*made)->create_vcpu(VcpuIndex(0), other).error().errno_value(), EINVAL);
}

// ---- time ----

TEST_F(MshvPartitionTest, TimeBeginsWithTheFirstRun) {
    start();
    EXPECT_EQ(driver.property(kFreeze), 1u);
    run_to_kick({});
    EXPECT_EQ(driver.property(kFreeze), 0u);
}

TEST_F(MshvPartitionTest, TimeStandsWhileFrozen) {
    start();
    run_to_kick({});
    ASSERT_TRUE(partition().set_time_frozen(true));
    EXPECT_EQ(driver.property(kFreeze), 1u);
    ASSERT_TRUE(partition().set_time_frozen(true));
    ASSERT_TRUE(partition().set_time_frozen(false));
    EXPECT_EQ(driver.property(kFreeze), 0u);
}

TEST_F(MshvPartitionTest, ARunDoesNotThawWhatWasFrozen) {
    start();
    ASSERT_TRUE(partition().set_time_frozen(true));
    vcpu().set_stop();
    EXPECT_EQ(vcpu().run().stop, RunStop::kKicked);
    EXPECT_EQ(driver.property(kFreeze), 1u);
}

TEST_F(MshvPartitionTest, TimeThatDoesNotBeginIsAFault) {
    start();
    driver.faults = {{HypercallCode::kSetPartitionProperty, EIO, HvStatus::kOperationFailed}};
    run_to_fault({});
}

TEST_F(MshvPartitionTest, TimeThatCannotBeFrozenIsAnErrorAndRunsOn) {
    start();
    run_to_kick({});
    driver.faults = {{HypercallCode::kSetPartitionProperty, EIO, HvStatus::kOperationFailed}};
    EXPECT_FALSE(partition().set_time_frozen(true));
    EXPECT_TRUE(partition().set_time_frozen(true)) << "and may be tried again";
    EXPECT_EQ(driver.property(kFreeze), 1u);
}

// ---- messages ----

TEST_F(MshvPartitionTest, AFixedInterruptGoesToItsDestination) {
    start();
    const auto edge = sent({.address = kMessageAddress | 0x7000, .data = 0x51});
    ASSERT_TRUE(edge);
    EXPECT_EQ(edge->control, 0u);
    EXPECT_EQ(edge->destination, 7u);
    EXPECT_EQ(edge->vector, 0x51u);
    const auto logical = sent({.address = kMessageAddress | 0x7004, .data = 0x151});
    ASSERT_TRUE(logical);
    EXPECT_EQ(logical->control,
              kInterruptLogicalDestination | static_cast<uint64_t>(InterruptType::kLowestPriority));
}

TEST_F(MshvPartitionTest, ALevelInterruptSaysSoThatItsEndIsReported) {
    start();
    EXPECT_EQ(sent({.address = kMessageAddress, .data = 0xc051})->control,
              kInterruptLevelTriggered);
    EXPECT_FALSE(sent({.address = kMessageAddress, .data = 0x8051})) << "the level's end";
}

TEST_F(MshvPartitionTest, DestinationsAbove255AreInTheUpperHalf) {
    start();
    EXPECT_EQ(sent({.address = 0x12'fee3'4000 | uint64_t{0xabcd} << 40, .data = 0x51})->destination,
              0xabcd34u);
}

TEST_F(MshvPartitionTest, NmiInitAndSmiHaveNoVector) {
    start();
    for (const InterruptType type :
         {InterruptType::kSmi, InterruptType::kNmi, InterruptType::kInit}) {
        const auto message =
            sent({.address = kMessageAddress, .data = static_cast<uint32_t>(type) << 8 | 0x33});
        ASSERT_TRUE(message);
        EXPECT_EQ(message->control, static_cast<uint64_t>(type));
        EXPECT_EQ(message->vector, 0u);
    }
}

TEST_F(MshvPartitionTest, WhatNoLocalApicTakesIsDropped) {
    start();
    EXPECT_FALSE(sent({.address = kMessageAddress, .data = 0x351})) << "reserved delivery mode";
    EXPECT_FALSE(sent({.address = kMessageAddress, .data = 0x651})) << "reserved delivery mode";
    EXPECT_FALSE(sent({.address = kMessageAddress, .data = 0x751})) << "ExtINT";
    EXPECT_FALSE(sent({.address = kMessageAddress, .data = 0x0f})) << "illegal vector";
    for (const HvStatus status :
         {HvStatus::kInvalidParameter, HvStatus::kInvalidVpIndex, HvStatus::kInvalidVpState,
          HvStatus::kOperationDenied, HvStatus::kNotFound}) {
        driver.faults = {{HypercallCode::kAssertVirtualInterrupt, EIO, status}};
        EXPECT_FALSE(sent({.address = kMessageAddress, .data = 0x51}));
    }
}

TEST_F(MshvPartitionTest, AFailureToSendIsAnError) {
    start();
    driver.faults = {{HypercallCode::kAssertVirtualInterrupt, EIO, HvStatus::kOperationFailed}};
    EXPECT_FALSE(partition().signal_msi({.address = kMessageAddress, .data = 0x51}));
    driver.faults = {{HypercallCode::kAssertVirtualInterrupt, EINVAL}};
    EXPECT_FALSE(partition().signal_msi({.address = kMessageAddress, .data = 0x51}))
        << "the driver's own refusal is not the hypervisor's";
}

TEST_F(MshvPartitionTest, WithoutLocalApicsMessagesAndRoutesGoNowhere) {
    start({.local_apic = false});
    EXPECT_FALSE(sent({.address = kMessageAddress, .data = 0x51}));
    const MsiRoute route{.gsi = Gsi(1), .message = {kMessageAddress, 0x51}};
    EXPECT_TRUE(partition().set_msi_routes({&route, 1}));
    EXPECT_TRUE(driver.routes.empty());
}

TEST_F(MshvPartitionTest, RoutesReplaceTheWholeTable) {
    start();
    const MsiRoute routes[] = {{.gsi = Gsi(4), .message = {kMessageAddress | 0x1000, 0x51}},
                               {.gsi = Gsi(9), .message = {kMessageAddress, 0xc052}}};
    ASSERT_TRUE(partition().set_msi_routes(routes));
    ASSERT_EQ(driver.routes.size(), 2u);
    EXPECT_EQ(driver.routes[0].gsi, 4u);
    EXPECT_EQ(driver.routes[0].address_low, 0xfee01000u);
    EXPECT_EQ(driver.routes[1].data, 0xc052u);
    ASSERT_TRUE(partition().set_msi_routes({}));
    EXPECT_TRUE(driver.routes.empty());
}

TEST_F(MshvPartitionTest, RoutesThatTheDriverHasNoRoomForAreErrors) {
    start();
    const MsiRoute far{.gsi = Gsi(4), .message = {uint64_t{1} << 32 | kMessageAddress, 0x51}};
    EXPECT_FALSE(partition().set_msi_routes({&far, 1}));
    const MsiRoute beyond{.gsi = Gsi(4096), .message = {kMessageAddress, 0x51}};
    EXPECT_FALSE(partition().set_msi_routes({&beyond, 1}));
    const std::vector<MsiRoute> many(4097, far);
    EXPECT_FALSE(partition().set_msi_routes(many));
}

// ---- eventfds ----

TEST_F(MshvPartitionTest, EventfdsArePassedOnToTheDriver) {
    start();
    EventfdWiring* const wiring = partition().eventfds();
    ASSERT_NE(wiring, nullptr);
    ASSERT_TRUE(wiring->connect_irqfd(Gsi(30), 99));
    ASSERT_TRUE(wiring->disconnect_irqfd(Gsi(30), 99));
    ASSERT_EQ(driver.irqfds.size(), 2u);
    EXPECT_EQ(driver.irqfds[0].fd, 99);
    EXPECT_EQ(driver.irqfds[0].gsi, 30u);
    EXPECT_EQ(driver.irqfds[0].flags, 0u);
    EXPECT_EQ(driver.irqfds[1].flags, kIrqfdDeassign);
    const Doorbell doorbell{.address = Gpa(0xd0000000), .length = 2, .value = 5};
    ASSERT_TRUE(wiring->connect_ioeventfd(doorbell, 98));
    ASSERT_TRUE(wiring->connect_ioeventfd({.address = Gpa(0xd0000000)}, 97));
    ASSERT_TRUE(wiring->disconnect_ioeventfd(doorbell, 98));
    ASSERT_EQ(driver.ioeventfds.size(), 3u);
    EXPECT_EQ(driver.ioeventfds[0].address, 0xd0000000u);
    EXPECT_EQ(driver.ioeventfds[0].length, 2u);
    EXPECT_EQ(driver.ioeventfds[0].datamatch, 5u);
    EXPECT_EQ(driver.ioeventfds[0].flags, kIoeventfdDatamatch);
    EXPECT_EQ(driver.ioeventfds[1].flags, 0u);
    EXPECT_EQ(driver.ioeventfds[2].flags, kIoeventfdDatamatch | kIoeventfdDeassign);
}

TEST_F(MshvPartitionTest, EventfdsThatTheDriverRefusesAreErrors) {
    start();
    EventfdWiring* const wiring = partition().eventfds();
    driver.ioctl_faults = {{kIoctlIrqfd, -EBUSY}};
    EXPECT_EQ(wiring->connect_irqfd(Gsi(30), 99).error().errno_value(), EBUSY);
    driver.ioctl_faults = {{kIoctlIoeventfd, -EEXIST}};
    EXPECT_EQ(wiring->connect_ioeventfd({.address = Gpa(0)}, 99).error().errno_value(), EEXIST);
    EXPECT_FALSE(wiring->connect_irqfd(Gsi(4096), 99)) << "the driver would take it in silence";
}

}  // namespace
}  // namespace halcyon::testing_support
