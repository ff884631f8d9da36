/// VcpuCounters: what a vCPU's thread has been doing, for statistics.
#pragma once

#include <atomic>
#include <cstdint>

#include <x86intrin.h>

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

/// The time that one thread spends inside something, in ticks of the time-stamp counter: two reads
/// of that are what it costs. Any thread reads it, also in between.
class OwnedStopwatch {
public:
    /// Owner only; each `leave` follows an `enter`.
    void enter() { word_.store((total() - ::__rdtsc()) << 1 | kInside, std::memory_order_relaxed); }
    void leave() { word_.store((total() + ::__rdtsc()) << 1, std::memory_order_relaxed); }

    /// Any thread: all that was spent inside so far, the present stay included.
    [[nodiscard]] uint64_t ticks() const {
        const uint64_t word = word_.load(std::memory_order_relaxed);
        if ((word & kInside) == 0) {
            return word >> 1;
        }
        const uint64_t sum = (word >> 1) + ::__rdtsc();
        // The counters of two processors may be a little apart, at the very first entry.
        return (sum & kHalfOfAll) != 0 ? 0 : sum & (kHalfOfAll - 1);
    }

private:
    static constexpr uint64_t kInside = 1;
    static constexpr uint64_t kHalfOfAll = uint64_t{1} << 62;

    [[nodiscard]] uint64_t total() const { return word_.load(std::memory_order_relaxed) >> 1; }

    /// Bit 0: inside. The rest, modulo 2^63: the total outside; inside, that less the counter as it
    /// was at the entry.
    std::atomic<uint64_t> word_{0};
};

/// Counts since the vCPU was created. Incremented by the vCPU's thread, readable from any.
struct VcpuCounters {
    OwnedCounter entries;          ///< calls of the entry stub; ways into the guest without one
    OwnedCounter aborted_entries;  ///< of those, refused because of a kick
    OwnedCounter interrupted;      ///< entries that a signal ended
    OwnedCounter pio_exits;        ///< exits for a port access; a string access may be several
    OwnedCounter mmio_exits;       ///< exits for a memory access
    OwnedCounter halt_exits;       ///< exits for HLT
    OwnedCounter interrupt_exits;  ///< interrupt window open, end of interrupt
    OwnedCounter other_exits;
    /// Inside `run`, but for the work of devices: from each entry to the exit. Waiting for an
    /// interrupt or a processor in the hypervisor is part of it.
    OwnedStopwatch guest_time;
};

}  // namespace halcyon
