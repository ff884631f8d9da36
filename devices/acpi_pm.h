/// AcpiPm: ACPI's fixed hardware as the PIIX4 has it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>

#include "devices/acpi_pm_registers.h"
#include "devices/byte_ports.h"
#include "devices/device.h"

namespace halcyon {

/// The values of SLP_TYP that turn the machine off: those of \_S5 and, when it has one, \_S4 in the
/// DSDT. QEMU's PIIX4 has these.
struct AcpiSleepTypes {
    uint8_t s5 = 0;
    std::optional<uint8_t> s4 = 2;
};

/// The PM1 event and control registers, the PM timer, GPE0 and the APM ports of a PIIX4 as QEMU
/// places them. Handlers from any thread; built and destroyed on the main thread, where its timer
/// fires. SCI is a level: high while an enabled event stands and SCI_EN is set. With SCI_EN clear
/// the PIIX4 would raise SMI#; there is no system management mode here, so events wait.
///
/// Sleep: SLP_EN with the type of S5 (or of S4, when given) calls `power_off`. Every other type
/// (S1 to S3) is not supported and wakes at once: WAK_STS is set and the processor goes on, which
/// guests take for a sleep that ended early.
///
/// Registers of the block that manage devices and clocks a virtual machine does not have
/// (GPSTS to GPOREG) are kept as the data sheet says they are written, and do nothing. Reading
/// P_LVL2 or P_LVL3 gives 0 and does not stop the processor. BM_STS and RTC_STS are never set.
class AcpiPm final : public Resettable {
public:
    /// `sci` (IRQ 9) and `clock` must outlive this. `power_off` is called on a vCPU thread with no
    /// lock of this device held.
    AcpiPm(GuestClock& clock, IrqLine& sci, std::function<void()> power_off,
           AcpiSleepTypes sleep_types = {});
    AcpiPm(const AcpiPm&) = delete;
    AcpiPm& operator=(const AcpiPm&) = delete;

    /// 64 bytes at PMBA.
    [[nodiscard]] IoHandler& pm_block() { return block_; }
    /// 4 bytes of status and enable bits, at AFE0h in QEMU.
    [[nodiscard]] IoHandler& gpe0_block() { return gpe0_ports_; }
    /// B2h and B3h. F1h and F0h to the first set and clear SCI_EN; both ports read back.
    [[nodiscard]] IoHandler& smi_ports() { return smi_ports_; }

    /// Presses and releases the power button. Returns whether the guest will hear of it now: ACPI
    /// is on and the button enabled. The status bit is set in any case. From any thread.
    bool press_power_button();

    /// Sets status bit `event` of GPE0 (0 to 15; others are ignored). From any thread.
    void raise_gpe(unsigned event);

    /// All registers at their reset values; the PM timer counts on.
    void reset() override;

private:
    class Block final : public IoHandler {
    public:
        explicit Block(AcpiPm& pm) : pm_(pm) {}
        [[nodiscard]] std::string_view name() const override { return "acpi-pm"; }
        void read(uint64_t offset, std::span<std::byte> data) override;
        void write(uint64_t offset, std::span<const std::byte> data) override;

    private:
        AcpiPm& pm_;
    };

    uint8_t read_gpe(uint64_t offset);
    void write_gpe(uint64_t offset, uint8_t value);
    uint8_t read_apm(uint64_t offset);
    void write_apm(uint64_t offset, uint8_t value);
    void on_timer();

    void reset_locked();
    [[nodiscard]] uint16_t word_locked(unsigned offset) const;
    void set_bits_locked(unsigned offset, uint16_t bits);
    void write_block_locked(uint64_t offset, std::span<const std::byte> data);
    [[nodiscard]] bool sleep_locked();
    void catch_up_locked();
    void settle_locked();

    GuestClock& clock_;
    IrqLine& sci_;
    const std::function<void()> power_off_;
    const AcpiSleepTypes sleep_types_;

    Block block_{*this};
    BytePorts gpe0_ports_;
    BytePorts smi_ports_;
    std::unique_ptr<GuestTimer> timer_;

    /// Guards everything below.
    std::mutex mutex_;
    uint64_t timer_halves_ = 0;  ///< changes of the timer's bit 23 that were looked at

    struct State {
        std::array<uint8_t, acpi_pm::kBlockSize> block{};  ///< without the PM timer
        std::array<uint8_t, acpi_pm::kGpeBlockSize> gpe{};
        std::array<uint8_t, 2> apm{};
    } state_;
};

}  // namespace halcyon
