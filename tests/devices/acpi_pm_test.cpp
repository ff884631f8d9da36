#include "devices/acpi_pm.h"

#include <chrono>
#include <cstdint>
#include <thread>

#include <gtest/gtest.h>

#include "devices/ticks.h"
#include "tests/devices/fake_clock.h"
#include "tests/devices/irq_recorder.h"

namespace halcyon {
namespace {

using namespace acpi_pm;
using namespace std::chrono_literals;

class AcpiPmTest : public testing::Test {
protected:
    uint16_t in16(uint64_t offset) {
        std::byte data[2];
        pm.pm_block().read(offset, data);
        return static_cast<uint16_t>(load_le(data));
    }
    void out16(uint64_t offset, uint16_t value) {
        std::byte data[2];
        store_le(data, value);
        pm.pm_block().write(offset, data);
    }
    uint32_t in32(uint64_t offset) {
        std::byte data[4];
        pm.pm_block().read(offset, data);
        return static_cast<uint32_t>(load_le(data));
    }
    void out32(uint64_t offset, uint32_t value) {
        std::byte data[4];
        store_le(data, value);
        pm.pm_block().write(offset, data);
    }
    void enable_acpi() { write_byte(pm.smi_ports(), kApmControl, kAcpiEnableCommand); }
    static constexpr uint16_t sleep(unsigned type) {
        return static_cast<uint16_t>(kSleepEnable | type << kSleepTypeShift | kSciEnable);
    }
    void advance_to_tick(uint64_t tick) {
        clock.advance(time_of_tick(tick, kTimerHz) - clock.now());
    }

