/// SystemControlPortA: the fast A20 and reset switches (IBM PS/2 Hardware Interface Technical
/// Reference, "System Control Port A"; port 92h of a PC).
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string_view>

#include "devices/device.h"

namespace halcyon {

/// One port. From any thread.
class SystemControlPortA final : public IoHandler, public Resettable {
public:
    /// Called with the device's lock held. Either may be empty.
    struct Outputs {
        /// The fast A20 switch changed; it is off at power-on.
        std::function<void(bool enabled)> a20_changed;
        std::function<void()> reset_requested;
    };
    explicit SystemControlPortA(Outputs outputs);

    [[nodiscard]] std::string_view name() const override { return "system-control-port-a"; }
    void read(uint64_t offset, std::span<std::byte> data) override;
    void write(uint64_t offset, std::span<const std::byte> data) override;
    void reset() override;

private:
    void store(uint8_t value);

    const Outputs outputs_;
    // The mutex guards everything below.
    std::mutex mutex_;
    struct State {
        uint8_t value = 0;
    };
    State state_;
};

}  // namespace halcyon
