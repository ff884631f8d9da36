/// Framer: bytes of a client in, JSON values out.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "protocol/json.h"
#include "protocol/json_reader.h"

namespace halcyon {

/// Holds the bytes that a client has sent and has not been answered for, and takes one value at a
/// time out of them. Values need no delimiter; an incomplete one waits for the rest.
///
/// It reads lazily: `feed` only stores, so a caller that stops calling `next` (because a command is
/// running) leaves what follows unread, and needs no second buffer. Its memory is what was fed and
/// not read, plus one message within JsonReader's limits.
///
/// Main thread only. Nothing fails: a malformed message is a Frame with an error text.
class Framer {
public:
    /// Adds bytes in the order of arrival; any split of the stream gives the same frames.
    void feed(std::string_view bytes);

    /// The next complete value or error, or nothing until more bytes are fed.
    [[nodiscard]] std::optional<Frame> next();

    /// How many bytes were fed and not read yet.
    [[nodiscard]] size_t unread() const { return buffer_.size() - position_; }

    /// Forgets everything, the partial message included.
    void clear();

private:
    /// An emptied buffer of more than this is given back.
    static constexpr size_t kSpareBytes = 4096;

    JsonReader reader_;
    std::string buffer_;
    size_t position_ = 0;
};

}  // namespace halcyon