    FakeClock clock;
    IrqRecorder sci;
    int offs = 0;
    AcpiPm pm{clock, sci, [this] { ++offs; }, AcpiSleepTypes{.s5 = 0, .s4 = 2}};
};

constexpr uint64_t kHalf = uint64_t{1} << kTimerStatusShift;

TEST_F(AcpiPmTest, TheApmPortTurnsSciOnAndOff) {
    EXPECT_EQ(in16(kPm1Control), 0);
    enable_acpi();
    EXPECT_EQ(in16(kPm1Control), kSciEnable);
    write_byte(pm.smi_ports(), kApmControl, 0x55);
    EXPECT_EQ(in16(kPm1Control), kSciEnable);
    write_byte(pm.smi_ports(), kApmControl, kAcpiDisableCommand);
    EXPECT_EQ(in16(kPm1Control), 0);
}

TEST_F(AcpiPmTest, TheApmPortsReadBack) {
    write_byte(pm.smi_ports(), kApmControl, 0x12);
    write_byte(pm.smi_ports(), kApmStatus, kAcpiEnableCommand);
    EXPECT_EQ(read_byte(pm.smi_ports(), kApmControl), 0x12);
    EXPECT_EQ(read_byte(pm.smi_ports(), kApmStatus), kAcpiEnableCommand);
    EXPECT_EQ(in16(kPm1Control), 0) << "the status port commands nothing";
}

TEST_F(AcpiPmTest, ThePowerButtonRaisesSciWhenEnabled) {
    enable_acpi();
    out16(kPm1Enable, kPowerButtonBit);
    EXPECT_TRUE(pm.press_power_button());
    EXPECT_TRUE(sci.level());
    EXPECT_EQ(in16(kPm1Status), kPowerButtonBit);
    out16(kPm1Status, kPowerButtonBit);
    EXPECT_FALSE(sci.level());
    EXPECT_EQ(in16(kPm1Status), 0);
}

TEST_F(AcpiPmTest, ThePowerButtonIsNotHeardWithoutItsEnableBitOrAcpi) {
    enable_acpi();
    EXPECT_FALSE(pm.press_power_button());
    EXPECT_FALSE(sci.level());
    EXPECT_EQ(in16(kPm1Status), kPowerButtonBit);
    write_byte(pm.smi_ports(), kApmControl, kAcpiDisableCommand);
    out16(kPm1Enable, kPowerButtonBit);
    EXPECT_FALSE(pm.press_power_button());
    EXPECT_FALSE(sci.level());
    enable_acpi();
    EXPECT_TRUE(sci.level()) << "the event waited";
}

TEST_F(AcpiPmTest, StatusBitsAreClearedByOnesOnly) {
    pm.press_power_button();
    out16(kPm1Status, static_cast<uint16_t>(~kPowerButtonBit));
    EXPECT_EQ(in16(kPm1Status), kPowerButtonBit);
    write_byte(pm.pm_block(), kPm1Status + 1, kPowerButtonBit >> 8);
    EXPECT_EQ(in16(kPm1Status), 0);
    out16(kPm1Status, 0xFFFF);
    EXPECT_EQ(in16(kPm1Status), 0);
}

TEST_F(AcpiPmTest, EnableAndControlKeepOnlyTheirBits) {
    out16(kPm1Enable, 0xFFFF);
    EXPECT_EQ(in16(kPm1Enable), 0x0521);
    out16(kPm1Control, static_cast<uint16_t>(~kSleepEnable));
    EXPECT_EQ(in16(kPm1Control), 0x1C03);
    out32(kPm1Status, 0x0100'0000);
    EXPECT_EQ(in16(kPm1Enable), 0x0100) << "event registers as one dword";
    EXPECT_EQ(in32(kPm1Status), 0x0100'0000u);
}

TEST_F(AcpiPmTest, SleepTypeOfS5TurnsOff) {
    out16(kPm1Control, sleep(0));
    EXPECT_EQ(offs, 1);
    EXPECT_EQ(in16(kPm1Control) & kSleepEnable, 0);
    EXPECT_EQ(in16(kPm1Status) & kResumeBit, 0);
}

TEST_F(AcpiPmTest, SleepTypeOfS4TurnsOffWhenItIsOffered) {
    out16(kPm1Control, sleep(2));
    EXPECT_EQ(offs, 1);
    AcpiPm other(
        clock, sci, [this] { offs += 10; }, AcpiSleepTypes{.s5 = 5, .s4 = std::nullopt});
    std::byte data[2];
    store_le(data, sleep(2));
    other.pm_block().write(kPm1Control, data);
    store_le(data, sleep(0));
    other.pm_block().write(kPm1Control, data);
    EXPECT_EQ(offs, 1);
    store_le(data, sleep(5));
    other.pm_block().write(kPm1Control, data);
    EXPECT_EQ(offs, 11);
}

TEST_F(AcpiPmTest, OtherSleepTypesWakeAtOnce) {
    for (const unsigned type : {1u, 3u, 4u, 7u}) {
        out16(kPm1Status, kResumeBit);
        out16(kPm1Control, sleep(type));
        EXPECT_EQ(in16(kPm1Status), kResumeBit) << type;
    }
    EXPECT_EQ(offs, 0);
    EXPECT_FALSE(sci.level());
}

TEST_F(AcpiPmTest, SleepTypeWithoutSleepEnableDoesNothing) {
    out16(kPm1Control, kSciEnable);
    write_byte(pm.pm_block(), kPm1Control + 1, 0x04);
    EXPECT_EQ(offs, 0);
    EXPECT_EQ(in16(kPm1Status), 0);
}

TEST_F(AcpiPmTest, SleepEnableWorksInAByteAndInADword) {
    write_byte(pm.pm_block(), kPm1Control + 1, kSleepEnable >> 8);
    EXPECT_EQ(offs, 1);
    out32(kPm1Control, kSleepEnable);
    EXPECT_EQ(offs, 2);
    out16(kPm1Control + 2, kSleepEnable);
    write_byte(pm.pm_block(), kPm1Control, 0x20);
    EXPECT_EQ(offs, 2) << "other bytes are no control register";
}

TEST_F(AcpiPmTest, PowerOffMayUseTheDevice) {
    AcpiPm* self = nullptr;
    bool called = false;
    AcpiPm other(clock, sci,
                 [&] {
                     self->press_power_button();
                     called = true;
                 },
                 {});
    self = &other;
    std::byte data[2];
    store_le(data, sleep(0));
    other.pm_block().write(kPm1Control, data);
    EXPECT_TRUE(called);
}

TEST_F(AcpiPmTest, TheTimerCountsAtItsRateIn24Bits) {
    EXPECT_EQ(in32(kTimer), 0u);
    clock.advance(1s);
    EXPECT_EQ(in32(kTimer), 3'579'545u);
    clock.advance(4s);
    EXPECT_EQ(in32(kTimer), 5 * 3'579'545u - (1u << 24));
    EXPECT_EQ(read_byte(pm.pm_block(), kTimer + 1), (5 * 3'579'545u >> 8) & 0xFF);
    out32(kTimer, 0);
    EXPECT_EQ(in32(kTimer), 5 * 3'579'545u - (1u << 24)) << "read only";
}

TEST_F(AcpiPmTest, TimerStatusIsSetWhenBit23Changes) {
    advance_to_tick(kHalf - 1);
    EXPECT_EQ(in16(kPm1Status), 0);
    advance_to_tick(kHalf);
    EXPECT_EQ(in16(kPm1Status), kTimerBit);
    out16(kPm1Status, kTimerBit);
    EXPECT_EQ(in16(kPm1Status), 0);
    advance_to_tick(2 * kHalf);
    EXPECT_EQ(in16(kPm1Status), kTimerBit);
    EXPECT_EQ(clock.armed(), 0u) << "without its enable bit nobody waits for it";
}

TEST_F(AcpiPmTest, TimerStatusRaisesSciByItsTimer) {
    enable_acpi();
    out16(kPm1Enable, kTimerBit);
    advance_to_tick(kHalf);
    EXPECT_TRUE(sci.level());
    EXPECT_EQ(clock.armed(), 0u);
    out16(kPm1Status, kTimerBit);
    EXPECT_FALSE(sci.level());
    advance_to_tick(2 * kHalf);
    EXPECT_EQ(sci.rises(), 2);
}

TEST_F(AcpiPmTest, Gpe0RaisesSciForEnabledEvents) {
    enable_acpi();
    write_byte(pm.gpe0_block(), 3, 0x02);
    pm.raise_gpe(1);
    EXPECT_FALSE(sci.level());
    pm.raise_gpe(9);
    EXPECT_TRUE(sci.level());
    EXPECT_EQ(read_byte(pm.gpe0_block(), 0), 0x02);
    EXPECT_EQ(read_byte(pm.gpe0_block(), 1), 0x02);
    write_byte(pm.gpe0_block(), 1, 0x02);
    EXPECT_FALSE(sci.level());
    write_byte(pm.gpe0_block(), 2, 0xFF);
    EXPECT_TRUE(sci.level());
    EXPECT_EQ(read_byte(pm.gpe0_block(), 2), 0xFF);
    pm.raise_gpe(16);
    pm.raise_gpe(~0u);
}

TEST_F(AcpiPmTest, BiosReleaseSetsTheGlobalStatus) {
    enable_acpi();
    out16(kPm1Enable, kGlobalBit);
    out32(kGlobalControl, kBiosRelease | 1);
    EXPECT_EQ(in16(kPm1Status), kGlobalBit);
    EXPECT_TRUE(sci.level());
    EXPECT_EQ(in32(kGlobalControl), 1u);
}

TEST_F(AcpiPmTest, TheRestOfTheBlockIsStorage) {
    EXPECT_EQ(in32(kGpOutput), kGpOutputReset);
    for (const unsigned offset : {kProcessorControl, kDeviceControl, kGpOutput}) {
        out32(offset, 0x1234'5678);
        EXPECT_EQ(in32(offset), 0x1234'5678u);
    }
    out16(kGlobalEnable, 0xABCD);
    EXPECT_EQ(in16(kGlobalEnable), 0xABCD);
    for (const unsigned offset : {0x06u, 0x14u, 0x18u, 0x1Cu, 0x30u, 0x38u}) {
        out16(offset, 0xFFFF);
        EXPECT_EQ(in16(offset), 0) << offset;
    }
}

TEST_F(AcpiPmTest, AnAccessBeyondTheBlockIsHarmless) {
    std::byte data[8];
    pm.pm_block().read(kBlockSize - 2, data);
    EXPECT_EQ(load_le(data), 0u);
    pm.pm_block().write(kBlockSize - 2, data);
    EXPECT_EQ(read_byte(pm.gpe0_block(), 77), 0);
    write_byte(pm.gpe0_block(), 77, 1);
}

TEST_F(AcpiPmTest, ResetClearsRegistersAndSciAndLeavesTheTimer) {
    enable_acpi();
    out16(kPm1Enable, kPowerButtonBit | kTimerBit);
    out32(kGlobalControl, 1);
    clock.advance(1s);
    pm.press_power_button();
    pm.raise_gpe(0);
    pm.reset();
    EXPECT_FALSE(sci.level());
    EXPECT_EQ(in32(kPm1Status), 0u);
    EXPECT_EQ(in16(kPm1Control), 0);
    EXPECT_EQ(in32(kGlobalControl), 0u);
    EXPECT_EQ(read_byte(pm.gpe0_block(), 0), 0);
    EXPECT_EQ(clock.armed(), 0u);
    EXPECT_EQ(in32(kTimer), 3'579'545u);
}

TEST_F(AcpiPmTest, VcpusButtonAndTimerMayComeTogether) {
    enable_acpi();
    out16(kPm1Enable, kPowerButtonBit | kTimerBit);
    std::thread vcpu([&] {
        for (int i = 0; i < 2000; ++i) {
            out16(kPm1Status, in16(kPm1Status));
            in32(kTimer);
        }
    });
    for (int i = 0; i < 2000; ++i) {
        clock.advance(10ms);
        pm.press_power_button();
    }
    vcpu.join();
    out16(kPm1Status, 0xFFFF);
    EXPECT_FALSE(sci.level());
}

}  // namespace
}  // namespace halcyon
