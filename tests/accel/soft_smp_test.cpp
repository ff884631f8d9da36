// Several interpreted vCPUs, their local APICs, and changes of memory while they run.
#include <atomic>
#include <thread>

#include "base/mapping.h"
#include "tests/accel/soft_guest_test.h"

namespace halcyon::testing_support {
namespace {

constexpr uint32_t kApic = 0xfee00000;

Code store_apic(uint32_t offset, uint32_t value) {
    const uint32_t address = kApic + offset;
    Code code = {0xc7, 0x05};  // mov dword [address], value
    for (const uint32_t word : {address, value}) {
        for (unsigned shift = 0; shift < 32; shift += 8) {
            code.push_back(static_cast<uint8_t>(word >> shift));
        }
    }
    return code;
}

Code operator+(Code left, const Code& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

class SoftSmp : public SoftGuestTest {
protected:
    explicit SoftSmp(bool local_apic = false, uint32_t count = 4)
        : SoftGuestTest({.vcpu_count = count, .local_apic = local_apic}) {}
};

TEST_F(SoftSmp, LockedIncrementsAreNeverLost) {
    constexpr uint32_t kEach = 30000;
    // lock inc dword [kData]; loop
    const Code code = finished({0xf0, 0xff, 0x05, 0x00, 0x20, 0x00, 0x00, 0xe2, 0xf7});
    guest_.load(kCode, code);
    for (size_t i = 0; i < 4; ++i) {
        VcpuRegisters start = protected_mode_registers();
        start.gpr[kRcx] = kEach;
        guest_.set_registers(start, i);
    }
    {
        VcpuRun first(guest_.vcpu(0));
        VcpuRun second(guest_.vcpu(1));
        VcpuRun third(guest_.vcpu(2));
        VcpuRun fourth(guest_.vcpu(3));
        for (VcpuRun* run : {&first, &second, &third, &fourth}) {
            EXPECT_EQ(run->wait().stop, RunStop::kKicked);
        }
    }
    EXPECT_EQ(guest_.read<uint32_t>(kData), 4 * kEach);
}

TEST_F(SoftSmp, SpinningVcpusLetEachOtherRun) {
    // Each waits for its own value in kData, then writes the next: a round in turns.
    for (uint8_t i = 0; i < 4; ++i) {
        const uint64_t at = kCode + 0x100u * i;
        guest_.load(at, finished({0x80, 0x3d, 0x00, 0x20, 0x00, 0x00, i,  // cmp byte [kData], i
                                  0x74, 0x04,                             // je over
                                  0xf3, 0x90,                             // pause
                                  0xeb, 0xf3,                             // jmp back
                                  0xfe, 0x05, 0x00, 0x20, 0x00, 0x00}));  // inc byte [kData]
        guest_.set_registers(protected_mode_registers(static_cast<uint32_t>(at)), i);
    }
    VcpuRun last(guest_.vcpu(3));
    VcpuRun third(guest_.vcpu(2));
    VcpuRun second(guest_.vcpu(1));
    VcpuRun first(guest_.vcpu(0));
    for (VcpuRun* run : {&first, &second, &third, &last}) {
        EXPECT_EQ(run->wait().stop, RunStop::kKicked);
    }
    EXPECT_EQ(guest_.read<uint8_t>(kData), 4);
}

TEST_F(SoftSmp, WaitingForItsTurnIsKickable) {
    guest_.load(kCode, {0xeb, 0xfe});
    for (size_t i = 0; i < 4; ++i) {
        guest_.set_registers(protected_mode_registers(), i);
    }
    VcpuRun spinning(guest_.vcpu(0));
    for (int round = 0; round < 200; ++round) {
        VcpuRun waiting(guest_.vcpu(1 + round % 3));
        EXPECT_EQ(waiting.kick_and_wait().stop, RunStop::kKicked);
    }
    EXPECT_EQ(spinning.kick_and_wait().stop, RunStop::kKicked);
}

TEST_F(SoftSmp, MemoryChangesWhileVcpusRun) {
    Mapping other = Mapping::anonymous(kPageSize, "test").value();
    const GpaRange range{Gpa(0x100000), kPageSize};
    guest_.load(kCode, {0xa1, 0x00, 0x00, 0x10, 0x00, 0xeb, 0xf9});  // mov eax, [100000h]; loop
    guest_.io(0).record = guest_.io(1).record = false;
    guest_.set_registers(protected_mode_registers(), 0);
    guest_.set_registers(protected_mode_registers(), 1);
    VcpuRun first(guest_.vcpu(0));
    VcpuRun second(guest_.vcpu(1));
    for (int round = 0; round < 500; ++round) {
        ASSERT_TRUE(guest_.partition().map_memory(range, other.data(), MemoryAccess::kReadWrite));
        ASSERT_TRUE(guest_.partition().unmap_memory(range));
    }
    EXPECT_EQ(first.kick_and_wait().stop, RunStop::kKicked);
    EXPECT_EQ(second.kick_and_wait().stop, RunStop::kKicked);
}

TEST_F(SoftSmp, DeviceRemapsMemoryFromWithinAnAccess) {
    Mapping other = Mapping::anonymous(kPageSize, "test").value();
    other.data()[0] = std::byte{0x42};
    guest_.io().on_write = [&](const Access& access) {
        if (access.kind == AccessKind::kPioWrite) {
            EXPECT_TRUE(guest_.partition().map_memory({Gpa(0x100000), kPageSize}, other.data(),
                                                      MemoryAccess::kReadOnly));
        }
    };
    // out 80h, al; mov al, [100000h]; mov [100000h], 1
    const VcpuRegisters end = run_protected(
        {0xe6, 0x80, 0xa0, 0x00, 0x00, 0x10, 0x00, 0xc6, 0x05, 0x00, 0x00, 0x10, 0x00, 0x01});
    EXPECT_EQ(end.gpr[kRax], 0x42u);
    EXPECT_EQ(other.data()[0], std::byte{0x42});
}

class SoftApicSmp : public SoftSmp {
protected:
    SoftApicSmp() : SoftSmp(true, 2) {}
};

TEST_F(SoftApicSmp, StartUpMessageStartsTheOtherVcpu) {
    guest_.load(0x9000, finished({0xb8, 0x34, 0x12}));                             // mov ax, 1234h
    const Code send = store_apic(0x310, 0x01000000) + store_apic(0x300, 0x4500) +  // INIT
                      store_apic(0x300, 0x4609);                                   // start at 9000h
    guest_.start_protected_mode(finished(send));
    VcpuRun sender(guest_.vcpu(0));
    VcpuRun started(guest_.vcpu(1));
    EXPECT_EQ(started.wait().stop, RunStop::kKicked);
    EXPECT_EQ(sender.wait().stop, RunStop::kKicked);
    const VcpuRegisters registers = guest_.registers(1);
    EXPECT_EQ(registers.gpr[kRax] & 0xffff, 0x1234u);
    EXPECT_EQ(registers.cs.selector, 0x900);
}

TEST_F(SoftApicSmp, StartUpBeforeTheTargetRunsIsKept) {
    guest_.load(0x9000, finished({0xb8, 0x34, 0x12}));
    guest_.start_protected_mode(finished(store_apic(0x310, 0x01000000) + store_apic(0x300, 0x4500) +
                                         store_apic(0x300, 0x4609)));
    guest_.run_to_done(0);
    VcpuRun started(guest_.vcpu(1));
    EXPECT_EQ(started.wait().stop, RunStop::kKicked);
    EXPECT_EQ(guest_.registers(1).cs.selector, 0x900);
}

TEST_F(SoftApicSmp, WaitingForStartUpIsKickable) {
    VcpuRun waiting(guest_.vcpu(1));
    EXPECT_EQ(waiting.kick_and_wait().stop, RunStop::kKicked);
}

TEST_F(SoftApicSmp, TimerWakesAHaltedVcpu) {
    constexpr uint32_t kIdt = 0x800;
    guest_.load(kHandler, finished({}));
    guest_.write<uint64_t>(kIdt + 0x40 * 8, 0x00008e0000080000u | kHandler);
    guest_.write<uint64_t>(0x608, 0x00cf9b000000ffff);
    VcpuRegisters start = protected_mode_registers();
    start.gdt = {.base = 0x600, .limit = 0x0f};
    start.idt = {.base = kIdt, .limit = 0x7ff};
    // A millisecond; sti; hlt; jmp to the hlt
    const VcpuRegisters end =
        run(store_apic(0xf0, 0x1ff) + store_apic(0x3e0, 0xb) + store_apic(0x320, 0x40) +
                store_apic(0x380, 1000000) + Code{0xfb, 0xf4, 0xeb, 0xfd},
            start);
    EXPECT_EQ(end.rip, kHandler + 2u);
}

TEST_F(SoftApicSmp, TimerInterruptsASpinningVcpu) {
    constexpr uint32_t kIdt = 0x800;
    guest_.load(kHandler, finished({}));
    guest_.write<uint64_t>(kIdt + 0x40 * 8, 0x00008e0000080000u | kHandler);
    guest_.write<uint64_t>(0x608, 0x00cf9b000000ffff);
    VcpuRegisters start = protected_mode_registers();
    start.gdt = {.base = 0x600, .limit = 0x0f};
    start.idt = {.base = kIdt, .limit = 0x7ff};
    const VcpuRegisters end =
        run(store_apic(0xf0, 0x1ff) + store_apic(0x3e0, 0xb) + store_apic(0x320, 0x40) +
                store_apic(0x380, 100000) + Code{0xfb, 0xeb, 0xfe},
            start);
    EXPECT_EQ(end.rip, kHandler + 2u);
}

TEST_F(SoftApicSmp, FrozenTimeStandsStill) {
    ASSERT_TRUE(guest_.partition().set_time_frozen(true));
    // rdtsc; mov ebx, eax; rdtsc; sub eax, ebx
    const Code code = {0x0f, 0x31, 0x89, 0xc3, 0x0f, 0x31, 0x29, 0xd8};
    EXPECT_EQ(run_protected(code).gpr[kRax], 0u);
    ASSERT_TRUE(guest_.partition().set_time_frozen(false));
    EXPECT_NE(run_protected(code).gpr[kRax], 0u);
}

}  // namespace
}  // namespace halcyon::testing_support
