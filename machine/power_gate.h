/// PowerGate: how a device asks for a reset or a power-off of the whole machine.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

namespace halcyon {

enum class PowerRequest : uint8_t { kNone, kReset, kShutdown };

/// Takes the guest's request (through a keyboard controller, a reset register, the ACPI block) and
/// passes it to the main thread. The vCPU that asked executes nothing after the instruction that
/// did: VcpuThread::Io sees `pending`. The first request counts; others before the main thread has
/// dealt with it are the same wish.
class PowerGate {
public:
    /// `notify` is called on the asking thread, with device locks held: it posts and returns.
    explicit PowerGate(std::function<void(PowerRequest)> notify) : notify_(std::move(notify)) {}

    /// From any thread.
    void request(PowerRequest request) {
        auto none = PowerRequest::kNone;
        if (request_.compare_exchange_strong(none, request)) {
            notify_(request);
        }
    }
    /// What waits for the main thread; kNone when nothing does. From any thread.
    [[nodiscard]] PowerRequest wanted() const { return request_.load(std::memory_order_relaxed); }
    [[nodiscard]] bool pending() const { return wanted() != PowerRequest::kNone; }
    /// Dealt with. Main thread, while no vCPU runs.
    void clear() { request_.store(PowerRequest::kNone); }

private:
    std::function<void(PowerRequest)> notify_;
    std::atomic<PowerRequest> request_{PowerRequest::kNone};
};

}  // namespace halcyon
