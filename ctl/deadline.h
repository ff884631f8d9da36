/// Deadline: until when to wait.
#pragma once

#include <algorithm>
#include <chrono>
#include <limits>
#include <optional>

namespace halcyon {

/// A moment of the monotonic clock, or never. A value; any thread.
class Deadline {
public:
    [[nodiscard]] static Deadline never() { return Deadline(); }
    [[nodiscard]] static Deadline after(std::chrono::milliseconds time) {
        Deadline deadline;
        deadline.at_ = Clock::now() + time;
        return deadline;
    }

    [[nodiscard]] bool is_never() const { return !at_.has_value(); }
    [[nodiscard]] bool passed() const { return at_ && Clock::now() >= *at_; }

    /// The time left as poll(2) takes it: -1 for ever, rounded up, so that a wait ends after the
    /// deadline and not just before.
    [[nodiscard]] int poll_timeout() const {
        if (!at_) {
            return -1;
        }
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(*at_ - Clock::now()).count();
        return static_cast<int>(std::clamp<int64_t>(left, 0, std::numeric_limits<int>::max()));
    }

    /// Whichever comes first.
    [[nodiscard]] Deadline earlier(const Deadline& other) const {
        if (!at_ || (other.at_ && *other.at_ < *at_)) {
            return other;
        }
        return *this;
    }

private:
    using Clock = std::chrono::steady_clock;

    std::optional<Clock::time_point> at_;
};

}  // namespace halcyon
