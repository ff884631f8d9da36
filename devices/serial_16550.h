/// Serial16550A: a PC's serial port, the 16550A UART (National Semiconductor PC16550D data sheet).
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "devices/char_backend.h"
#include "devices/device.h"
#include "devices/fixed_fifo.h"
#include "devices/serial_16550_registers.h"

namespace halcyon {

/// One block of 8 ports. Bytes travel whole and at once: the transmitter is as fast as the back end
/// takes them, and the programmed word length and baud rate only shape the receiver's time-out. The
/// far end is a null modem that is always ready (CTS, DSR and DCD asserted), so that a client that
/// goes away does not hang up on the guest's terminal.
///
/// Ports from any thread; construction, destruction and the back end's calls on the main thread.
/// `backend`, `irq` and `clock` outlive the device.
class Serial16550A final : public IoHandler, public Resettable, private CharFrontend {
public:
    /// Connects itself to `backend`.
    Serial16550A(std::string name, CharBackend& backend, IrqLine& irq, GuestClock& clock);
    ~Serial16550A() override;
    Serial16550A(const Serial16550A&) = delete;
    Serial16550A& operator=(const Serial16550A&) = delete;

    [[nodiscard]] std::string_view name() const override { return name_; }
    void read(uint64_t offset, std::span<std::byte> data) override;
    void write(uint64_t offset, std::span<const std::byte> data) override;
    void reset() override;

private:
    /// A received byte with the errors that belong to it (LSR bits PE, FE and BI).
    struct Received {
        uint8_t byte = 0;
        uint8_t errors = 0;
    };

    size_t can_receive() override;
    void receive(std::span<const std::byte> data) override;
    void on_break() override;
    void on_writable() override;

    // All below with the lock held.
    [[nodiscard]] uint8_t read_register(uint64_t offset);
    [[nodiscard]] uint8_t read_data();
    [[nodiscard]] uint8_t read_interrupt_id();
    [[nodiscard]] uint8_t read_line_status();
    void write_register(uint64_t offset, uint8_t value);
    void write_data(uint8_t value);
    void write_interrupt_enable(uint8_t value);
    void write_fifo_control(uint8_t value);
    void write_modem_control(uint8_t value);

    [[nodiscard]] bool fifo_enabled() const;
    [[nodiscard]] bool loopback() const;
    [[nodiscard]] bool divisor_latch_access() const;
    [[nodiscard]] size_t receive_trigger() const;
    [[nodiscard]] size_t receive_room() const;
    [[nodiscard]] size_t external_room() const;
    [[nodiscard]] GuestTime character_time() const;
    [[nodiscard]] uint8_t interrupt_id() const;

    void receive_character(Received character);
    void reveal_errors();
    void restart_timeout();
    void ask_for_input();
    void clear_receiver();
    void clear_transmitter();
    void transmit();
    void update_modem_status();
    void update_interrupt();
    void on_timeout();

    // Runtime glue.
    const std::string name_;
    CharBackend& backend_;
    IrqLine& irq_;
    GuestClock& clock_;
    std::unique_ptr<GuestTimer> timeout_timer_;

    // Bookkeeping. The mutex guards everything below.
    std::mutex mutex_;
    bool irq_level_ = false;
    /// The back end was told that there is no room.
    bool input_refused_ = false;

    struct State {
        uint16_t divisor = serial_16550::kDefaultDivisor;
        uint8_t interrupt_enable = 0;
        uint8_t fifo_control = 0;
        uint8_t line_control = 0;
        uint8_t modem_control = 0;
        /// OE, PE, FE and BI as the guest sees them until it reads the LSR.
        uint8_t line_errors = 0;
        uint8_t modem_status = 0;
        uint8_t scratch = 0;
        /// The RBR: the last byte read, which an empty receiver goes on showing.
        uint8_t receive_buffer = 0;
        /// The THR-empty interrupt was raised and neither seen in the IIR nor answered.
        bool transmit_interrupt = false;
        /// The receiver's time-out interrupt is raised.
        bool timeout_interrupt = false;
        /// The receiver's buffer (one place without FIFOs).
        FixedFifo<Received, serial_16550::kFifoDepth> received;
        /// What the back end has not taken yet (one place without FIFOs).
        FixedFifo<uint8_t, serial_16550::kFifoDepth> transmitting;
        /// When the bytes in `received` have waited for four character times.
        std::optional<GuestTime> timeout_at;
    };
    State state_;
};

}  // namespace halcyon
