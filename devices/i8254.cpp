#include "devices/i8254.h"

#include "devices/ticks.h"

namespace halcyon {

using namespace i8254;

I8254::I8254(GuestClock& clock, IrqLine& irq)
    : clock_(clock),
      irq_(irq),
      counter_ports_(
          "pit", [this](uint64_t offset) { return read_counter(offset); },
          [this](uint64_t offset, uint8_t value) { write_counter(offset, value); }),
      system_port_(
          "port61", [this](uint64_t) { return read_system(); },
          [this](uint64_t, uint8_t value) { write_system(value); }),
      timer_(clock.make_timer([this] { on_timer(); })) {
    reset();
}

void I8254::reset() {
    std::lock_guard lock(mutex_);
    const uint64_t tick = ticks_at(clock_.now(), kHz);
    for (unsigned i = 0; i < kCounters; ++i) {
        counters_[i].reset(tick, i != kSpeakerCounter);  // the other gates are tied high
    }
    state_ = State{};
    irq_.set(false);
    arm_locked();
}

uint8_t I8254::read_counter(uint64_t offset) {
    std::lock_guard lock(mutex_);
    advance_locked();
    return offset < kCounters ? counters_[offset].read() : uint8_t{0xFF};
}

void I8254::write_counter(uint64_t offset, uint8_t value) {
    std::lock_guard lock(mutex_);
    advance_locked();
    const bool out = counters_[0].out();
    if (offset < kCounters) {
        counters_[offset].write(value);
    } else {
        write_control_locked(value);
    }
    if (out && !counters_[0].out()) {
        irq_.set(false);
    } else if (!out && counters_[0].out()) {
        announce_rise_locked();
    }
    arm_locked();
}

void I8254::write_control_locked(uint8_t value) {
    const unsigned select = value >> kSelectShift;
    if (select == kSelectReadBack) {
        read_back_locked(value);
    } else if (static_cast<Access>((value & kAccessMask) >> kAccessShift) == Access::kLatch) {
        counters_[select].latch_count();
    } else {
        counters_[select].program(value);
    }
}

void I8254::read_back_locked(uint8_t value) {
    for (unsigned i = 0; i < kCounters; ++i) {
        if ((value & (kReadBackCounter0 << i)) == 0) {
            continue;
        }
        if ((value & kReadBackNoCount) == 0) {
            counters_[i].latch_count();
        }
        if ((value & kReadBackNoStatus) == 0) {
            counters_[i].latch_status();
        }
    }
}

uint8_t I8254::read_system() {
    std::lock_guard lock(mutex_);
    advance_locked();
    const bool refresh = (ticks_at(clock_.now(), kHz) / kRefreshTicks & 1) != 0;
    return static_cast<uint8_t>(state_.port61 | (refresh ? kPort61Refresh : 0) |
                                (counters_[kSpeakerCounter].out() ? kPort61Out2 : 0));
}

void I8254::write_system(uint8_t value) {
    std::lock_guard lock(mutex_);
    advance_locked();
    state_.port61 = value & kPort61WritableMask;
    counters_[kSpeakerCounter].set_gate((value & kPort61Gate2) != 0);
}

void I8254::on_timer() {
    std::lock_guard lock(mutex_);
    advance_locked();
    if (next_rise_) {  // the callback may have been one for an earlier deadline
        timer_->arm(time_of_tick(*next_rise_, kHz));
    }
}

/// Brings all counters to the present, and IRQ 0 with them.
void I8254::advance_locked() {
    const uint64_t tick = ticks_at(clock_.now(), kHz);
    for (I8254Counter& counter : counters_) {
        counter.advance(tick);
    }
    if (next_rise_ && tick >= *next_rise_) {
        announce_rise_locked();
        arm_locked();
    }
}

void I8254::announce_rise_locked() {
    irq_.set(false);
    irq_.set(true);
}

void I8254::arm_locked() {
    const auto next = counters_[0].next_rise();
    if (next == next_rise_) {
        return;
    }
    next_rise_ = next;
    if (next) {
        timer_->arm(time_of_tick(*next, kHz));
    } else {
        timer_->cancel();
    }
}

}  // namespace halcyon
