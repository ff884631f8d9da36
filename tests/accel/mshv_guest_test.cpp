// Guests on /dev/mshv, for what only this backend does: the cost of an exit, and instructions that
// it carries out in a guest with page tables. On a Hyper-V root partition, or under mshv-emulator.
#include "accel/mshv/mshv_accelerator.h"
#include "accel/mshv/mshv_vcpu.h"
#include "tests/accel/guest_fixture.h"

namespace halcyon::testing_support {
namespace {

class MshvGuest : public ::testing::Test {
protected:
    void SetUp() override {
        if (const auto usable = accelerator_.probe(); !usable) {
            GTEST_SKIP() << usable.error().message();
        }
        ASSERT_TRUE(install_kick_handler());
        guest_.emplace(accelerator_);
        ASSERT_TRUE(guest_->ok());
    }
    [[nodiscard]] Guest& guest() { return *guest_; }
    [[nodiscard]] uint64_t hypercalls() {
        return static_cast<MshvVcpu&>(guest_->vcpu()).hypercalls().calls.load();
    }

    /// 64-bit mode with 4 KiB pages: the first 2 MiB as they are, but kAbsent; the device at
    /// D0000000h behind kDevice, and one that may only be read behind kReadOnlyDevice. #PF ends at
    /// `handler`.
    void start_paging(const Code& code, const Code& handler) {
        constexpr uint64_t kPresent = 1;
        constexpr uint64_t kPresentWritable = 3;
        guest().write<uint64_t>(kTop, kPointers | kPresentWritable);
        guest().write<uint64_t>(kPointers, kDirectory | kPresentWritable);
        guest().write<uint64_t>(kDirectory, kTable | kPresentWritable);
        guest().write<uint64_t>(kDirectory + 8, kDeviceTable | kPresentWritable);
        for (uint64_t page = 0; page < 512; ++page) {
            guest().write<uint64_t>(kTable + 8 * page, page << 12 | kPresentWritable);
        }
        guest().write<uint64_t>(kTable + 8 * (kAbsent >> 12), 0);
        guest().write<uint64_t>(kDeviceTable, 0xd0000000 | kPresentWritable);
        guest().write<uint64_t>(kDeviceTable + 8, 0xd0001000 | kPresent);
        // The descriptors that an interrupt and its return load: 64-bit code 08h, data 10h.
        guest().write<uint64_t>(kGdt + 0x08, 0x00af9b000000ffff);
        guest().write<uint64_t>(kGdt + 0x10, 0x00cf93000000ffff);
        guest().write<uint64_t>(kIdt + 16 * 14, 0x00008e0000080000 | kHandler);  // interrupt gate
        guest().write<uint64_t>(kIdt + 16 * 14 + 8, 0);
        guest().load(kCode, code);
        guest().load(kHandler, handler);
        VcpuRegisters registers = protected_mode_registers();
        registers.cs.attributes = 0xa09b;
        registers.gdt = {.base = kGdt, .limit = 0x17};
        registers.idt = {.base = kIdt, .limit = 0xff};
        registers.tr = {.base = 0, .limit = 0x67, .selector = 0x18, .attributes = 0x8b};
        registers.cr3 = kTop;
        registers.cr4 = 0x20;        // PAE
        registers.efer = 0x500;      // LME, LMA
        registers.cr0 = 0x80010011;  // PG, WP, ET, PE
        guest().set_registers(registers);
    }

