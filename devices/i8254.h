/// I8254: the interval timer of a PC, with port 61h.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "devices/byte_ports.h"
#include "devices/device.h"
#include "devices/i8254_counter.h"
#include "devices/i8254_registers.h"

namespace halcyon {

/// The 8254 at 1,193,182 Hz of the guest's clock. Counts and outputs are computed from the clock at
/// each access. Handlers from any thread; built and destroyed on the main thread, where its timer
/// fires.
///
/// Counter 0 drives IRQ 0. All rises of OUT reach the line; when several were missed because the
/// main thread was late they become one, and the later ones keep their phase. A fall of a periodic
/// OUT is put on the line only just before the next rise: IRQ 0 cannot be made level triggered, so
/// only rises matter, and a fall on time would take back a request that a late vCPU has yet to see.
/// Falls that the guest causes by a write are put on the line at once.
class I8254 final : public Resettable {
public:
    /// `irq` is IRQ 0 and must outlive this, as must `clock`.
    I8254(GuestClock& clock, IrqLine& irq);
    I8254(const I8254&) = delete;
    I8254& operator=(const I8254&) = delete;

    /// 40h to 43h. The control word is write only: it reads as FFh, an undriven bus.
    [[nodiscard]] IoHandler& counters() { return counter_ports_; }
    /// 61h: gate of counter 2 (bit 0), speaker (bit 1), NMI enables (bits 2, 3, stored only), the
    /// refresh toggle (bit 4) and OUT of counter 2 (bit 5).
    [[nodiscard]] IoHandler& system_control() { return system_port_; }

    void reset() override;

private:
    uint8_t read_counter(uint64_t offset);
    void write_counter(uint64_t offset, uint8_t value);
    uint8_t read_system();
    void write_system(uint8_t value);
    void on_timer();
    void advance_locked();
    void write_control_locked(uint8_t value);
    void read_back_locked(uint8_t value);
    void announce_rise_locked();
    void arm_locked();

    GuestClock& clock_;
    IrqLine& irq_;

    BytePorts counter_ports_;
    BytePorts system_port_;
    std::unique_ptr<GuestTimer> timer_;

    /// Guards everything below.
    std::mutex mutex_;
    /// The clock of counter 0's next rise, for which the timer is armed.
    std::optional<uint64_t> next_rise_;

    std::array<I8254Counter, i8254::kCounters> counters_;
    struct State {
        uint8_t port61 = 0;
    } state_;
};

}  // namespace halcyon
