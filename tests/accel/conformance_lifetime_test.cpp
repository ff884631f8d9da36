// What every backend must do: come, go, and leave nothing behind.
#include <algorithm>
#include <filesystem>

#include "tests/accel/guest_fixture.h"

namespace halcyon::testing_support {
namespace {

class LifetimeConformance : public BackendTest {};
FOR_EVERY_BACKEND(LifetimeConformance);

size_t open_descriptors() {
    const std::filesystem::directory_iterator descriptors("/proc/self/fd");
    return static_cast<size_t>(std::distance(begin(descriptors), end(descriptors)));
}

TEST_P(LifetimeConformance, ManyPartitionsLeaveNoDescriptorBehind) {
    const auto live = [&] {
        Guest guest(accelerator(), {.vcpu_count = 2});
        ASSERT_TRUE(guest.ok());
        guest.start_real_mode({0xe6, 0xf4});  // out 0xf4, al
        guest.run_to_done();
    };
    live();  // what is opened once and kept
    const size_t before = open_descriptors();
    for (int i = 0; i < 50; ++i) {
        live();
    }
    // What is closed may go on closing others for a moment, on a thread of its own (mshv-emulator).
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (open_descriptors() > before && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_LE(open_descriptors(), before);
}

TEST_P(LifetimeConformance, PartitionsLiveSideBySide) {
    std::vector<std::unique_ptr<Guest>> guests;
    for (int i = 0; i < 8; ++i) {
        guests.push_back(std::make_unique<Guest>(accelerator()));
        ASSERT_TRUE(guests.back()->ok());
        guests.back()->start_real_mode({
            0xb0, static_cast<uint8_t>(i),  // mov al, i
            0xe6, 0xf4,                     // out 0xf4, al
        });
    }
    for (size_t i = 0; i < guests.size(); ++i) {
        EXPECT_EQ(guests[i]->run_to_done().gpr[kRax] & 0xff, i);
    }
}

TEST_P(LifetimeConformance, ATimeFreezeIsAllowedTwiceAndEndsTwice) {
    Guest guest(accelerator());
    ASSERT_TRUE(guest.ok());
    for (const bool frozen : {false, true, true, false, false, true, false}) {
        const auto done = guest.partition().set_time_frozen(frozen);
        EXPECT_TRUE(done) << done.error().message();
    }
    guest.start_real_mode({0xe6, 0xf4});  // out 0xf4, al
    guest.run_to_done();
}

TEST_P(LifetimeConformance, NoVcpusAreRefused) {
    EXPECT_FALSE(accelerator().create_partition({.vcpu_count = 0}));
}

TEST_P(LifetimeConformance, AVcpuBeyondTheConfiguredOnesIsRefused) {
    auto partition = accelerator().create_partition({.vcpu_count = 1});
    ASSERT_TRUE(partition);
    TestIo io;
    EXPECT_FALSE((*partition)->create_vcpu(VcpuIndex(1), io));
}

TEST(Registry, ListsEveryBackendOnceUnderItsName) {
    for (const Accelerator* accelerator : accelerators()) {
        EXPECT_EQ(find_accelerator(accelerator->name()), accelerator);
        EXPECT_FALSE(accelerator->kick_mechanism().empty());
    }
    EXPECT_EQ(find_accelerator("nonesuch"), nullptr);
}

TEST(Registry, PrefersMshvToKvmToSoft) {
    std::vector<std::string_view> names;
    for (const Accelerator* accelerator : accelerators()) {
        names.push_back(accelerator->name());
    }
    std::vector<std::string_view> expected = {"mshv", "kvm", "soft"};
    std::erase_if(expected,
                  [](std::string_view name) { return find_accelerator(name) == nullptr; });
    EXPECT_EQ(names, expected);
}

}  // namespace
}  // namespace halcyon::testing_support