    static constexpr uint64_t kTop = 0x10000;
    static constexpr uint64_t kTable = 0x11000;
    static constexpr uint64_t kPointers = 0x12000;
    static constexpr uint64_t kDirectory = 0x13000;
    static constexpr uint64_t kDeviceTable = 0x14000;
    static constexpr uint64_t kGdt = 0x6000;
    static constexpr uint64_t kIdt = 0x7000;
    static constexpr uint64_t kAbsent = 0x21000;
    static constexpr uint64_t kReadOnlyDevice = 0x201000;

private:
    MshvAccelerator accelerator_;
    std::optional<Guest> guest_;
};

/// out 90h, CR2; makes kAbsent present; returns.
const Code kMakePresent = {
    0x50,                                            // push rax
    0x0f, 0x20, 0xd0,                                // mov rax, cr2
    0xe7, 0x90,                                      // out 0x90, eax
    0x48, 0xc7, 0x04, 0x25, 0x08, 0x11, 0x01, 0x00,  // mov qword [its entry], ...
    0x03, 0x10, 0x02, 0x00,                          // ... 0x21003
    0x0f, 0x01, 0x3c, 0x25, 0x00, 0x10, 0x02, 0x00,  // invlpg [0x21000]
    0x58,                                            // pop rax
    0x48, 0x83, 0xc4, 0x08,                          // add rsp, 8 (the error code)
    0x48, 0xcf,                                      // iretq
};

TEST_F(MshvGuest, APortAccessCostsOneHypercallOrNone) {
    constexpr uint64_t kExits = 4000;
    guest().io().record = false;
    guest().start_protected_mode({
        0xb9, 0xd0, 0x07, 0x00, 0x00,  // mov ecx, 2000
        0xe6, 0x80,                    // again: out 0x80, al
        0xe4, 0x71,                    // in al, 0x71
        0xe2, 0xfa,                    // loop again
        0xe6, 0xf4,                    // out 0xf4, al
    });
    const uint64_t before = hypercalls();
    const uint64_t entries = guest().vcpu().counters()->entries.value();
    {
        VcpuRun run(guest().vcpu());
        ASSERT_EQ(run.wait().stop, RunStop::kKicked);
    }
    const uint64_t exits = guest().vcpu().counters()->pio_exits.value();
    EXPECT_EQ(exits, kExits + 1);
    // And one in the end, to put what the kick found on the register page into the hypervisor.
    EXPECT_LE(hypercalls() - before, exits + 1);
    // An entry each, and those that a signal ended or the kick refused.
    const VcpuCounters& counters = *guest().vcpu().counters();
    EXPECT_LE(counters.entries.value() - entries,
              exits + counters.interrupted.value() + counters.aborted_entries.value());
}

TEST_F(MshvGuest, StringInputThatFaultsInTheMiddleGoesOnBehindTheFault) {
    uint64_t count = 0;
    guest().io().on_read = [&](const Access&) { return ++count; };
    start_paging(
        {
            0xfc,                          // cld
            0x66, 0xba, 0x34, 0x12,        // mov dx, 0x1234
            0xbf, 0xfc, 0x0f, 0x02, 0x00,  // mov edi, 0x20ffc
            0xb9, 0x08, 0x00, 0x00, 0x00,  // mov ecx, 8
            0xf3, 0x6c,                    // rep insb
            0xe6, 0xf4,                    // out 0xf4, al
        },
        kMakePresent);
    const VcpuRegisters after = guest().run_to_done();
    EXPECT_EQ(after.gpr[kRcx], 0u);
    EXPECT_EQ(after.gpr[kRdi], 0x21004u);
    EXPECT_EQ(after.cr2, kAbsent);
    EXPECT_EQ(guest().read<uint64_t>(0x20ffc), 0x0807060504030201u) << "no element is read twice";
    EXPECT_EQ(count, 8u);
}

TEST_F(MshvGuest, StringOutputThatFaultsInTheMiddleGoesOnBehindTheFault) {
    guest().write<uint64_t>(0x20ffe, 0x8877665544332211);
    start_paging(
        {
            0xfc,                          // cld
            0x66, 0xba, 0x34, 0x12,        // mov dx, 0x1234
            0xbe, 0xfe, 0x0f, 0x02, 0x00,  // mov esi, 0x20ffe
            0xb9, 0x02, 0x00, 0x00, 0x00,  // mov ecx, 2
            0xf3, 0x66, 0x6f,              // rep outsw
            0xe6, 0xf4,                    // out 0xf4, al
        },
        kMakePresent);
    guest().run_to_done();
    EXPECT_EQ(guest().io().accesses(),
              (std::vector<Access>{{AccessKind::kPioWrite, 0x1234, 2, 0x2211},
                                   {AccessKind::kPioWrite, 0x90, 4, kAbsent},
                                   {AccessKind::kPioWrite, 0x1234, 2, 0x4433}}));
}

TEST_F(MshvGuest, ADeviceBehindAPageTableIsReachedAtItsPhysicalAddress) {
    guest().io().on_read = [](const Access&) { return 0x55667788; };
    start_paging(
        {
            0x8b, 0x04, 0x25, 0x10, 0x00, 0x20, 0x00,  // mov eax, [0x200010]
            0x89, 0x04, 0x25, 0x20, 0x00, 0x20, 0x00,  // mov [0x200020], eax
            0x01, 0x04, 0x25, 0x30, 0x00, 0x20, 0x00,  // add [0x200030], eax
            0xe6, 0xf4,                                // out 0xf4, al
        },
        kMakePresent);
    guest().run_to_done();
    EXPECT_EQ(guest().io().accesses(),
              (std::vector<Access>{{AccessKind::kMmioRead, 0xd0000010, 4, 0x55667788},
                                   {AccessKind::kMmioWrite, 0xd0000020, 4, 0x55667788},
                                   {AccessKind::kMmioRead, 0xd0000030, 4, 0x55667788},
                                   {AccessKind::kMmioWrite, 0xd0000030, 4, 0xaaccef10}}));
}

TEST_F(MshvGuest, AMoveFromADeviceToAnAbsentPageFaultsAndThenMoves) {
    guest().io().on_read = [](const Access& access) { return access.address & 0xff; };
    start_paging(
        {
            0xfc,                          // cld
            0xbe, 0x40, 0x00, 0x20, 0x00,  // mov esi, 0x200040
            0xbf, 0xfe, 0x0f, 0x02, 0x00,  // mov edi, 0x20ffe
            0xb9, 0x04, 0x00, 0x00, 0x00,  // mov ecx, 4
            0xf3, 0xa4,                    // rep movsb
            0xe6, 0xf4,                    // out 0xf4, al
        },
        kMakePresent);
    const VcpuRegisters after = guest().run_to_done();
    EXPECT_EQ(after.gpr[kRcx], 0u);
    EXPECT_EQ(after.cr2, kAbsent);
    EXPECT_EQ(guest().read<uint32_t>(0x20ffe), 0x43424140u);
}

TEST_F(MshvGuest, AReadModifyWriteOfAPageThatMayOnlyBeReadFaultsBeforeTheDeviceSeesIt) {
    start_paging(
        {
            0xff, 0x04, 0x25, 0x00, 0x10, 0x20, 0x00,  // inc dword [0x201000]
            0xe6, 0xf4,                                // out 0xf4, al
        },
        {
            0x58,              // pop rax (the error code)
            0xe7, 0x91,        // out 0x91, eax
            0x0f, 0x20, 0xd0,  // mov rax, cr2
            0xe7, 0x90,        // out 0x90, eax
            0xe6, 0xf4,        // out 0xf4, al
        });
    guest().run_to_done();
    EXPECT_EQ(guest().io().accesses(),
              (std::vector<Access>{{AccessKind::kPioWrite, 0x91, 4, 3},  // present, a write
                                   {AccessKind::kPioWrite, 0x90, 4, kReadOnlyDevice}}));
}

TEST_F(MshvGuest, AJumpToWhereThereIsNoMemoryIsAFaultWithTheAddress) {
    guest().start_protected_mode({
        0xb8, 0x00, 0x00, 0x00, 0xd0,  // mov eax, 0xd0000000
        0xff, 0xe0,                    // jmp eax
    });
    VcpuRun run(guest().vcpu());
    const RunOutcome outcome = run.wait();
    EXPECT_EQ(outcome.stop, RunStop::kFault) << to_string(outcome.stop);
    EXPECT_NE(outcome.detail.find("0xd0000000"), std::string::npos) << outcome.detail;
}

}  // namespace
}  // namespace halcyon::testing_support
