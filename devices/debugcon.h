/// Debugcon: the one-port console that firmware logs to (QEMU's isa-debugcon).
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "devices/char_backend.h"
#include "devices/device.h"

namespace halcyon {

/// One port without state: what is written goes to the back end, reading says that somebody
/// listens. There is no way to tell the guest to wait, so bytes that the back end refuses are lost,
/// and counted.
///
/// The port from any thread; construction and destruction on the main thread. `backend` outlives
/// the device.
class Debugcon final : public IoHandler, private CharFrontend {
public:
    /// Connects itself to `backend`.
    explicit Debugcon(CharBackend& backend);
    ~Debugcon() override;
    Debugcon(const Debugcon&) = delete;
    Debugcon& operator=(const Debugcon&) = delete;

    [[nodiscard]] std::string_view name() const override { return "debugcon"; }
    void read(uint64_t offset, std::span<std::byte> data) override;
    void write(uint64_t offset, std::span<const std::byte> data) override;

    /// Bytes lost so far. From any thread.
    [[nodiscard]] uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

private:
    CharBackend& backend_;
    std::atomic<uint64_t> dropped_ = 0;
};

}  // namespace halcyon
