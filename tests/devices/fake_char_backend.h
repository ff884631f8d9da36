/// FakeCharBackend: the far end of a serial line, in a test's hands.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include "devices/char_backend.h"

namespace halcyon {

/// Collects output, as much as `set_room` allows, and delivers input as a real back end does.
class FakeCharBackend final : public CharBackend {
public:
    [[nodiscard]] size_t write(std::span<const std::byte> data) override {
        std::lock_guard lock(mutex_);
        const size_t taken = std::min(room_, data.size());
        room_ -= room_ == kUnlimited ? 0 : taken;
        output_.append(reinterpret_cast<const char*>(data.data()), taken);
        return taken;
    }
    void input_wanted() override {
        std::lock_guard lock(mutex_);
        ++wanted_;
    }
    void connect(CharFrontend* frontend) override {
        frontend_ = frontend;
        if (frontend_ != nullptr) {
            frontend_->on_open();
        }
    }

    static constexpr size_t kUnlimited = std::numeric_limits<size_t>::max();

    /// Takes `room` more bytes from now on, and says so.
    void set_room(size_t room) {
        {
            std::lock_guard lock(mutex_);
            room_ = room;
        }
        if (room != 0) {
            frontend_->on_writable();
        }
    }
    /// Sends as much of `text` as the device takes; returns how much that was.
    size_t send(std::string_view text) {
        const auto data = std::as_bytes(std::span(text.data(), text.size()));
        const size_t length = std::min(frontend_->can_receive(), data.size());
        if (length != 0) {
            frontend_->receive(data.first(length));
        }
        return length;
    }
    /// Sends all of `text`, whether the device has room or not.
    void force(std::string_view text) {
        frontend_->receive(std::as_bytes(std::span(text.data(), text.size())));
    }
    void send_break() { frontend_->on_break(); }

    [[nodiscard]] bool connected() const { return frontend_ != nullptr; }
    [[nodiscard]] size_t device_room() { return frontend_->can_receive(); }
    [[nodiscard]] std::string output() const {
        std::lock_guard lock(mutex_);
        return output_;
    }
    [[nodiscard]] int wanted() const {
        std::lock_guard lock(mutex_);
        return wanted_;
    }

private:
    mutable std::mutex mutex_;
    CharFrontend* frontend_ = nullptr;
    std::string output_;
    size_t room_ = kUnlimited;
    int wanted_ = 0;
};

}  // namespace halcyon
