/// FixedFifo: the queue inside a chip: a fixed number of places, no allocation.
#pragma once

#include <array>
#include <cstddef>

namespace halcyon {

/// First in, first out, at most `Capacity` elements. Not locked.
template <typename T, size_t Capacity>
class FixedFifo {
public:
    [[nodiscard]] size_t size() const { return size_; }
    [[nodiscard]] bool empty() const { return size_ == 0; }
    [[nodiscard]] bool full() const { return size_ == Capacity; }

    /// False, and nothing stored, when it is full.
    bool push(const T& value) {
        if (full()) {
            return false;
        }
        slots_[(first_ + size_) % Capacity] = value;
        ++size_;
        return true;
    }
    /// The oldest element; only when not empty.
    [[nodiscard]] T& front() { return slots_[first_]; }
    [[nodiscard]] const T& front() const { return slots_[first_]; }
    /// The newest element; only when not empty.
    [[nodiscard]] T& back() { return slots_[(first_ + size_ - 1) % Capacity]; }
    /// Removes and returns the oldest element; only when not empty.
    T pop() {
        const T value = front();
        first_ = (first_ + 1) % Capacity;
        --size_;
        return value;
    }
    void clear() {
        first_ = 0;
        size_ = 0;
    }

private:
    std::array<T, Capacity> slots_{};
    size_t first_ = 0;
    size_t size_ = 0;
};

}  // namespace halcyon
