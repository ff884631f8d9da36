/// VcpuCounters: what a vCPU's thread has been doing, for statistics.
#pragma once

#include <atomic>
#include <cstdint>

namespace halcyon {

/// A counter that one thread increments and any thread reads: no atomic read-modify-write, so an
/// increment costs what it costs in a plain integer.
class OwnedCounter {
public:
    /// Owner only.
    void increment() {
        value_.store(value_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
    /// Any thread; the value of a moment ago.
    [[nodiscard]] uint64_t value() const { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<uint64_t> value_{0};
};

/// Counts since the vCPU was created. Incremented by the vCPU's thread, readable from any.
struct VcpuCounters {
    OwnedCounter entries;          ///< calls of the entry stub
    OwnedCounter aborted_entries;  ///< of those, refused because of a kick
    OwnedCounter interrupted;      ///< entries that a signal ended
    OwnedCounter pio_exits;        ///< exits for a port access; a string access may be several
    OwnedCounter mmio_exits;       ///< exits for a memory access
    OwnedCounter halt_exits;       ///< exits for HLT
    OwnedCounter interrupt_exits;  ///< interrupt window open, end of interrupt
    OwnedCounter other_exits;
};

}  // namespace halcyon
