#include "devices/ps2_keyboard.h"

#include <utility>

#include "devices/scancodes.h"

namespace halcyon {

using namespace ps2_keyboard;

namespace {

/// Parameters are smaller than this; anything else is the next command.
constexpr uint8_t kParameterEnd = 0x80;
/// The keys that report their release in set 3 by default: Ctrl, Shift, Caps Lock, Alt, right
/// Shift.
constexpr uint8_t kSet3ReleaseDefault[] = {0x11, 0x12, 0x14, 0x19, 0x59};

}  // namespace

void Ps2Keyboard::write(uint8_t byte) {
    state_.replies.clear();  // an answer to an earlier command is void
    if (state_.pending_command == 0 || !parameter(byte)) {
        command(byte);
    }
}

bool Ps2Keyboard::has_output() const {
    return !state_.replies.empty() || !state_.keys.empty();
}

uint8_t Ps2Keyboard::take_output() {
    state_.last_sent = state_.replies.empty() ? state_.keys.pop() : state_.replies.pop();
    return state_.last_sent;
}

void Ps2Keyboard::reset() {
    state_ = State{};
    set_defaults();
}

void Ps2Keyboard::set_defaults() {
    state_.scancode_set = 2;
    state_.set3_release.reset();
    for (const uint8_t key : kSet3ReleaseDefault) {
        state_.set3_release.set(key);
    }
}

void Ps2Keyboard::command(uint8_t byte) {
    state_.pending_command = 0;
    switch (byte) {
        case kEcho:
            reply(kEcho);
            return;
        case kResend:
            reply(state_.last_sent);
            return;
        case kSetLeds:
        case kScancodeSet:
        case kSetRate:
            state_.pending_command = byte;
            break;
        case kIdentify:
            reply(kAcknowledge);
            reply(kId1);
            reply(kId2);
            return;
        case kEnable:
            state_.keys.clear();
            state_.scanning = true;
            break;
        case kDisable:
            state_.keys.clear();
            set_defaults();
            state_.scanning = false;
            break;
        case kSetDefaults:
            state_.keys.clear();
            set_defaults();
            break;
        case kAllTypematic:
        case kAllMake:
            state_.keys.clear();
            state_.set3_release.reset();
            break;
        case kAllMakeBreak:
        case kAllTypematicMakeBreak:
            state_.keys.clear();
            state_.set3_release.set();
            break;
        case kKeyTypematic:
        case kKeyMakeBreak:
        case kKeyMake:
            state_.keys.clear();
            state_.pending_command = byte;
            break;
        case kReset:
            reset();
            reply(kAcknowledge);
            reply(kSelfTestPassed);
            return;
        default:  // every other byte is no command
            reply(kRefuse);
            return;
    }
    reply(kAcknowledge);
}

bool Ps2Keyboard::parameter(uint8_t byte) {
    const uint8_t command = state_.pending_command;
    // A key of set 3 may be as high as 8Dh; commands begin at EDh.
    const bool names_key =
        command == kKeyTypematic || command == kKeyMakeBreak || command == kKeyMake;
    if (byte >= (names_key ? kSetLeds : kParameterEnd)) {
        return false;
    }
    if (names_key) {
        state_.set3_release.set(byte, command == kKeyMakeBreak);
        reply(kAcknowledge);
        return true;  // more keys may follow
    }
    state_.pending_command = 0;
    if (command == kScancodeSet) {
        select_scancode_set(byte);
        return true;
    }
    if (command == kSetLeds) {
        state_.leds = byte & 0x07;
    }
    // The typematic rate has no effect: repeated keys come from whoever presses them.
    reply(kAcknowledge);
    return true;
}

void Ps2Keyboard::select_scancode_set(uint8_t byte) {
    if (byte > 3) {
        reply(kRefuse);
        return;
    }
    reply(kAcknowledge);
    if (byte == 0) {
        reply(state_.scancode_set);
    } else {
        state_.keys.clear();
        state_.scancode_set = byte;
    }
}

void Ps2Keyboard::press(std::span<const uint8_t> set2) {
    if (state_.scanning) {
        queue(encode(set2));
    }
}

/// Whole or not at all: half a code would be another key.
void Ps2Keyboard::queue(std::span<const uint8_t> codes) {
    if (state_.keys.size() + codes.size() <= kBufferSize) {
        for (const uint8_t code : codes) {
            state_.keys.push(code);
        }
        return;
    }
    const uint8_t overrun = state_.scancode_set == 1 ? kOverrunSet1 : kOverrun;
    if (state_.keys.empty() || state_.keys.back() != overrun) {
        state_.keys.push(overrun);
    }
}

std::vector<uint8_t> Ps2Keyboard::encode(std::span<const uint8_t> set2) const {
    std::vector<uint8_t> codes(set2.begin(), set2.end());
    if (state_.scancode_set == 1) {
        ScancodeTranslator translator;
        codes.clear();
        for (const uint8_t byte : set2) {
            if (const auto code = translator.translate(byte)) {
                codes.push_back(*code);
            }
        }
    } else if (state_.scancode_set == 3) {
        const auto keys = set3_keys(std::exchange(codes, {}));
        for (const auto& [code, released] : keys) {
            if (released && !state_.set3_release.test(code)) {
                continue;
            }
            if (released) {
                codes.push_back(kBreakPrefix);
            }
            codes.push_back(code);
        }
    }
    return codes;
}

}  // namespace halcyon
