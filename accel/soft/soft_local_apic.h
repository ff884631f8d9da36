/// SoftLocalApic: the local APIC of one soft vCPU (Intel SDM 3A chapter 11, xAPIC mode).
#pragma once

#include <array>
#include <cstdint>
#include <optional>

namespace halcyon {

/// An interrupt on its way between local APICs, or from a device (SDM 3A 11.6, 11.11).
struct ApicMessage {
    /// The delivery modes of the ICR, the LVT and of MSI data.
    enum Mode : uint8_t {
        kFixed = 0,
        kLowestPriority = 1,
        kSmi = 2,
        kNmi = 4,
        kInit = 5,
        kStartUp = 6,
        kExtInt = 7,
    };
    uint8_t mode = kFixed;
    uint8_t vector = 0;
    bool level_triggered = false;
    bool logical = false;
    uint8_t destination = 0;
};

/// What a write to the ICR sends.
struct ApicCommand {
    enum class Shorthand : uint8_t { kNone, kSelf, kAll, kOthers };
    ApicMessage message;
    Shorthand shorthand = Shorthand::kNone;
};

/// Registers, interrupt requests and the timer. Time is the partition's, in nanoseconds. Not
/// thread safe: guarded by the execution token's mutex.
class SoftLocalApic {
public:
    static constexpr uint32_t kDefaultBase = 0xfee00000;
    static constexpr uint32_t kBootProcessor = 1U << 8;
    static constexpr uint32_t kGlobalEnable = 1U << 11;

    /// What a register write asks others to do.
    struct Effects {
        std::optional<ApicCommand> command;
        /// A level-triggered interrupt of this vector has ended.
        std::optional<uint8_t> end_of_interrupt;
    };

    /// `id` 0 is the boot processor.
    explicit SoftLocalApic(uint8_t id) : initial_id_(id) { reset(); }

    /// After power-on.
    void reset();
    /// After INIT: keeps the APIC id and the APIC_BASE register.
    void init();

    /// The APIC_BASE model specific register. False for a value it does not take.
    [[nodiscard]] uint64_t base() const { return base_; }
    bool set_base(uint64_t value);
    [[nodiscard]] bool enabled() const { return (base_ & kGlobalEnable) != 0; }
    /// Whether `address` is one of its registers now.
    [[nodiscard]] bool claims(uint32_t address) const {
        return enabled() && ((address ^ static_cast<uint32_t>(base_)) >> 12) == 0;
    }

    /// `offset` is within the page. Only aligned 32-bit writes count; smaller reads get their part.
    [[nodiscard]] uint32_t read(uint32_t offset, unsigned size, int64_t now) const;
    Effects write(uint32_t offset, unsigned size, uint32_t value, int64_t now);

    /// Whether a message is for this APIC (SDM 3A 11.6.2).
    [[nodiscard]] bool matches(const ApicMessage& message) const;
    /// A fixed interrupt arrives. False when it is not accepted.
    bool accept(uint8_t vector, bool level_triggered);
    /// The 8259's INTR, wired to LINT0.
    void set_lint0(bool level);
    /// Whether LINT0 hands an 8259 interrupt to the processor now.
    [[nodiscard]] bool ext_int_pending() const;
    /// A local interrupt of mode NMI has happened since the last call.
    [[nodiscard]] bool take_nmi();

    /// Fires the timer when its time has come.
    void poll_timer(int64_t now);
    /// When `poll_timer` has something to do next.
    [[nodiscard]] std::optional<int64_t> timer_deadline() const;

    /// Whether an interrupt is above the processor priority; and taking it (IRR to ISR).
    [[nodiscard]] bool interrupt_pending() const { return highest_deliverable() >= 0; }
    std::optional<uint8_t> acknowledge();
    /// For lowest-priority arbitration.
    [[nodiscard]] uint8_t processor_priority() const;

private:
    using Bits = std::array<uint32_t, 8>;
    enum Lvt : unsigned { kTimer, kThermal, kPerformance, kLint0, kLint1, kError, kLvtCount };

    [[nodiscard]] bool software_enabled() const { return (spurious_ & (1U << 8)) != 0; }
    [[nodiscard]] int highest_deliverable() const;
    [[nodiscard]] uint32_t read_register(uint32_t index, int64_t now) const;
    [[nodiscard]] ApicCommand command() const;
    void write_spurious(uint32_t value);
    void write_lvt(unsigned entry, uint32_t value, int64_t now);
    void start_timer(int64_t now);
    void deliver_local(unsigned entry);
    void note_error(uint32_t bit);
    std::optional<uint8_t> end_interrupt();
    [[nodiscard]] int64_t timer_period() const;
    [[nodiscard]] uint32_t timer_divider() const;
    [[nodiscard]] uint32_t timer_count(int64_t now) const;

    const uint8_t initial_id_;
    uint64_t base_ = 0;
    uint8_t id_ = 0;
    uint8_t task_priority_ = 0;
    uint32_t logical_destination_ = 0;
    uint32_t destination_format_ = 0;
    uint32_t spurious_ = 0;
    uint32_t error_status_ = 0;
    uint32_t errors_since_ = 0;
    uint32_t command_low_ = 0;
    uint32_t command_high_ = 0;
    std::array<uint32_t, kLvtCount> lvt_{};
    uint32_t initial_count_ = 0;
    uint32_t divide_ = 0;
    int64_t timer_start_ = 0;
    bool timer_running_ = false;
    bool lint0_ = false;
    bool nmi_ = false;
    Bits requested_{};
    Bits in_service_{};
    Bits level_{};
};

}  // namespace halcyon
