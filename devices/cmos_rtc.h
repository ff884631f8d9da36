/// CmosRtc: the real-time clock of a PC and its battery-backed memory.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "devices/byte_ports.h"
#include "devices/cmos_rtc_registers.h"
#include "devices/device.h"

namespace halcyon {

/// An MC146818A. Its time is the host's wall clock in UTC, plus what the guest set it off by; so it
/// goes on while the VM is paused, as QEMU's does with its default `-rtc base=utc,clock=host`. The
/// periodic interrupt goes by the guest's clock. Handlers from any thread; built and destroyed on
/// the main thread, where its timer fires.
///
/// Quirks a guest can see: the century byte follows the clock in the format of register B. A
/// change of that format while the clock runs changes how the time reads, not the time. Dates that
/// do not exist are carried on (31 April is 1 May). The day of the week counts on from what the
/// guest set. Daylight saving (DSE) and the square wave (SQWE) are bits without effect: a PC has no
/// SQW pin and PC operating systems set the hour themselves. With a divider setting for a
/// faster crystal the clock keeps time, as if it had that crystal. The index port reads as FFh.
class CmosRtc final : public Resettable {
public:
    using WallClock = std::function<std::chrono::system_clock::time_point()>;
    /// Told that the guest has set the clock, and by how many seconds it is ahead of the host's
    /// now. Called inside the guest's access with the device's lock held.
    using TimeSet = std::function<void(std::chrono::seconds offset)>;

    /// `irq` is IRQ 8 and must outlive this, as must `clock`. `wall_clock` is called with the
    /// device's lock held. All memory is 0.
    CmosRtc(GuestClock& clock, IrqLine& irq, WallClock wall_clock = &std::chrono::system_clock::now,
            TimeSet time_set = {});
    CmosRtc(const CmosRtc&) = delete;
    CmosRtc& operator=(const CmosRtc&) = delete;

    /// 70h and 71h.
    [[nodiscard]] IoHandler& ports() { return ports_; }

    /// For the board: stores a byte of the memory (0Eh to 7Fh but the century). Other indices are
    /// ignored. From any thread.
    void set(uint8_t index, uint8_t value);

    /// What the clock shows, as a guest would read it: year, month, day, hour, minute and second.
    /// From any thread.
    [[nodiscard]] std::tm date();

    /// Whether the guest holds back NMI by bit 7 of the index port. From any thread.
    [[nodiscard]] bool nmi_disabled() const;

    /// The RESET pin: interrupts are disabled and forgotten; time, memory and alarm stay.
    void reset() override;

private:
    using Wall = std::chrono::nanoseconds;  ///< since 1970, of the host
    using Seconds = std::chrono::seconds;   ///< since 1970, of this clock

    uint8_t read_port(uint64_t offset);
    void write_port(uint64_t offset, uint8_t value);
    void on_timer();

    uint8_t read_locked(uint8_t index);
    void write_locked(uint8_t index, uint8_t value);
    void write_control_locked(uint8_t a, uint8_t b);

    [[nodiscard]] Wall wall_locked() const;
    [[nodiscard]] Seconds seconds_locked(Wall wall) const;
    [[nodiscard]] std::chrono::nanoseconds fraction_locked(Wall wall) const;
    [[nodiscard]] unsigned divider_locked() const;
    [[nodiscard]] bool divider_runs_locked() const;
    [[nodiscard]] bool updates_locked() const;
    [[nodiscard]] uint64_t period_locked() const;
    [[nodiscard]] std::optional<Seconds> next_alarm_locked(Seconds after) const;

    [[nodiscard]] uint8_t encode_locked(unsigned value) const;
    [[nodiscard]] unsigned decode_locked(uint8_t value) const;
    [[nodiscard]] uint8_t encode_hour_locked(unsigned hour) const;
    [[nodiscard]] unsigned decode_hour_locked(uint8_t value) const;
    void store_time_locked(Seconds time);
    void take_time_locked(Wall wall);

    void catch_up_locked();
    void update_irq_locked();
    void arm_locked();

    GuestClock& clock_;
    IrqLine& irq_;
    const WallClock wall_clock_;
    const TimeSet time_set_;

    BytePorts ports_;
    std::unique_ptr<GuestTimer> timer_;

    /// Guards everything below.
    mutable std::mutex mutex_;
    Seconds last_second_{0};           ///< up to where updates and alarms were looked at
    uint64_t last_periodic_tick_ = 0;  ///< the same for the periodic flag

    struct State {
        uint8_t index = 0;
        bool nmi_disabled = false;
        /// The bytes as the guest sees them; those of the time are current only while it stands.
        std::array<uint8_t, rtc::kSize> bytes{};
        /// The clock is at floor(wall + phase) + offset; phase is 0 to 1 s.
        Seconds offset{0};
        std::chrono::nanoseconds phase{0};
        unsigned weekday_shift = 0;  ///< days that the guest's weekday is ahead of the calendar's
        GuestTime divider_start{0};  ///< when the divider chain began to count
    } state_;
};

}  // namespace halcyon
