#include "devices/cmos_rtc.h"

#include <algorithm>
#include <utility>

#include "devices/ticks.h"

namespace halcyon {

using namespace rtc;
using namespace std::chrono_literals;

namespace {

constexpr std::chrono::seconds kDay = 24h;

/// The longest sleep towards an alarm: how late one may be when the host's clock is set forward.
constexpr std::chrono::nanoseconds kLongestSleep = 60s;

bool is_time_byte(uint8_t index) {
    return index == kCentury || (index <= kYear && index != kSecondsAlarm &&
                                 index != kMinutesAlarm && index != kHoursAlarm);
}

struct TimeOfDay {
    unsigned hour, minute, second;
};

TimeOfDay time_of_day(std::chrono::seconds time) {
    const auto day = std::chrono::floor<std::chrono::days>(time);
    const auto second = static_cast<unsigned>((time - day).count());
    return {second / 3600, second / 60 % 60, second % 60};
}

std::chrono::sys_days day_of(std::chrono::seconds time) {
    return std::chrono::sys_days(std::chrono::floor<std::chrono::days>(time));
}

}  // namespace

CmosRtc::CmosRtc(GuestClock& clock, IrqLine& irq, WallClock wall_clock, TimeSet time_set)
    : clock_(clock),
      irq_(irq),
      wall_clock_(std::move(wall_clock)),
      time_set_(std::move(time_set)),
      ports_(
          "rtc", [this](uint64_t offset) { return read_port(offset); },
          [this](uint64_t offset, uint8_t value) { write_port(offset, value); }),
      timer_(clock.make_timer([this] { on_timer(); })) {
    state_.bytes[kRegisterA] = kRegisterAInitial;
    state_.bytes[kRegisterB] = k24Hours;
    state_.bytes[kRegisterD] = kVrt;
    state_.divider_start = clock_.now();
    last_second_ = seconds_locked(wall_locked());
}

void CmosRtc::reset() {
    std::lock_guard lock(mutex_);
    catch_up_locked();
    state_.index = 0;
    state_.nmi_disabled = false;
    state_.bytes[kRegisterB] &= static_cast<uint8_t>(~(kPie | kAie | kUie | kSqwe));
    state_.bytes[kRegisterC] = 0;
    update_irq_locked();
    arm_locked();
}

void CmosRtc::set(uint8_t index, uint8_t value) {
    std::lock_guard lock(mutex_);
    if (index >= kFirstRam && index < kSize && index != kCentury) {
        state_.bytes[index] = value;
    }
}

std::tm CmosRtc::date() {
    std::lock_guard lock(mutex_);
    if (updates_locked()) {
        store_time_locked(seconds_locked(wall_locked()));
    }
    const auto number = [this](uint8_t index) {
        return static_cast<int>(decode_locked(state_.bytes[index]));
    };
    std::tm date{};
    date.tm_sec = number(kSeconds);
    date.tm_min = number(kMinutes);
    date.tm_hour = static_cast<int>(decode_hour_locked(state_.bytes[kHours]));
    date.tm_mday = number(kDayOfMonth);
    date.tm_mon = number(kMonth) - 1;
    date.tm_year = number(kCentury) * 100 + number(kYear) - 1900;
    return date;
}

bool CmosRtc::nmi_disabled() const {
    std::lock_guard lock(mutex_);
    return state_.nmi_disabled;
}

uint8_t CmosRtc::read_port(uint64_t offset) {
    std::lock_guard lock(mutex_);
    return offset == kDataPort ? read_locked(state_.index) : uint8_t{0xFF};
}

void CmosRtc::write_port(uint64_t offset, uint8_t value) {
    std::lock_guard lock(mutex_);
    if (offset == kDataPort) {
        write_locked(state_.index, value);
    } else {
        state_.index = value & kIndexMask;
        state_.nmi_disabled = (value & kNmiDisable) != 0;
    }
}

void CmosRtc::on_timer() {
    std::lock_guard lock(mutex_);
    catch_up_locked();
    arm_locked();
}

uint8_t CmosRtc::read_locked(uint8_t index) {
    const Wall wall = wall_locked();
    if (is_time_byte(index) && updates_locked()) {
        store_time_locked(seconds_locked(wall));
    }
    if (index == kRegisterA) {
        const bool uip = updates_locked() && fraction_locked(wall) >= 1s - kUpdateInProgress;
        return static_cast<uint8_t>(state_.bytes[index] | (uip ? kUip : 0));
    }
    if (index == kRegisterC) {
        catch_up_locked();
        const uint8_t flags = state_.bytes[index];
        state_.bytes[index] = 0;
        update_irq_locked();
        arm_locked();
        return flags;
    }
    return state_.bytes[index];
}

void CmosRtc::write_locked(uint8_t index, uint8_t value) {
    catch_up_locked();
    if (index == kRegisterA) {
        write_control_locked(value & static_cast<uint8_t>(~kUip), state_.bytes[kRegisterB]);
    } else if (index == kRegisterB) {
        write_control_locked(state_.bytes[kRegisterA], value);
    } else if (index == kRegisterC || index == kRegisterD) {
        return;  // read only
    } else if (is_time_byte(index) && updates_locked()) {
        const Wall wall = wall_locked();
        store_time_locked(seconds_locked(wall));
        state_.bytes[index] = value;
        take_time_locked(wall);
    } else {
        state_.bytes[index] = value;
    }
    arm_locked();
}

/// SET and a divider that stands both stop the updates: the time bytes then hold what the guest
/// writes, and the clock goes on from them afterwards.
void CmosRtc::write_control_locked(uint8_t a, uint8_t b) {
    const Wall wall = wall_locked();
    const bool updated = updates_locked();
    const bool divider_ran = divider_runs_locked();
    if (updated) {
        store_time_locked(seconds_locked(wall));
    }
    state_.bytes[kRegisterA] = a;
    state_.bytes[kRegisterB] = b;
    if ((b & kSet) != 0) {
        state_.bytes[kRegisterB] &= static_cast<uint8_t>(~kUie);  // "SET ... clears the UIE bit"
    }
    if (!divider_ran && divider_runs_locked()) {
        const auto fraction = wall - std::chrono::floor<Seconds>(wall);
        state_.phase = (kAfterDividerReset - fraction + 1s) % 1s;
        state_.divider_start = clock_.now();
        last_periodic_tick_ = 0;
    }
    if (!updated && updates_locked()) {
        take_time_locked(wall);
    }
    update_irq_locked();
}

CmosRtc::Wall CmosRtc::wall_locked() const {
    return std::chrono::duration_cast<Wall>(wall_clock_().time_since_epoch());
}

CmosRtc::Seconds CmosRtc::seconds_locked(Wall wall) const {
    return std::chrono::floor<Seconds>(wall + state_.phase) + state_.offset;
}

std::chrono::nanoseconds CmosRtc::fraction_locked(Wall wall) const {
    const Wall shifted = wall + state_.phase;
    return shifted - std::chrono::floor<Seconds>(shifted);
}

unsigned CmosRtc::divider_locked() const {
    return (state_.bytes[kRegisterA] & kDividerMask) >> kDividerShift;
}

bool CmosRtc::divider_runs_locked() const {
    return divider_locked() <= kDivider32kHz;
}

bool CmosRtc::updates_locked() const {
    return divider_runs_locked() && (state_.bytes[kRegisterB] & kSet) == 0;
}

/// The period of PF in ticks of 32.768 kHz, 0 for none ("Periodic Interrupt Rate", table 5). With
/// the slow crystal the two rates above 8192 Hz are 256 and 128 Hz.
uint64_t CmosRtc::period_locked() const {
    unsigned rate = state_.bytes[kRegisterA] & kRateMask;
    if (rate == 0 || !divider_runs_locked()) {
        return 0;
    }
    if (rate <= 2 && divider_locked() == kDivider32kHz) {
        rate += 7;
    }
    return uint64_t{1} << (rate - 1);
}

uint8_t CmosRtc::encode_locked(unsigned value) const {
    if ((state_.bytes[kRegisterB] & kBinary) != 0) {
        return static_cast<uint8_t>(value);
    }
    return static_cast<uint8_t>(value / 10 % 10 << 4 | value % 10);
}

unsigned CmosRtc::decode_locked(uint8_t value) const {
    if ((state_.bytes[kRegisterB] & kBinary) != 0) {
        return value;
    }
    return (value >> 4) * 10u + (value & 0x0Fu);
}

uint8_t CmosRtc::encode_hour_locked(unsigned hour) const {
    if ((state_.bytes[kRegisterB] & k24Hours) != 0) {
        return encode_locked(hour);
    }
    const unsigned of_twelve = hour % 12 == 0 ? 12 : hour % 12;
    return static_cast<uint8_t>(encode_locked(of_twelve) | (hour >= 12 ? kPm : 0));
}

unsigned CmosRtc::decode_hour_locked(uint8_t value) const {
    if ((state_.bytes[kRegisterB] & k24Hours) != 0) {
        return decode_locked(value);
    }
    const unsigned of_twelve = decode_locked(value & static_cast<uint8_t>(~kPm)) % 12;
    return of_twelve + ((value & kPm) != 0 ? 12 : 0);
}

/// Writes `time` into the time bytes.
void CmosRtc::store_time_locked(Seconds time) {
    const auto [hour, minute, second] = time_of_day(time);
    const std::chrono::sys_days day = day_of(time);
    const std::chrono::year_month_day date(day);
    const unsigned weekday = (std::chrono::weekday(day).c_encoding() + state_.weekday_shift) % 7;
    const auto year = static_cast<unsigned>(std::max(0, static_cast<int>(date.year())));
    state_.bytes[kSeconds] = encode_locked(second);
    state_.bytes[kMinutes] = encode_locked(minute);
    state_.bytes[kHours] = encode_hour_locked(hour);
    state_.bytes[kDayOfWeek] = encode_locked(weekday + 1);
    state_.bytes[kDayOfMonth] = encode_locked(static_cast<unsigned>(date.day()));
    state_.bytes[kMonth] = encode_locked(static_cast<unsigned>(date.month()));
    state_.bytes[kYear] = encode_locked(year % 100);
    state_.bytes[kCentury] = encode_locked(year / 100);
}

/// Sets the clock to what the time bytes say. Bytes out of range carry on into the next field, a
/// month out of range counts as the nearest one.
void CmosRtc::take_time_locked(Wall wall) {
    const auto& bytes = state_.bytes;
    const unsigned year = decode_locked(bytes[kCentury]) * 100 + decode_locked(bytes[kYear]);
    const unsigned month = std::clamp(decode_locked(bytes[kMonth]), 1u, 12u);
    const std::chrono::sys_days first =
        std::chrono::year(static_cast<int>(year)) / static_cast<int>(month) / 1;
    const auto day =
        first + std::chrono::days(decode_locked(bytes[kDayOfMonth])) - std::chrono::days(1);
    const Seconds time = Seconds(day.time_since_epoch()) +
                         std::chrono::hours(decode_hour_locked(bytes[kHours])) +
                         std::chrono::minutes(decode_locked(bytes[kMinutes])) +
                         Seconds(decode_locked(bytes[kSeconds]));
    const unsigned calendar = std::chrono::weekday(day_of(time)).c_encoding();
    const unsigned weekday = decode_locked(bytes[kDayOfWeek]) + 6;  // 1 is Sunday
    state_.weekday_shift = (weekday + 7 - calendar) % 7;
    state_.offset = time - std::chrono::floor<Seconds>(wall + state_.phase);
    last_second_ = time;
    if (time_set_) {
        time_set_(state_.offset);
    }
}

/// The first second after `after` at which the alarm bytes match, at most a day later. The chip
/// compares bytes, so an alarm in the other format may never match.
std::optional<CmosRtc::Seconds> CmosRtc::next_alarm_locked(Seconds after) const {
    const auto matches = [&](uint8_t index, uint8_t byte) {
        const uint8_t alarm = state_.bytes[index];
        return (alarm & kAlarmAny) == kAlarmAny || alarm == byte;
    };
    Seconds time = after + 1s;
    while (time <= after + kDay) {
        const auto [hour, minute, second] = time_of_day(time);
        if (!matches(kHoursAlarm, encode_hour_locked(hour))) {
            time += 1h - std::chrono::minutes(minute) - Seconds(second);
        } else if (!matches(kMinutesAlarm, encode_locked(minute))) {
            time += 1min - Seconds(second);
        } else if (!matches(kSecondsAlarm, encode_locked(second))) {
            time += 1s;
        } else {
            return time;
        }
    }
    return std::nullopt;
}

/// Sets the flags of everything that happened since the last call.
void CmosRtc::catch_up_locked() {
    uint8_t& flags = state_.bytes[kRegisterC];
    if (updates_locked()) {
        const Seconds now = seconds_locked(wall_locked());
        if (now > last_second_) {
            flags |= kUf;
            const auto alarm = next_alarm_locked(last_second_);
            flags |= alarm && *alarm <= now ? kAf : uint8_t{0};
        }
        last_second_ = now;
    }
    const uint64_t tick = ticks_at(clock_.now() - state_.divider_start, kHz);
    const uint64_t period = period_locked();
    if (period != 0 && tick / period > last_periodic_tick_ / period) {
        flags |= kPf;
    }
    last_periodic_tick_ = tick;
    update_irq_locked();
}

void CmosRtc::update_irq_locked() {
    uint8_t& flags = state_.bytes[kRegisterC];
    const bool irq = (flags & state_.bytes[kRegisterB] & (kPf | kAf | kUf)) != 0;
    flags = static_cast<uint8_t>((flags & ~kIrqf) | (irq ? kIrqf : 0));
    irq_.set(irq);
}

/// Arms the timer for the next flag that would interrupt. A flag that is set already needs none
/// until the guest reads register C, so a guest that does not serve the clock costs nothing.
void CmosRtc::arm_locked() {
    const auto wanted = static_cast<uint8_t>(state_.bytes[kRegisterB] & ~state_.bytes[kRegisterC]);
    const GuestTime now = clock_.now();
    std::optional<GuestTime> deadline;
    const auto consider = [&](GuestTime time) {
        deadline = deadline ? std::min(*deadline, time) : time;
    };
    const uint64_t period = period_locked();
    if ((wanted & kPie) != 0 && period != 0) {
        const uint64_t next = (last_periodic_tick_ / period + 1) * period;
        consider(state_.divider_start + time_of_tick(next, kHz));
    }
    if (updates_locked()) {
        const Wall wall = wall_locked();
        const auto to_update = 1s - fraction_locked(wall);
        if ((wanted & kUie) != 0) {
            consider(now + to_update);
        }
        if ((wanted & kAie) != 0) {
            const Seconds second = seconds_locked(wall);
            if (const auto alarm = next_alarm_locked(second)) {
                const auto sleep = to_update + (*alarm - second - 1s);
                consider(now + std::min<std::chrono::nanoseconds>(sleep, kLongestSleep));
            }
        }
    }
    if (deadline) {
        timer_->arm(*deadline);
    } else {
        timer_->cancel();
    }
}

}  // namespace halcyon
