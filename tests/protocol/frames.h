/// What a reader makes of bytes, as text that can be compared.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/framer.h"

namespace halcyon {

/// Takes every frame that is complete: a value as on the wire, an error as "! TEXT".
inline void drain(Framer& framer, std::vector<std::string>& frames) {
    while (std::optional<Frame> frame = framer.next()) {
        frames.push_back(frame->is_error() ? "! " + frame->error() : to_wire(frame->value()));
    }
}

/// The frames of `bytes`, fed in pieces of `piece` bytes.
inline std::vector<std::string> frames_of(std::string_view bytes, size_t piece) {
    Framer framer;
    std::vector<std::string> frames;
    for (size_t start = 0; start < bytes.size(); start += piece) {
        framer.feed(bytes.substr(start, piece));
        drain(framer, frames);
    }
    return frames;
}

/// The frames of `bytes` in one piece.
inline std::vector<std::string> frames_of(std::string_view bytes) {
    return frames_of(bytes, bytes.size() + 1);
}

/// A parse error as `frames_of` shows it.
inline std::string parse_error(const std::string& text) {
    return "! JSON parse error, " + text;
}

}  // namespace halcyon
