// Guests of random bytes: whatever they do, the host's memory stays whole and a kick stops them.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <thread>

#include "accel/soft/soft_accelerator.h"
#include "base/mapping.h"
#include "tests/accel/guest_fixture.h"

namespace halcyon::testing_support {
namespace {

constexpr size_t kRam = 256 * 1024;
constexpr size_t kGuard = 64 * 1024;
constexpr std::byte kCanary{0xa5};

/// Answers with noise; ends the run after so many accesses.
class NoiseIo final : public GuestIo {
public:
    Vcpu* vcpu = nullptr;
    int left = 0;

    void pio_read(PioPort /*port*/, std::span<std::byte> data) override { answer(data); }
    void pio_write(PioPort /*port*/, std::span<const std::byte> /*data*/) override { count(); }
    void mmio_read(Gpa /*address*/, std::span<std::byte> data) override { answer(data); }
    void mmio_write(Gpa /*address*/, std::span<const std::byte> /*data*/) override { count(); }
    std::optional<uint8_t> acknowledge_extint() override { return 0x20; }
    void end_of_interrupt(uint8_t /*vector*/) override { count(); }

private:
    void count() {
        if (--left <= 0) {
            vcpu->kick();
        }
    }
    void answer(std::span<std::byte> data) {
        noise_ = noise_ * 6364136223846793005u + 1442695040888963407u;
        std::memcpy(data.data(), &noise_, data.size());
        count();
    }
    uint64_t noise_ = 1;
};

class RandomGuest {
public:
    explicit RandomGuest(bool local_apic)
        : host_(Mapping::anonymous(kGuard + kRam + kGuard, "random guest").value()),
          partition_(SoftAccelerator()
                         .create_partition({.vcpu_count = 1, .local_apic = local_apic})
                         .value()) {
        std::fill_n(host_.data(), host_.size(), kCanary);
        const std::byte* const rom = ram() + kRam / 2;
        EXPECT_TRUE(partition_->map_memory({Gpa(0), kRam / 2}, ram(), MemoryAccess::kReadWrite));
        EXPECT_TRUE(partition_->map_memory({Gpa(kRam / 2), kRam / 2}, const_cast<std::byte*>(rom),
                                           MemoryAccess::kReadOnly));
        vcpu_ = std::move(partition_->create_vcpu(VcpuIndex(0), io_).value());
        io_.vcpu = vcpu_.get();
    }

    [[nodiscard]] std::byte* ram() { return host_.data() + kGuard; }
    [[nodiscard]] Vcpu& vcpu() { return *vcpu_; }

    RunOutcome run(std::mt19937_64& random) {
        for (size_t i = 0; i < kRam; i += sizeof(uint64_t)) {
            const uint64_t word = random();
            std::memcpy(ram() + i, &word, sizeof(word));
        }
        EXPECT_TRUE(vcpu_->reset());
        vcpu_->clear_stop();
        EXPECT_TRUE(vcpu_->set_registers(registers(random)));
        rom_.assign(ram() + kRam / 2, ram() + kRam);
        io_.left = 200;
        partition_->set_extint(random() % 2 == 0);
        return vcpu_->run();
    }

    /// Nothing outside RAM, and nothing of the read-only half, was written.
    [[nodiscard]] bool whole() {
        const auto canary = [](std::byte byte) { return byte == kCanary; };
        return std::all_of(host_.data(), ram(), canary) &&
               std::all_of(ram() + kRam, host_.data() + host_.size(), canary) &&
               std::equal(rom_.begin(), rom_.end(), ram() + kRam / 2);
    }

private:
    static SegmentRegister segment(std::mt19937_64& random, bool protection) {
        const auto base = static_cast<uint32_t>(random() % kRam);
        if (!protection) {
            return {.base = base & ~15u,
                    .limit = 0xffff,
                    .selector = static_cast<uint16_t>(base >> 4),
                    .attributes = 0x93};
        }
        return {
            .base = random() % 4 == 0 ? base : 0,
            .limit = random() % 4 == 0 ? base : 0xffffffff,
            .selector = static_cast<uint16_t>(random()),
            .attributes = static_cast<uint16_t>(random() % 4 == 0 ? random() & 0xf0ff : 0xc093)};
    }
    static VcpuRegisters registers(std::mt19937_64& random) {
        VcpuRegisters out = reset_registers();
        const bool protection = random() % 2 == 0;
        for (uint64_t& value : out.gpr) {
            value = random() % 2 == 0 ? random() : random() % kRam;
        }
        for (SegmentRegister* each : {&out.ds, &out.es, &out.fs, &out.gs, &out.ss}) {
            *each = segment(random, protection);
        }
        out.cr0 = 0x10 | (protection ? 1 : 0);
        out.cs = {.base = 0,
                  .limit = protection ? 0xffffffff : 0xffff,
                  .selector = 8,
                  .attributes = static_cast<uint16_t>(protection ? 0xc09b : 0x9b)};
        out.rip = random() % 0x10000;
        out.rflags = 2 | (random() & 0x4fd5);
        out.gdt = {.base = random() % kRam, .limit = static_cast<uint16_t>(random())};
        out.idt = {.base = random() % 4 == 0 ? random() : random() % kRam,
                   .limit = static_cast<uint16_t>(random())};
        out.tr = {.base = random() % kRam,
                  .limit = static_cast<uint32_t>(random() % 0x200),
                  .selector = 0x40,
                  .attributes = 0x8b};
        return out;
    }

    Mapping host_;
    NoiseIo io_;
    std::unique_ptr<Partition> partition_;
    std::unique_ptr<Vcpu> vcpu_;
    std::vector<std::byte> rom_;
};

class SoftRandom : public ::testing::TestWithParam<bool> {};

TEST_P(SoftRandom, AnyGuestCanBeStoppedAndHarmsNothing) {
    constexpr int kGuests = 600;
    RandomGuest guest(GetParam());
    // Kicks come all the time, so that no guest runs for long and kicks hit everywhere.
    std::jthread kicker([&guest](const std::stop_token& end) {
        while (!end.stop_requested()) {
            std::this_thread::sleep_for(std::chrono::microseconds(500));
            guest.vcpu().kick();
        }
    });
    std::mt19937_64 random(20240607);
    int faults = 0;
    for (int i = 0; i < kGuests; ++i) {
        const RunOutcome outcome = guest.run(random);
        ASSERT_TRUE(guest.whole()) << "guest " << i;
        EXPECT_NE(outcome.stop, RunStop::kReset);
        EXPECT_TRUE(outcome.stop != RunStop::kFault || !outcome.detail.empty());
        faults += outcome.stop == RunStop::kTripleFault ? 1 : 0;
    }
    EXPECT_GT(faults, 0) << "the guests were too tame";
    EXPECT_LT(faults, kGuests) << "the guests were too wild";
}

INSTANTIATE_TEST_SUITE_P(LocalApic, SoftRandom, ::testing::Bool());

}  // namespace
}  // namespace halcyon::testing_support
