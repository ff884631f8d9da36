#include "devices/acpi_pm.h"

#include <utility>

#include "devices/ticks.h"

namespace halcyon {

using namespace acpi_pm;

namespace {

/// What the guest can do to each byte of the block.
struct Access {
    std::array<uint8_t, kBlockSize> writable{};
    std::array<uint8_t, kBlockSize> write_one_to_clear{};
};

constexpr void put(std::array<uint8_t, kBlockSize>& bytes, unsigned offset, unsigned size,
                   uint32_t mask) {
    for (unsigned i = 0; i < size; ++i) {
        bytes[offset + i] = static_cast<uint8_t>(mask >> (8 * i));
    }
}

constexpr Access make_access() {
    Access access;
    constexpr uint32_t kAll = 0xFFFF'FFFF;
    put(access.write_one_to_clear, kPm1Status, 2, kPm1StatusMask);
    put(access.writable, kPm1Enable, 2, kPm1EnableMask);
    put(access.writable, kPm1Control, 2, kSciEnable | kBusMasterReload | kSleepTypeMask);
    put(access.write_one_to_clear, kGpStatus, 2, kAll);
    put(access.writable, kGpEnable, 2, kAll);
    put(access.writable, kProcessorControl, 4, kAll);
    put(access.write_one_to_clear, kGlobalStatus, 2, kAll);
    put(access.write_one_to_clear, kDeviceStatus, 4, kAll);
    put(access.writable, kGlobalEnable, 2, kAll);
    put(access.writable, kGlobalControl, 4, ~uint32_t{kBiosRelease});
    put(access.writable, kDeviceControl, 4, kAll);
    put(access.writable, kGpOutput, 4, kAll);
    return access;
}

constexpr Access kAccess = make_access();

}  // namespace

AcpiPm::AcpiPm(GuestClock& clock, IrqLine& sci, std::function<void()> power_off,
               AcpiSleepTypes sleep_types)
    : clock_(clock),
      sci_(sci),
      power_off_(std::move(power_off)),
      sleep_types_(sleep_types),
      gpe0_ports_(
          "acpi-gpe0", [this](uint64_t offset) { return read_gpe(offset); },
          [this](uint64_t offset, uint8_t value) { write_gpe(offset, value); }),
      smi_ports_(
          "apm", [this](uint64_t offset) { return read_apm(offset); },
          [this](uint64_t offset, uint8_t value) { write_apm(offset, value); }),
      timer_(clock.make_timer([this] { on_timer(); })) {
    reset_locked();
}

void AcpiPm::reset() {
    std::lock_guard lock(mutex_);
    reset_locked();
}

void AcpiPm::reset_locked() {
    state_ = State{};
    put(state_.block, kGpOutput, 4, kGpOutputReset);
    timer_halves_ = ticks_at(clock_.now(), kTimerHz) >> kTimerStatusShift;
    settle_locked();
}

bool AcpiPm::press_power_button() {
    std::lock_guard lock(mutex_);
    set_bits_locked(kPm1Status, kPowerButtonBit);
    settle_locked();
    return (word_locked(kPm1Control) & kSciEnable) != 0 &&
           (word_locked(kPm1Enable) & kPowerButtonBit) != 0;
}

void AcpiPm::raise_gpe(unsigned event) {
    std::lock_guard lock(mutex_);
    if (event < kGpeEvents) {
        state_.gpe[event / 8] |= static_cast<uint8_t>(1u << event % 8);
        settle_locked();
    }
}

void AcpiPm::Block::read(uint64_t offset, std::span<std::byte> data) {
    std::lock_guard lock(pm_.mutex_);
    pm_.catch_up_locked();
    // One moment for all bytes of the timer.
    auto block = pm_.state_.block;
    put(block, kTimer, 3, static_cast<uint32_t>(ticks_at(pm_.clock_.now(), kTimerHz)));
    for (std::byte& byte : data) {
        byte = offset < kBlockSize ? std::byte{block[offset]} : std::byte{0};
        ++offset;
    }
}

void AcpiPm::Block::write(uint64_t offset, std::span<const std::byte> data) {
    bool power_off = false;
    {
        std::lock_guard lock(pm_.mutex_);
        pm_.catch_up_locked();
        pm_.write_block_locked(offset, data);
        constexpr unsigned kHigh = kPm1Control + 1;
        if (offset <= kHigh && kHigh - offset < data.size() &&
            (std::to_integer<unsigned>(data[kHigh - offset]) & kSleepEnable >> 8) != 0) {
            power_off = pm_.sleep_locked();
        }
        pm_.settle_locked();
    }
    if (power_off) {
        pm_.power_off_();
    }
}

void AcpiPm::write_block_locked(uint64_t offset, std::span<const std::byte> data) {
    for (const std::byte byte : data) {
        if (offset >= kBlockSize) {
            return;
        }
        const auto value = std::to_integer<uint8_t>(byte);
        const uint8_t writable = kAccess.writable[offset];
        uint8_t& stored = state_.block[offset];
        stored = static_cast<uint8_t>((stored & ~writable) | (value & writable));
        stored &= static_cast<uint8_t>(~(value & kAccess.write_one_to_clear[offset]));
        if (offset == kGlobalControl && (value & kBiosRelease) != 0) {
            set_bits_locked(kPm1Status, kGlobalBit);
        }
        ++offset;
    }
}

/// SLP_EN was written. Returns whether the machine is to go off.
bool AcpiPm::sleep_locked() {
    const auto type =
        static_cast<uint8_t>((word_locked(kPm1Control) & kSleepTypeMask) >> kSleepTypeShift);
    if (type == sleep_types_.s5 || type == sleep_types_.s4) {
        return true;
    }
    set_bits_locked(kPm1Status, kResumeBit);
    return false;
}

uint8_t AcpiPm::read_gpe(uint64_t offset) {
    std::lock_guard lock(mutex_);
    return offset < kGpeBlockSize ? state_.gpe[offset] : uint8_t{0};
}

void AcpiPm::write_gpe(uint64_t offset, uint8_t value) {
    std::lock_guard lock(mutex_);
    if (offset < kGpeBlockSize / 2) {
        state_.gpe[offset] &= static_cast<uint8_t>(~value);
    } else if (offset < kGpeBlockSize) {
        state_.gpe[offset] = value;
    }
    settle_locked();
}

uint8_t AcpiPm::read_apm(uint64_t offset) {
    std::lock_guard lock(mutex_);
    return state_.apm[offset & 1];
}

void AcpiPm::write_apm(uint64_t offset, uint8_t value) {
    std::lock_guard lock(mutex_);
    state_.apm[offset & 1] = value;
    if (offset == kApmControl && value == kAcpiEnableCommand) {
        set_bits_locked(kPm1Control, kSciEnable);
    } else if (offset == kApmControl && value == kAcpiDisableCommand) {
        state_.block[kPm1Control] &= static_cast<uint8_t>(~kSciEnable);
    }
    settle_locked();
}

void AcpiPm::on_timer() {
    std::lock_guard lock(mutex_);
    settle_locked();
}

uint16_t AcpiPm::word_locked(unsigned offset) const {
    return static_cast<uint16_t>(state_.block[offset] | state_.block[offset + 1] << 8);
}

void AcpiPm::set_bits_locked(unsigned offset, uint16_t bits) {
    put(state_.block, offset, 2, uint32_t{word_locked(offset)} | bits);
}

/// Sets the timer's status bit if bit 23 changed since the last look.
void AcpiPm::catch_up_locked() {
    const uint64_t halves = ticks_at(clock_.now(), kTimerHz) >> kTimerStatusShift;
    if (halves != timer_halves_) {
        timer_halves_ = halves;
        set_bits_locked(kPm1Status, kTimerBit);
    }
}

/// Brings SCI and the timer in line with the registers. The timer is armed only while its status
/// bit would change something.
void AcpiPm::settle_locked() {
    catch_up_locked();
    const uint16_t status = word_locked(kPm1Status);
    const uint16_t enable = word_locked(kPm1Enable);
    const bool pm1 = (status & enable) != 0;
    const bool gpe = (state_.gpe[0] & state_.gpe[2]) != 0 || (state_.gpe[1] & state_.gpe[3]) != 0;
    sci_.set((word_locked(kPm1Control) & kSciEnable) != 0 && (pm1 || gpe));
    if ((enable & ~status & kTimerBit) != 0) {
        timer_->arm(time_of_tick((timer_halves_ + 1) << kTimerStatusShift, kTimerHz));
    } else {
        timer_->cancel();
    }
}

}  // namespace halcyon
