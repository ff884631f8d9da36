/// PostCode: the latch that firmware writes its progress to, and drivers write to wait a moment.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "devices/device.h"

namespace halcyon {

/// One byte that reads back what was last written (a PC/AT's unused DMA page register behind the
/// manufacturing test port). From any thread.
class PostCode final : public IoHandler, public Resettable {
public:
    [[nodiscard]] std::string_view name() const override { return "post-code"; }
    void read(uint64_t offset, std::span<std::byte> data) override;
    void write(uint64_t offset, std::span<const std::byte> data) override;
    void reset() override;

    /// The last code written; 0 before any.
    [[nodiscard]] uint8_t last() const { return state_.code.load(std::memory_order_relaxed); }

private:
    struct State {
        std::atomic<uint8_t> code = 0;
    };
    State state_;
};

}  // namespace halcyon
