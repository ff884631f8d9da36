#include "devices/i8259_chip.h"

#include "devices/i8259_registers.h"

namespace halcyon {

using namespace i8259;

namespace {

constexpr uint8_t bit(unsigned level) {
    return static_cast<uint8_t>(1u << (level & 7));
}

}  // namespace

I8259Chip::I8259Chip(Role role) : role_(role) {
    reset();
}

void I8259Chip::reset() {
    const uint8_t inputs = state_.inputs;
    state_ = State{};
    state_.inputs = inputs;
    // The cascade of a PC, until ICW3 says so too.
    state_.icw3 = role_ == Role::kMaster ? bit(kCascadeLevel) : uint8_t{kCascadeLevel};
}

void I8259Chip::set_input(unsigned irq, bool level) {
    const uint8_t mask = bit(irq);
    if (!level) {
        state_.inputs &= static_cast<uint8_t>(~mask);
        state_.latched &= static_cast<uint8_t>(~mask);
        return;
    }
    const bool rises = (state_.inputs & mask) == 0;
    state_.inputs |= mask;
    if (rises && (level_triggered() & mask) == 0) {
        state_.latched |= mask;
    }
}

uint8_t I8259Chip::read(uint64_t offset) {
    if (state_.poll) {
        return poll();
    }
    if (offset == kData) {
        return state_.imr;
    }
    return state_.read_isr ? state_.isr : irr();
}

void I8259Chip::write(uint64_t offset, uint8_t value) {
    if (offset == kData) {
        write_data(value);
    } else if ((value & kIcw1Select) != 0) {
        start_initialisation(value);
    } else if ((value & kOcw3Select) != 0) {
        write_ocw3(value);
    } else {
        write_ocw2(value);
    }
}

void I8259Chip::write_elcr(uint8_t value) {
    state_.elcr = value & (role_ == Role::kMaster ? kElcrMasterMask : kElcrSlaveMask);
    state_.latched &= static_cast<uint8_t>(~state_.elcr);
}

/// "Initialization Command Words 1 and 2", a to f. ISR is cleared as well, as the PIIX4 does.
void I8259Chip::start_initialisation(uint8_t icw1) {
    State fresh;
    fresh.inputs = state_.inputs;
    fresh.elcr = state_.elcr;
    fresh.icw1 = icw1;
    fresh.vector_base = state_.vector_base;
    fresh.icw3 = role_ == Role::kMaster ? state_.icw3 : uint8_t{7};
    fresh.expect = Expect::kIcw2;
    state_ = fresh;
}

void I8259Chip::write_data(uint8_t value) {
    const bool needs_icw4 = (state_.icw1 & kIcw1NeedsIcw4) != 0;
    switch (state_.expect) {
        case Expect::kOcw1:
            state_.imr = value;
            return;
        case Expect::kIcw2:
            state_.vector_base = value & kIcw2VectorMask;
            if ((state_.icw1 & kIcw1Single) == 0) {
                state_.expect = Expect::kIcw3;
            } else {
                state_.expect = needs_icw4 ? Expect::kIcw4 : Expect::kOcw1;
            }
            return;
        case Expect::kIcw3:
            state_.icw3 = value;
            state_.expect = needs_icw4 ? Expect::kIcw4 : Expect::kOcw1;
            return;
        case Expect::kIcw4:
            state_.icw4 = value;
            state_.expect = Expect::kOcw1;
            return;
    }
}

void I8259Chip::write_ocw2(uint8_t value) {
    const unsigned level = value & kOcw2LevelMask;
    // In special mask mode a non-specific EOI leaves masked levels alone ("End of Interrupt").
    const auto in_service = highest_of(
        state_.special_mask ? static_cast<uint8_t>(state_.isr & ~state_.imr) : state_.isr);
    switch (static_cast<Ocw2>(value >> kOcw2CommandShift)) {
        case Ocw2::kRotateInAutoEoiClear:
            state_.rotate_in_auto_eoi = false;
            return;
        case Ocw2::kNonSpecificEoi:
            return end_of_interrupt(in_service, false);
        case Ocw2::kNoOperation:
            return;
        case Ocw2::kSpecificEoi:
            return end_of_interrupt(level, false);
        case Ocw2::kRotateInAutoEoiSet:
            state_.rotate_in_auto_eoi = true;
            return;
        case Ocw2::kRotateOnNonSpecificEoi:
            return end_of_interrupt(in_service, true);
        case Ocw2::kSetPriority:
            state_.lowest_priority = static_cast<uint8_t>(level);
            return;
        case Ocw2::kRotateOnSpecificEoi:
            return end_of_interrupt(level, true);
    }
}

void I8259Chip::write_ocw3(uint8_t value) {
    if ((value & kOcw3EnableSpecialMask) != 0) {
        state_.special_mask = (value & kOcw3SpecialMask) != 0;
    }
    state_.poll = (value & kOcw3Poll) != 0;
    if ((value & kOcw3ReadRegister) != 0) {
        state_.read_isr = (value & kOcw3ReadIsr) != 0;
    }
}

void I8259Chip::end_of_interrupt(std::optional<unsigned> level, bool rotate) {
    if (!level) {
        return;
    }
    state_.isr &= static_cast<uint8_t>(~bit(*level));
    if (rotate) {
        state_.lowest_priority = static_cast<uint8_t>(*level);
    }
}

std::optional<unsigned> I8259Chip::acknowledge() {
    const auto level = pending();
    if (!level) {
        return std::nullopt;
    }
    state_.latched &= static_cast<uint8_t>(~bit(*level));
    state_.isr |= bit(*level);
    if ((state_.icw4 & kIcw4AutoEoi) != 0) {
        end_of_interrupt(level, state_.rotate_in_auto_eoi);
    }
    return level;
}

/// "Poll Command": the read is the acknowledge.
uint8_t I8259Chip::poll() {
    state_.poll = false;
    const auto level = acknowledge();
    return level ? static_cast<uint8_t>(kPollRequest | *level) : uint8_t{0};
}

uint8_t I8259Chip::vector(unsigned level) const {
    return static_cast<uint8_t>(state_.vector_base | (level & 7));
}

bool I8259Chip::cascades(unsigned irq) const {
    return (state_.icw1 & kIcw1Single) == 0 && (state_.icw3 & bit(irq)) != 0;
}

bool I8259Chip::answers_to(unsigned id) const {
    return (state_.icw1 & kIcw1Single) == 0 && (state_.icw3 & kIcw3SlaveIdMask) == id;
}

/// The slave's INT is followed as a level, not latched: an edge that came before the master's own
/// ICW1 would otherwise be lost for good with the slave's INT still high.
uint8_t I8259Chip::level_triggered() const {
    return role_ == Role::kMaster ? static_cast<uint8_t>(state_.elcr | bit(kCascadeLevel))
                                  : state_.elcr;
}

uint8_t I8259Chip::irr() const {
    return static_cast<uint8_t>((state_.inputs & level_triggered()) | state_.latched);
}

/// The level with the highest priority among `levels`.
std::optional<unsigned> I8259Chip::highest_of(uint8_t levels) const {
    for (unsigned step = 1; step <= 8; ++step) {
        const unsigned level = (state_.lowest_priority + step) & 7;
        if ((levels & bit(level)) != 0) {
            return level;
        }
    }
    return std::nullopt;
}

/// The priority resolver: the highest unmasked request above everything in service. Special mask
/// mode lifts the block of levels that are in service and masked. Special fully nested mode lets a
/// slave's input interrupt itself.
std::optional<unsigned> I8259Chip::pending() const {
    if (state_.expect != Expect::kOcw1) {
        return std::nullopt;
    }
    const bool nested = (state_.icw4 & kIcw4SpecialFullyNested) != 0 && role_ == Role::kMaster;
    const auto requests = static_cast<uint8_t>(irr() & ~state_.imr);
    for (unsigned step = 1; step <= 8; ++step) {
        const unsigned level = (state_.lowest_priority + step) & 7;
        const bool in_service = (state_.isr & bit(level)) != 0;
        if ((requests & bit(level)) != 0 && (!in_service || (nested && cascades(level)))) {
            return level;
        }
        const bool lifted = state_.special_mask && (state_.imr & bit(level)) != 0;
        if (in_service && !lifted) {
            return std::nullopt;
        }
    }
    return std::nullopt;
}

}  // namespace halcyon
