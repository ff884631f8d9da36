#include "accel/soft/soft_local_apic.h"

#include <bit>

namespace halcyon {

namespace {

// Register indices: offset / 16 (SDM 3A table 11-1).
enum Register : uint32_t {
    kId = 0x02,
    kVersion = 0x03,
    kTaskPriority = 0x08,
    kProcessorPriority = 0x0a,
    kEndOfInterrupt = 0x0b,
    kLogicalDestination = 0x0d,
    kDestinationFormat = 0x0e,
    kSpurious = 0x0f,
    kInService = 0x10,
    kTriggerMode = 0x18,
    kRequest = 0x20,
    kErrorStatus = 0x28,
    kCommandLow = 0x30,
    kCommandHigh = 0x31,
    kLvtTimer = 0x32,
    kLvtError = 0x37,
    kInitialCount = 0x38,
    kCurrentCount = 0x39,
    kDivide = 0x3e,
};

/// Version 14h, six LVT entries.
constexpr uint32_t kVersionValue = 0x00050014;
constexpr uint32_t kMasked = 1U << 16;
constexpr uint32_t kPeriodic = 1U << 17;
constexpr uint32_t kRemoteRequest = 1U << 14;
constexpr uint32_t kErrorReceiveIllegalVector = 1U << 6;
constexpr uint32_t kErrorIllegalRegister = 1U << 7;
/// Vectors below are reserved for exceptions.
constexpr unsigned kFirstVector = 16;
constexpr uint64_t kAddressBits = 32;

void set_bit(std::array<uint32_t, 8>& bits, unsigned index) {
    bits[index / 32] |= 1U << (index % 32);
}
void clear_bit(std::array<uint32_t, 8>& bits, unsigned index) {
    bits[index / 32] &= ~(1U << (index % 32));
}
bool test_bit(const std::array<uint32_t, 8>& bits, unsigned index) {
    return (bits[index / 32] >> (index % 32) & 1) != 0;
}
int highest_bit(const std::array<uint32_t, 8>& bits) {
    for (int word = 7; word >= 0; --word) {
        const uint32_t value = bits[static_cast<size_t>(word)];
        if (value != 0) {
            return word * 32 + 31 - std::countl_zero(value);
        }
    }
    return -1;
}

}  // namespace

void SoftLocalApic::reset() {
    base_ = kDefaultBase | kGlobalEnable | (initial_id_ == 0 ? kBootProcessor : 0);
    id_ = initial_id_;
    init();
}

void SoftLocalApic::init() {
    task_priority_ = 0;
    logical_destination_ = 0;
    destination_format_ = 0xffffffff;
    spurious_ = 0xff;
    error_status_ = errors_since_ = 0;
    command_low_ = command_high_ = 0;
    lvt_.fill(kMasked);
    if (initial_id_ == 0) {
        // The boot processor comes up in virtual wire mode, so that firmware that never touches
        // the APIC gets the 8259's interrupts.
        lvt_[kLint0] = ApicMessage::kExtInt << 8;
    }
    initial_count_ = 0;
    divide_ = 0;
    timer_running_ = false;
    nmi_ = false;
    requested_ = in_service_ = level_ = {};
}

bool SoftLocalApic::set_base(uint64_t value) {
    constexpr uint64_t kWritable = ((1ULL << kAddressBits) - 1) & ~0x6ffULL;
    if ((value & ~kWritable) != 0) {  // x2APIC is among what does not exist
        return false;
    }
    const bool was_enabled = enabled();
    base_ =
        (value & ~static_cast<uint64_t>(kBootProcessor)) | (initial_id_ == 0 ? kBootProcessor : 0);
    if (was_enabled && !enabled()) {
        init();
    }
    return true;
}

uint32_t SoftLocalApic::read(uint32_t offset, unsigned size, int64_t now) const {
    const uint32_t within = offset & 0xf;
    if (within + size > 4) {
        return 0;
    }
    const uint32_t value = read_register(offset >> 4, now) >> (8 * within);
    return size == 4 ? value : value & ((1U << (8 * size)) - 1);
}

uint32_t SoftLocalApic::read_register(uint32_t index, int64_t now) const {
    if (index >= kInService && index < kErrorStatus) {
        const Bits& bits =
            index < kTriggerMode ? in_service_ : (index < kRequest ? level_ : requested_);
        return bits[index & 7];
    }
    if (index >= kLvtTimer && index <= kLvtError) {
        return lvt_[index - kLvtTimer];
    }
    switch (index) {
        case kId:
            return static_cast<uint32_t>(id_) << 24;
        case kVersion:
            return kVersionValue;
        case kTaskPriority:
            return task_priority_;
        case kProcessorPriority:
            return processor_priority();
        case kLogicalDestination:
            return logical_destination_;
        case kDestinationFormat:
            return destination_format_;
        case kSpurious:
            return spurious_;
        case kErrorStatus:
            return error_status_;
        case kCommandLow:
            return command_low_;
        case kCommandHigh:
            return command_high_;
        case kInitialCount:
            return initial_count_;
        case kCurrentCount:
            return timer_count(now);
        case kDivide:
            return divide_;
    }
    return 0;
}

SoftLocalApic::Effects SoftLocalApic::write(uint32_t offset, unsigned size, uint32_t value,
                                            int64_t now) {
    Effects effects;
    if (size != 4 || (offset & 0xf) != 0) {
        return effects;
    }
    const uint32_t index = offset >> 4;
    if (index >= kLvtTimer && index <= kLvtError) {
        write_lvt(index - kLvtTimer, value, now);
        return effects;
    }
    switch (index) {
        case kId:
            id_ = static_cast<uint8_t>(value >> 24);
            break;
        case kTaskPriority:
            task_priority_ = static_cast<uint8_t>(value);
            break;
        case kEndOfInterrupt:
            effects.end_of_interrupt = end_interrupt();
            break;
        case kLogicalDestination:
            logical_destination_ = value & 0xff000000;
            break;
        case kDestinationFormat:
            destination_format_ = value | 0x0fffffff;
            break;
        case kSpurious:
            write_spurious(value);
            break;
        case kErrorStatus:
            error_status_ = errors_since_;
            errors_since_ = 0;
            break;
        case kCommandLow:
            command_low_ = value & 0x000ccfff;  // delivery is at once: never pending
            effects.command = command();
            break;
        case kCommandHigh:
            command_high_ = value & 0xff000000;
            break;
        case kInitialCount:
            initial_count_ = value;
            start_timer(now);
            break;
        case kDivide:
            divide_ = value & 0xb;
            start_timer(now);
            break;
        default:
            note_error(kErrorIllegalRegister);
            break;
    }
    return effects;
}

void SoftLocalApic::write_spurious(uint32_t value) {
    spurious_ = value & 0x3ff;
    if (!software_enabled()) {
        for (uint32_t& entry : lvt_) {
            entry |= kMasked;
        }
    }
}

void SoftLocalApic::write_lvt(unsigned entry, uint32_t value, int64_t now) {
    static constexpr std::array<uint32_t, kLvtCount> kWritable = {0x300ff, 0x107ff, 0x107ff,
                                                                  0x1a7ff, 0x1a7ff, 0x100ff};
    poll_timer(now);
    const uint32_t old = lvt_[entry];
    lvt_[entry] = (value & kWritable[entry]) | (old & kRemoteRequest);
    if (!software_enabled()) {
        lvt_[entry] |= kMasked;
    }
    if (entry == kTimer && ((old ^ lvt_[entry]) & kPeriodic) != 0 && timer_running_) {
        start_timer(now);
    }
}

ApicCommand SoftLocalApic::command() const {
    constexpr uint32_t kLogical = 1U << 11;
    constexpr uint32_t kLevel = 1U << 15;
    ApicCommand command;
    command.message = {.mode = static_cast<uint8_t>((command_low_ >> 8) & 7),
                       .vector = static_cast<uint8_t>(command_low_),
                       .level_triggered = (command_low_ & kLevel) != 0,
                       .logical = (command_low_ & kLogical) != 0,
                       .destination = static_cast<uint8_t>(command_high_ >> 24)};
    command.shorthand = static_cast<ApicCommand::Shorthand>((command_low_ >> 18) & 3);
    // A level-triggered INIT with the level low only synchronises old processors' arbitration.
    constexpr uint32_t kAssert = 1U << 14;
    if (command.message.mode == ApicMessage::kInit && command.message.level_triggered &&
        (command_low_ & kAssert) == 0) {
        command.message.mode = ApicMessage::kSmi;  // which does nothing here
    }
    return command;
}

bool SoftLocalApic::matches(const ApicMessage& message) const {
    constexpr uint32_t kFlatModel = 0xf;
    if (!enabled()) {
        return false;
    }
    if (!message.logical) {
        return message.destination == id_ || message.destination == 0xff;
    }
    const uint32_t logical = logical_destination_ >> 24;
    if (destination_format_ >> 28 == kFlatModel) {
        return (message.destination & logical) != 0;
    }
    // The cluster model: high half names a cluster, low half its members.
    const bool cluster = message.destination >> 4 == logical >> 4 || message.destination == 0xff;
    return cluster && (message.destination & logical & 0xf) != 0;
}

bool SoftLocalApic::accept(uint8_t vector, bool level_triggered) {
    if (!enabled() || !software_enabled()) {
        return false;
    }
    if (vector < kFirstVector) {
        note_error(kErrorReceiveIllegalVector);
        return false;
    }
    set_bit(requested_, vector);
    if (level_triggered) {
        set_bit(level_, vector);
    } else {
        clear_bit(level_, vector);
    }
    return true;
}

void SoftLocalApic::deliver_local(unsigned entry) {
    const uint32_t value = lvt_[entry];
    if ((value & kMasked) != 0) {
        return;
    }
    switch ((value >> 8) & 7) {
        case ApicMessage::kFixed:
            accept(static_cast<uint8_t>(value), false);
            break;
        case ApicMessage::kNmi:
            nmi_ = true;
            break;
    }
}

void SoftLocalApic::note_error(uint32_t bit) {
    const bool first = (errors_since_ & bit) == 0;
    errors_since_ |= bit;
    if (first && static_cast<uint8_t>(lvt_[kError]) >= kFirstVector) {
        deliver_local(kError);
    }
}

void SoftLocalApic::set_lint0(bool level) {
    const bool rising = level && !lint0_;
    lint0_ = level;
    if (rising) {
        deliver_local(kLint0);  // ExtINT is looked at by level instead
    }
}

bool SoftLocalApic::ext_int_pending() const {
    if (!enabled()) {
        return lint0_;  // without a local APIC the pin is the processor's INTR
    }
    const uint32_t value = lvt_[kLint0];
    return lint0_ && (value & kMasked) == 0 && ((value >> 8) & 7) == ApicMessage::kExtInt;
}

bool SoftLocalApic::take_nmi() {
    const bool taken = nmi_;
    nmi_ = false;
    return taken;
}

uint8_t SoftLocalApic::processor_priority() const {
    const int in_service = highest_bit(in_service_);
    const unsigned serving = in_service < 0 ? 0 : static_cast<unsigned>(in_service) & 0xf0;
    return static_cast<uint8_t>((task_priority_ & 0xf0U) >= serving ? task_priority_ : serving);
}

int SoftLocalApic::highest_deliverable() const {
    const int vector = highest_bit(requested_);
    const bool above = vector >= 0 && (vector & 0xf0) > (processor_priority() & 0xf0);
    return above && enabled() && software_enabled() ? vector : -1;
}

std::optional<uint8_t> SoftLocalApic::acknowledge() {
    const int vector = highest_deliverable();
    if (vector < 0) {
        return std::nullopt;
    }
    const auto index = static_cast<unsigned>(vector);
    clear_bit(requested_, index);
    set_bit(in_service_, index);
    return static_cast<uint8_t>(vector);
}

std::optional<uint8_t> SoftLocalApic::end_interrupt() {
    const int vector = highest_bit(in_service_);
    if (vector < 0) {
        return std::nullopt;
    }
    clear_bit(in_service_, static_cast<unsigned>(vector));
    if (!test_bit(level_, static_cast<unsigned>(vector))) {
        return std::nullopt;
    }
    return static_cast<uint8_t>(vector);
}

/// One tick of the bus clock is a nanosecond.
uint32_t SoftLocalApic::timer_divider() const {
    const uint32_t code = (divide_ & 3) | ((divide_ >> 1) & 4);
    return code == 7 ? 1 : 2U << code;
}

int64_t SoftLocalApic::timer_period() const {
    return static_cast<int64_t>(initial_count_) * timer_divider();
}

void SoftLocalApic::start_timer(int64_t now) {
    timer_start_ = now;
    timer_running_ = initial_count_ != 0;
}

void SoftLocalApic::poll_timer(int64_t now) {
    const int64_t period = timer_period();
    if (!timer_running_ || now - timer_start_ < period) {
        return;
    }
    if ((lvt_[kTimer] & kPeriodic) != 0) {
        timer_start_ += (now - timer_start_) / period * period;
    } else {
        timer_running_ = false;
    }
    deliver_local(kTimer);
}

std::optional<int64_t> SoftLocalApic::timer_deadline() const {
    if (!timer_running_ || (lvt_[kTimer] & kMasked) != 0) {
        return std::nullopt;
    }
    return timer_start_ + timer_period();
}

uint32_t SoftLocalApic::timer_count(int64_t now) const {
    const int64_t period = timer_period();
    int64_t elapsed = now - timer_start_;
    if (!timer_running_ || elapsed < 0) {
        return 0;
    }
    if ((lvt_[kTimer] & kPeriodic) != 0) {
        elapsed %= period;
    } else if (elapsed >= period) {
        return 0;
    }
    return static_cast<uint32_t>((period - elapsed + timer_divider() - 1) / timer_divider());
}

}  // namespace halcyon
