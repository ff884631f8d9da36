#include "devices/i8042.h"

#include <utility>

namespace halcyon {

using namespace i8042;

I8042::I8042(IrqLine& keyboard_irq, IrqLine& auxiliary_irq, Outputs outputs)
    : keyboard_irq_(keyboard_irq),
      auxiliary_irq_(auxiliary_irq),
      outputs_(std::move(outputs)),
      data_port_(
          "i8042-data", [this](uint64_t) { return read_data(); },
          [this](uint64_t, uint8_t value) { write_data(value); }),
      command_port_(
          "i8042-command", [this](uint64_t) { return read_status(); },
          [this](uint64_t, uint8_t value) { write_command(value); }) {}

void I8042::press(std::span<const uint8_t> set2) {
    const std::lock_guard lock(mutex_);
    keyboard_.press(set2);
    update();
}

void I8042::reset() {
    const std::lock_guard lock(mutex_);
    set_a20(true);
    state_ = State{};
    keyboard_.reset();
    update();
}

uint8_t I8042::read_data() {
    const std::lock_guard lock(mutex_);
    const uint8_t value = state_.output.byte;
    if (std::exchange(state_.output_full, false)) {
        update();  // between two bytes the interrupt falls, so that each gives an edge
    }
    return value;
}

uint8_t I8042::read_status() {
    const std::lock_guard lock(mutex_);
    uint8_t status = kStatusUnlocked;
    if ((command_byte() & kSystemFlag) != 0) {
        status |= kStatusSystem;
    }
    if (state_.last_write_was_command) {
        status |= kStatusCommand;
    }
    if (state_.output_full) {
        status |= kStatusOutputFull;
        status |= state_.output.auxiliary ? kStatusAuxiliary : 0;
        status |= state_.output.timeout ? kStatusTimeout : 0;
    }
    return status;
}

void I8042::write_data(uint8_t value) {
    const std::lock_guard lock(mutex_);
    state_.last_write_was_command = false;
    if (const uint8_t command = std::exchange(state_.pending_command, uint8_t{0})) {
        finish_command(command, value);
    } else {
        // A byte for the keyboard enables its interface, or it could not answer.
        command_byte() &= static_cast<uint8_t>(~kKeyboardDisabled);
        keyboard_.write(value);
    }
    update();
}

void I8042::write_command(uint8_t value) {
    const std::lock_guard lock(mutex_);
    state_.last_write_was_command = true;
    state_.pending_command = 0;
    start_command(value);
    update();
}

void I8042::start_command(uint8_t command) {
    if (command >= kReadRam && command < kReadRam + kRamSize) {
        reply({state_.ram[command - kReadRam], false, false});
        return;
    }
    if (command >= kWriteRam && command < kWriteRam + kRamSize) {
        state_.pending_command = command;
        return;
    }
    if (command >= kPulseOutputPort) {
        // A pulse of A20 or of the two unused bits is over before anyone could see it.
        if ((command & kOutputNoReset) == 0 && outputs_.reset_requested) {
            outputs_.reset_requested();
        }
        return;
    }
    switch (command) {
        case kTestPassword:
            return reply({kNoPassword, false, false});
        case kDisableAuxiliary:
            command_byte() |= kAuxiliaryDisabled;
            return;
        case kEnableAuxiliary:
            command_byte() &= static_cast<uint8_t>(~kAuxiliaryDisabled);
            return;
        case kTestAuxiliary:  // the lines are good: an empty socket pulls them up
        case kTestKeyboard:
            return reply({kInterfaceGood, false, false});
        case kSelfTest:
            command_byte() |= kSystemFlag;
            return reply({kSelfTestPassed, false, false});
        case kDisableKeyboard:
            command_byte() |= kKeyboardDisabled;
            return;
        case kEnableKeyboard:
            command_byte() &= static_cast<uint8_t>(~kKeyboardDisabled);
            return;
        case kReadInputPort:
            return reply({kInputPort, false, false});
        case kReadOutputPort:
            return reply({output_port(), false, false});
        case kWriteOutputPort:
        case kWriteKeyboardBuffer:
        case kWriteAuxiliaryBuffer:
        case kWriteAuxiliary:
            state_.pending_command = command;
            return;
        case kDisableA20:
            return set_a20(false);
        case kEnableA20:
            return set_a20(true);
        case kReadTestInputs:
            return reply({test_inputs(), false, false});
    }
    // Other commands are reserved and ignored.
}

void I8042::finish_command(uint8_t command, uint8_t value) {
    switch (command) {
        case kWriteOutputPort:
            return write_output_port(value);
        case kWriteKeyboardBuffer:
            return reply({value, false, false});
        case kWriteAuxiliaryBuffer:
            return reply({value, true, false});
        case kWriteAuxiliary:
            // Nothing is plugged in: the controller waits in vain and says so.
            command_byte() &= static_cast<uint8_t>(~kAuxiliaryDisabled);
            return reply({kNoAnswer, true, true});
    }
    state_.ram[(command - kWriteRam) % kRamSize] = value;
}

uint8_t I8042::output_port() const {
    uint8_t value = state_.output_port;
    if (state_.output_full) {
        value |= state_.output.auxiliary ? kOutputAuxiliaryFull : kOutputKeyboardFull;
    }
    return value;
}

uint8_t I8042::test_inputs() const {
    const uint8_t disabled = state_.ram[0];
    return static_cast<uint8_t>(((disabled & kKeyboardDisabled) == 0 ? kTestKeyboardClock : 0) |
                                ((disabled & kAuxiliaryDisabled) == 0 ? kTestAuxiliaryClock : 0));
}

void I8042::set_a20(bool enabled) {
    const bool was_enabled = (state_.output_port & kOutputA20) != 0;
    state_.output_port =
        static_cast<uint8_t>((state_.output_port & ~kOutputA20) | (enabled ? kOutputA20 : 0));
    if (enabled != was_enabled && outputs_.a20_changed) {
        outputs_.a20_changed(enabled);
    }
}

void I8042::write_output_port(uint8_t value) {
    set_a20((value & kOutputA20) != 0);
    // The reset line is never seen low: pulling it resets the machine.
    state_.output_port = static_cast<uint8_t>(
        (value & ~(kOutputKeyboardFull | kOutputAuxiliaryFull)) | kOutputNoReset);
    if ((value & kOutputNoReset) == 0 && outputs_.reset_requested) {
        outputs_.reset_requested();
    }
}

void I8042::update() {
    const auto drive = [this] {
        const uint8_t control = command_byte();
        // An answer of the controller while the keyboard is disabled is polled for, as in QEMU.
        const bool keyboard = state_.output_full && !state_.output.auxiliary &&
                              (control & kKeyboardInterrupt) != 0 &&
                              (control & kKeyboardDisabled) == 0;
        const bool auxiliary =
            state_.output_full && state_.output.auxiliary && (control & kAuxiliaryInterrupt) != 0;
        if (std::exchange(keyboard_irq_level_, keyboard) != keyboard) {
            keyboard_irq_.set(keyboard);
        }
        if (std::exchange(auxiliary_irq_level_, auxiliary) != auxiliary) {
            auxiliary_irq_.set(auxiliary);
        }
    };
    drive();
    while (!state_.output_full) {
        if (!state_.replies.empty()) {
            state_.output = state_.replies.pop();
            state_.output_full = true;
        } else if ((command_byte() & kKeyboardDisabled) == 0 && keyboard_.has_output()) {
            const uint8_t byte = keyboard_.take_output();
            const bool translate = (command_byte() & kTranslate) != 0;
            const auto code = translate ? state_.translator.translate(byte) : byte;
            if (code) {
                state_.output = {*code, false, false};
                state_.output_full = true;
            }
        } else {
            return;
        }
    }
    drive();
}

}  // namespace halcyon
