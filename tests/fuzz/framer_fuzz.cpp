// Framing and parsing: any split of a stream gives the same frames, and what was read can be
// written and read again.

#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "protocol/framer.h"
#include "tests/fuzz/check.h"

namespace halcyon {
namespace {

std::vector<Frame> frames_of(std::string_view bytes, size_t piece) {
    Framer framer;
    std::vector<Frame> frames;
    for (size_t at = 0; at < bytes.size(); at += piece) {
        framer.feed(bytes.substr(at, piece));
        while (std::optional<Frame> frame = framer.next()) {
            frames.push_back(*std::move(frame));
        }
    }
    return frames;
}

bool same(const Frame& left, const Frame& right) {
    return left.content == right.content;
}

void check_round_trip(const Json& value) {
    for (const std::string& text : {to_wire(value), to_wire_pretty(value)}) {
        const std::vector<Frame> again = frames_of(text + "\n", text.size() + 1);
        fuzz::check(again.size() == 1 && !again[0].is_error(), "what was written is read");
        fuzz::check(to_wire(std::get<Json>(again[0].content)) == to_wire(value),
                    "what was read is what was written");
    }
}

}  // namespace
}  // namespace halcyon

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace halcyon;
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const std::vector<Frame> whole = frames_of(bytes, size == 0 ? 1 : size);
    for (const size_t piece : {size_t{1}, size_t{7}}) {
        const std::vector<Frame> split = frames_of(bytes, piece);
        fuzz::check(split.size() == whole.size(), "as many frames, however the stream is split");
        for (size_t index = 0; index < whole.size(); ++index) {
            fuzz::check(same(split[index], whole[index]), "the same frames");
        }
    }
    for (const Frame& frame : whole) {
        // A top-level scalar is an error to the session, and so never written.
        const Json* value = std::get_if<Json>(&frame.content);
        if (value != nullptr && value->is_structured()) {
            check_round_trip(*value);
        }
    }
    return 0;
}
