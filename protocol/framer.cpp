#include "protocol/framer.h"

namespace halcyon {

void Framer::feed(std::string_view bytes) {
    // What was read is dropped only when it is at least half, so that every byte moves O(1) times.
    if (position_ >= buffer_.size() - position_) {
        buffer_.erase(0, position_);
        position_ = 0;
    }
    buffer_.append(bytes);
}

std::optional<Frame> Framer::next() {
    std::string_view rest = std::string_view(buffer_).substr(position_);
    std::optional<Frame> frame = reader_.read(rest);
    position_ = buffer_.size() - rest.size();
    if (rest.empty()) {
        buffer_.clear();
        position_ = 0;
        if (buffer_.capacity() > kSpareBytes) {
            buffer_.shrink_to_fit();
        }
    }
    return frame;
}

void Framer::clear() {
    reader_.reset();
    std::string().swap(buffer_);  // an assignment would keep the memory
    position_ = 0;
}

}  // namespace halcyon
