#include "devices/i8254_counter.h"

namespace halcyon {

using namespace i8254;

namespace {

uint32_t from_bcd(uint16_t value) {
    return (value & 0xFu) + (value >> 4 & 0xFu) * 10 + (value >> 8 & 0xFu) * 100 +
           (value >> 12 & 0xFu) * 1000;
}

uint16_t to_bcd(uint32_t value) {
    return static_cast<uint16_t>(value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 |
                                 value / 1000 % 10 << 12);
}

}  // namespace

void I8254Counter::reset(uint64_t tick, bool gate) {
    state_ = State{};
    state_.tick = tick;
    state_.gate = gate;
}

/// Modes 6 and 7 are modes 2 and 3: M2 is a "don't care" there.
unsigned I8254Counter::mode() const {
    const unsigned mode = (state_.control & kModeMask) >> kModeShift;
    return mode > 5 ? mode - 4 : mode;
}

Access I8254Counter::access() const {
    return static_cast<Access>((state_.control & kAccessMask) >> kAccessShift);
}

uint32_t I8254Counter::modulus() const {
    return (state_.control & kBcd) != 0 ? 10'000 : 0x10000;
}

/// CR in binary; 0 is the largest count.
uint32_t I8254Counter::initial_count() const {
    const uint32_t count =
        (state_.control & kBcd) != 0 ? from_bcd(state_.initial) % modulus() : state_.initial;
    return count == 0 ? modulus() : count;
}

uint16_t I8254Counter::visible_count() const {
    const uint32_t count = state_.count % modulus();
    return (state_.control & kBcd) != 0 ? to_bcd(count) : static_cast<uint16_t>(count);
}

void I8254Counter::advance(uint64_t tick) {
    if (tick <= state_.tick) {
        return;
    }
    uint64_t clocks = tick - state_.tick;
    state_.tick = tick;
    if (state_.load_next) {
        load();
        if (--clocks == 0) {
            return;
        }
    }
    const unsigned m = mode();
    if (m == 4 || m == 5) {
        state_.out = state_.out || state_.counting;  // the strobe lasts one clock, whatever GATE
    }
    const bool gated = m != 1 && m != 5;
    if (!state_.counting || (gated && !state_.gate)) {
        return;
    }
    if (m == 2) {
        count_rate(clocks);
    } else if (m == 3) {
        count_square(clocks);
    } else {
        count_down(clocks);
    }
}

/// The clock that copies CR into CE.
void I8254Counter::load() {
    const uint32_t initial = initial_count();
    const unsigned m = mode();
    state_.load_next = false;
    state_.null_count = false;
    state_.counting = true;
    state_.armed = true;
    state_.odd = (initial & 1) != 0;
    state_.count = m == 3 ? initial & ~1u : initial;
    // Modes 0 and 1 are low until zero; a rate generator is low while CE is 1 and GATE high.
    state_.out = m > 1 && !(m == 2 && initial == 1 && state_.gate);
}

/// Modes 0, 1, 4 and 5: down to zero, where OUT acts once, and on around the modulus.
void I8254Counter::count_down(uint64_t clocks) {
    if (state_.armed && clocks >= state_.count) {
        state_.armed = false;
        // The strobe of modes 4 and 5 is over unless zero was reached just now.
        state_.out = mode() < 2 || clocks != state_.count;
    }
    const auto step = static_cast<uint32_t>(clocks % modulus());
    state_.count = (state_.count + modulus() - step) % modulus();
}

/// Mode 2: CE goes from N to 1, OUT is low at 1, and the next clock loads CR.
void I8254Counter::count_rate(uint64_t clocks) {
    if (clocks < state_.count) {
        state_.count -= static_cast<uint32_t>(clocks);
    } else {
        const uint32_t initial = initial_count();
        const uint64_t since_load = clocks - state_.count;
        state_.count = initial - static_cast<uint32_t>(since_load % initial);
        state_.null_count = false;
    }
    state_.out = state_.count != 1;
}

/// Mode 3: how many clocks this half still lasts. CE counts by two; an odd count adds a clock to
/// the high half.
uint32_t I8254Counter::half_cycle_left() const {
    return state_.count / 2 + (state_.odd && state_.out ? 1 : 0);
}

void I8254Counter::count_square(uint64_t clocks) {
    const uint32_t left = half_cycle_left();
    if (clocks < left) {
        state_.count -= 2 * static_cast<uint32_t>(clocks);
        return;
    }
    const uint32_t initial = initial_count();
    const uint32_t even = initial & ~1u;
    state_.null_count = false;
    state_.odd = (initial & 1) != 0;
    if (initial == 1) {
        state_.out = true;
        state_.count = 0;
        return;
    }
    state_.out = !state_.out;
    auto since_load = static_cast<uint32_t>((clocks - left) % initial);
    const uint32_t half = state_.out ? (initial + 1) / 2 : initial / 2;
    if (since_load >= half) {
        state_.out = !state_.out;
        since_load -= half;
    }
    state_.count = even - 2 * since_load;
}

void I8254Counter::program(uint8_t control) {
    State fresh;
    fresh.tick = state_.tick;
    fresh.gate = state_.gate;
    fresh.count = state_.count % modulus();
    fresh.control = control & kProgrammedMask;
    state_ = fresh;
    state_.count %= modulus();
    state_.out = mode() != 0;
}

void I8254Counter::write(uint8_t value) {
    switch (access()) {
        case Access::kLatch:  // not programmed yet
            return;
        case Access::kLow:
            return write_count(value);
        case Access::kHigh:
            return write_count(static_cast<uint16_t>(value << 8));
        case Access::kLowHigh:
            break;
    }
    if (state_.high_byte_next_write) {
        state_.high_byte_next_write = false;
        return write_count(static_cast<uint16_t>(value << 8 | state_.low_byte));
    }
    state_.high_byte_next_write = true;
    state_.low_byte = value;
    if (mode() == 0) {  // "writing the first byte disables counting, OUT is set low immediately"
        state_.counting = false;
        state_.load_next = false;
        state_.out = false;
    }
}

/// A new count is in CR. Modes 0 and 4 take it at the next clock, modes 2 and 3 so only for the
/// first one and else at the end of the (half) cycle, modes 1 and 5 at the next trigger.
void I8254Counter::write_count(uint16_t count) {
    const unsigned m = mode();
    const bool first = !state_.has_initial;
    state_.initial = count;
    state_.has_initial = true;
    state_.null_count = true;
    if (m == 0) {
        state_.out = false;
    }
    if (m == 0 || m == 4 || (first && (m == 2 || m == 3))) {
        state_.load_next = true;
    }
}

uint8_t I8254Counter::read() {
    if (state_.latched_status) {
        const uint8_t status = *state_.latched_status;
        state_.latched_status.reset();
        return status;
    }
    const uint16_t count = state_.latched_count.value_or(visible_count());
    const auto low = static_cast<uint8_t>(count);
    const auto high = static_cast<uint8_t>(count >> 8);
    switch (access()) {
        case Access::kLatch:
        case Access::kLow:
            state_.latched_count.reset();
            return low;
        case Access::kHigh:
            state_.latched_count.reset();
            return high;
        case Access::kLowHigh:
            break;
    }
    if (state_.high_byte_next_read) {
        state_.high_byte_next_read = false;
        state_.latched_count.reset();
        return high;
    }
    state_.high_byte_next_read = true;
    return low;
}

void I8254Counter::latch_count() {
    if (!state_.latched_count) {
        state_.latched_count = visible_count();
    }
}

void I8254Counter::latch_status() {
    if (!state_.latched_status) {
        state_.latched_status =
            static_cast<uint8_t>(state_.control | (state_.out ? kStatusOut : 0) |
                                 (state_.null_count ? kStatusNullCount : 0));
    }
}

void I8254Counter::set_gate(bool level) {
    const bool rises = level && !state_.gate;
    const unsigned m = mode();
    state_.gate = level;
    if (rises && m != 0 && m != 4 && state_.has_initial) {
        state_.load_next = true;
    }
    if (!level && (m == 2 || m == 3)) {
        state_.out = true;
    }
}

std::optional<uint64_t> I8254Counter::next_rise() const {
    const unsigned m = mode();
    const bool gated = m != 1 && m != 5;
    const bool strobing = (m == 4 || m == 5) && state_.counting && !state_.out;
    if (strobing) {
        return state_.tick + 1;
    }
    if (gated && !state_.gate) {
        return std::nullopt;
    }
    const bool illegal = initial_count() == 1 && (m == 2 || m == 3);
    if (state_.load_next) {
        return illegal ? std::nullopt : std::optional(state_.tick + 1 + rise_after_load());
    }
    if (!state_.counting) {
        return std::nullopt;
    }
    switch (m) {
        case 2:
            return illegal ? std::nullopt : std::optional(state_.tick + state_.count);
        case 3:
            if (illegal) {
                return state_.out ? std::nullopt : std::optional(state_.tick + half_cycle_left());
            }
            return state_.tick + half_cycle_left() + (state_.out ? initial_count() / 2 : 0);
        case 4:
        case 5:
            return state_.armed ? std::optional(state_.tick + state_.count + 1) : std::nullopt;
        case 0:
        case 1:
            break;
    }
    return state_.armed ? std::optional(state_.tick + state_.count) : std::nullopt;
}

/// The clocks from a load to the rise after it.
uint64_t I8254Counter::rise_after_load() const {
    const uint64_t strobe = mode() > 3 ? 1 : 0;
    return initial_count() + strobe;
}

}  // namespace halcyon
