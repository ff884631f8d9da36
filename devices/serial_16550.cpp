#include "devices/serial_16550.h"

#include <utility>

#include "devices/byte_access.h"

namespace halcyon {

using namespace serial_16550;

namespace {

/// The far end of the line, see the class comment.
constexpr uint8_t kNullModem = kMsrCts | kMsrDsr | kMsrDcd;
constexpr uint8_t kCharacterErrors = kLsrParity | kLsrFraming | kLsrBreak;

}  // namespace

Serial16550A::Serial16550A(std::string name, CharBackend& backend, IrqLine& irq, GuestClock& clock)
    : name_(std::move(name)),
      backend_(backend),
      irq_(irq),
      clock_(clock),
      timeout_timer_(clock.make_timer([this] { on_timeout(); })) {
    state_.modem_status = kNullModem;
    backend_.connect(this);
}

Serial16550A::~Serial16550A() {
    backend_.connect(nullptr);
}

void Serial16550A::read(uint64_t offset, std::span<std::byte> data) {
    const std::lock_guard lock(mutex_);
    read_bytewise(offset, data, [this](uint64_t port) { return read_register(port); });
}

void Serial16550A::write(uint64_t offset, std::span<const std::byte> data) {
    const std::lock_guard lock(mutex_);
    write_bytewise(offset, data,
                   [this](uint64_t port, uint8_t value) { write_register(port, value); });
}

void Serial16550A::reset() {
    const std::lock_guard lock(mutex_);
    timeout_timer_->cancel();
    state_ = State{};
    state_.modem_status = kNullModem;
    update_interrupt();
    ask_for_input();
}

uint8_t Serial16550A::read_register(uint64_t offset) {
    switch (offset % kPortCount) {
        case kData:
            return divisor_latch_access() ? static_cast<uint8_t>(state_.divisor) : read_data();
        case kInterruptEnable:
            return divisor_latch_access() ? static_cast<uint8_t>(state_.divisor >> 8)
                                          : state_.interrupt_enable;
        case kInterruptId:
            return read_interrupt_id();
        case kLineControl:
            return state_.line_control;
        case kModemControl:
            return state_.modem_control;
        case kLineStatus:
            return read_line_status();
        case kModemStatus: {
            const uint8_t value = state_.modem_status;
            state_.modem_status &= static_cast<uint8_t>(~kMsrDeltaMask);
            update_interrupt();
            return value;
        }
        case kScratch:
            break;
    }
    return state_.scratch;
}

void Serial16550A::write_register(uint64_t offset, uint8_t value) {
    switch (offset % kPortCount) {
        case kData:
            if (divisor_latch_access()) {
                state_.divisor = static_cast<uint16_t>((state_.divisor & 0xFF00) | value);
            } else {
                write_data(value);
            }
            return;
        case kInterruptEnable:
            if (divisor_latch_access()) {
                state_.divisor = static_cast<uint16_t>((state_.divisor & 0x00FF) | value << 8);
            } else {
                write_interrupt_enable(value);
            }
            return;
        case kInterruptId:
            write_fifo_control(value);
            return;
        case kLineControl:
            state_.line_control = value;
            return;
        case kModemControl:
            write_modem_control(value);
            return;
        case kScratch:
            state_.scratch = value;
            return;
    }
    // LSR and MSR are for reading only (8.3, 8.8).
}

uint8_t Serial16550A::read_data() {
    if (state_.received.empty()) {
        return state_.receive_buffer;
    }
    state_.receive_buffer = state_.received.pop().byte;
    // 8.4, "FIFO interrupt mode operation" B and C: reading restarts the time-out.
    state_.timeout_interrupt = false;
    reveal_errors();
    restart_timeout();
    update_interrupt();
    ask_for_input();
    return state_.receive_buffer;
}

uint8_t Serial16550A::read_interrupt_id() {
    const uint8_t id = interrupt_id();
    if (id == kIirTransmitEmpty) {
        state_.transmit_interrupt = false;  // table IV: reset by reading it
        update_interrupt();
    }
    return static_cast<uint8_t>(id | (fifo_enabled() ? kIirFifoEnabled : 0));
}

uint8_t Serial16550A::read_line_status() {
    uint8_t value = state_.line_errors;
    if (!state_.received.empty()) {
        value |= kLsrDataReady;
    }
    if (state_.transmitting.empty()) {
        value |= kLsrTransmitEmpty | kLsrIdle;
    }
    // LSR7, 8.3: an error anywhere in the FIFO, the one just shown included.
    if (fifo_enabled()) {
        auto rest = state_.received;
        uint8_t errors = state_.line_errors & kCharacterErrors;
        while (!rest.empty()) {
            errors |= rest.pop().errors;
        }
        value |= errors != 0 ? kLsrFifoError : 0;
    }
    state_.line_errors = 0;
    update_interrupt();
    return value;
}

void Serial16550A::write_data(uint8_t value) {
    if (!fifo_enabled()) {
        state_.transmitting.clear();  // an unsent byte in the THR is overwritten
    }
    state_.transmitting.push(value);  // a full FIFO loses the new byte
    state_.transmit_interrupt = false;
    transmit();
    update_interrupt();
}

void Serial16550A::write_interrupt_enable(uint8_t value) {
    const uint8_t enabled = value & kIerMask & ~state_.interrupt_enable;
    state_.interrupt_enable = value & kIerMask;
    // Enabling the THRE interrupt with an empty THR raises it: table IV's source is the state.
    if ((enabled & kIerTransmitEmpty) != 0 && state_.transmitting.empty()) {
        state_.transmit_interrupt = true;
    }
    update_interrupt();
}

void Serial16550A::write_fifo_control(uint8_t value) {
    const bool mode_changes = ((value ^ state_.fifo_control) & kFcrEnable) != 0;
    // 8.4: without bit 0 the others are not programmed; changing it clears both FIFOs.
    if (mode_changes ||
        (value & (kFcrEnable | kFcrResetReceiver)) == (kFcrEnable | kFcrResetReceiver)) {
        clear_receiver();
    }
    if (mode_changes ||
        (value & (kFcrEnable | kFcrResetTransmitter)) == (kFcrEnable | kFcrResetTransmitter)) {
        clear_transmitter();
    }
    state_.fifo_control =
        (value & kFcrEnable) != 0 ? value & (kFcrEnable | kFcrDmaMode | kFcrTriggerMask) : 0;
    update_interrupt();
    ask_for_input();
}

void Serial16550A::write_modem_control(uint8_t value) {
    state_.modem_control = value & kMcrMask;
    update_modem_status();
    transmit();
    update_interrupt();
    ask_for_input();
}

bool Serial16550A::fifo_enabled() const {
    return (state_.fifo_control & kFcrEnable) != 0;
}

bool Serial16550A::loopback() const {
    return (state_.modem_control & kMcrLoopback) != 0;
}

bool Serial16550A::divisor_latch_access() const {
    return (state_.line_control & kLcrDivisorLatch) != 0;
}

/// Bytes in the FIFO that raise the received-data interrupt (8.4, FCR bits 6 and 7).
size_t Serial16550A::receive_trigger() const {
    static constexpr size_t kLevels[] = {1, 4, 8, 14};
    return fifo_enabled() ? kLevels[state_.fifo_control >> 6] : 1;
}

size_t Serial16550A::receive_room() const {
    return (fifo_enabled() ? kFifoDepth : 1) - state_.received.size();
}

/// What the line may deliver: in loopback SIN is disconnected (8.7, bit 4).
size_t Serial16550A::external_room() const {
    return loopback() ? 0 : receive_room();
}

/// How long one character takes on the wire: start bit, data, parity, stop bits (8.1).
GuestTime Serial16550A::character_time() const {
    const uint32_t bits = 1 + 5 + (state_.line_control & kLcrWordLengthMask) +
                          ((state_.line_control & kLcrParity) != 0 ? 1 : 0) +
                          ((state_.line_control & kLcrTwoStopBits) != 0 ? 2 : 1);
    // The divider is a 16-bit down counter: 0 counts 65536.
    const uint64_t divisor = state_.divisor == 0 ? 0x10000 : state_.divisor;
    constexpr uint64_t kNanosecondsPerSecond = 1'000'000'000;
    return GuestTime(
        static_cast<int64_t>(bits * divisor * kClocksPerBit * kNanosecondsPerSecond / kCrystalHz));
}

/// The highest pending interrupt (table IV), without the FIFO bits. The time-out comes before its
/// equal, received data: IIR bit 3 is set along with bit 2 whenever a time-out is pending (8.6).
uint8_t Serial16550A::interrupt_id() const {
    const uint8_t enabled = state_.interrupt_enable;
    if ((enabled & kIerLineStatus) != 0 && state_.line_errors != 0) {
        return kIirLineStatus;
    }
    if ((enabled & kIerReceived) != 0) {
        if (state_.timeout_interrupt) {
            return kIirTimeout;
        }
        if (state_.received.size() >= receive_trigger()) {
            return kIirReceived;
        }
    }
    if ((enabled & kIerTransmitEmpty) != 0 && state_.transmit_interrupt) {
        return kIirTransmitEmpty;
    }
    if ((enabled & kIerModemStatus) != 0 && (state_.modem_status & kMsrDeltaMask) != 0) {
        return kIirModemStatus;
    }
    return kIirNone;
}

size_t Serial16550A::can_receive() {
    const std::lock_guard lock(mutex_);
    const size_t room = external_room();
    input_refused_ = room == 0;
    return room;
}

void Serial16550A::receive(std::span<const std::byte> data) {
    const std::lock_guard lock(mutex_);
    if (loopback()) {
        return;
    }
    for (const std::byte byte : data) {
        receive_character({std::to_integer<uint8_t>(byte), 0});
    }
    update_interrupt();
}

void Serial16550A::on_break() {
    const std::lock_guard lock(mutex_);
    if (loopback()) {
        return;
    }
    // 8.3, bit 4: one zero character is loaded; its stop bit was never seen.
    receive_character({0, kLsrBreak | kLsrFraming});
    update_interrupt();
}

void Serial16550A::on_writable() {
    const std::lock_guard lock(mutex_);
    if (!state_.transmitting.empty()) {
        transmit();
        update_interrupt();
    }
}

void Serial16550A::receive_character(Received character) {
    if (receive_room() == 0) {
        state_.line_errors |= kLsrOverrun;
        if (fifo_enabled()) {
            return;  // 8.3, bit 1: the FIFO keeps what it has
        }
        state_.received.clear();  // without FIFOs the new character destroys the old one
    }
    state_.received.push(character);
    if (state_.received.size() == 1) {
        reveal_errors();
    }
    restart_timeout();
}

/// The errors of the character at the top of the FIFO show in the LSR (8.3, bits 2 to 4).
void Serial16550A::reveal_errors() {
    if (!state_.received.empty()) {
        state_.line_errors |= state_.received.front().errors;
        state_.received.front().errors = 0;
    }
}

/// 8.4, "FIFO interrupt mode operation": the time-out runs from the last received or read character
/// while the FIFO holds any, and only FIFO mode has it. A raised one stays until a read.
void Serial16550A::restart_timeout() {
    if (!fifo_enabled() || state_.received.empty()) {
        state_.timeout_at.reset();
        timeout_timer_->cancel();
        return;
    }
    state_.timeout_at = clock_.now() + 4 * character_time();
    timeout_timer_->arm(*state_.timeout_at);
}

void Serial16550A::on_timeout() {
    const std::lock_guard lock(mutex_);
    // A character may have come or gone while this call was on its way.
    if (state_.timeout_at && clock_.now() >= *state_.timeout_at) {
        state_.timeout_at.reset();
        state_.timeout_interrupt = true;
        update_interrupt();
    }
}

/// Wakes a back end that was refused, once there is room.
void Serial16550A::ask_for_input() {
    if (input_refused_ && external_room() > 0) {
        input_refused_ = false;
        backend_.input_wanted();
    }
}

void Serial16550A::clear_receiver() {
    state_.received.clear();
    state_.timeout_interrupt = false;
    restart_timeout();
}

void Serial16550A::clear_transmitter() {
    if (!state_.transmitting.empty()) {
        state_.transmitting.clear();
        state_.transmit_interrupt = true;
    }
}

/// Empties the transmitter into the back end, as far as that takes it, or into the receiver.
void Serial16550A::transmit() {
    if (state_.transmitting.empty()) {
        return;
    }
    while (!state_.transmitting.empty()) {
        const auto byte = static_cast<std::byte>(state_.transmitting.front());
        if (loopback()) {
            receive_character({state_.transmitting.front(), 0});
        } else if ((state_.line_control & kLcrBreak) != 0) {
            // 8.1, bit 6: SOUT is held at spacing, the character never reaches the line.
        } else if (backend_.write(std::span(&byte, 1)) == 0) {
            return;
        }
        state_.transmitting.pop();
    }
    state_.transmit_interrupt = true;
}

/// Table V: in loopback the modem inputs are the MCR's outputs (8.7, bit 4).
void Serial16550A::update_modem_status() {
    uint8_t lines = kNullModem;
    if (loopback()) {
        const uint8_t control = state_.modem_control;
        lines = static_cast<uint8_t>(
            ((control & kMcrRts) != 0 ? kMsrCts : 0) | ((control & kMcrDtr) != 0 ? kMsrDsr : 0) |
            ((control & kMcrOut1) != 0 ? kMsrRi : 0) | ((control & kMcrOut2) != 0 ? kMsrDcd : 0));
    }
    const uint8_t before = state_.modem_status;
    uint8_t deltas = static_cast<uint8_t>((lines ^ before) >> 4);
    if ((before & kMsrRi) == 0) {
        deltas &= static_cast<uint8_t>(~kMsrTrailingRi);  // only RI going away counts
    }
    state_.modem_status = static_cast<uint8_t>(lines | deltas | (before & kMsrDeltaMask));
}

/// A PC gates the interrupt with OUT2, and loopback forces that output inactive (8.7, bit 4).
void Serial16550A::update_interrupt() {
    const bool gate = (state_.modem_control & kMcrOut2) != 0 && !loopback();
    const bool level = gate && interrupt_id() != kIirNone;
    if (level != irq_level_) {
        irq_level_ = level;
        irq_.set(level);
    }
}

}  // namespace halcyon
