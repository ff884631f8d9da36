/// SoftVcpu: one interpreted vCPU.
#pragma once

#include <memory>
#include <optional>

#include "accel/guest_io.h"
#include "accel/soft/execution_token.h"
#include "accel/soft/model_registers.h"
#include "accel/soft/soft_cpu.h"
#include "accel/soft/soft_local_apic.h"
#include "accel/vcpu.h"
#include "base/result.h"

namespace halcyon {

class SoftPartition;

/// A processor, its local APIC, and its place among the vCPUs of the partition: it waits for a
/// start-up IPI, for an interrupt after HLT, for its turn, or executes. Every wait ends at once
/// when the stop word is set and kicked. Setting registers ends a halt.
class SoftVcpu final : public Vcpu, private SoftCpuHost {
public:
    static Result<std::unique_ptr<SoftVcpu>> create(SoftPartition& partition, VcpuIndex index,
                                                    GuestIo& io);
    ~SoftVcpu() override;

    /// Nothing: a kick needs no signal.
    void attach_thread() override {}
    void detach_thread() override {}
    RunOutcome run() override;
    void set_stop() override;
    void kick() override;
    void clear_stop() override;
    [[nodiscard]] const VcpuCounters* counters() const override { return &counters_; }
    [[nodiscard]] std::optional<CpuidRegisters> cpuid(uint32_t leaf,
                                                      uint32_t subleaf) const override;
    Result<VcpuRegisters> registers() override;
    Result<void> set_registers(const VcpuRegisters& registers) override;
    Result<void> reset() override;

    // For the partition, with the token's mutex.
    [[nodiscard]] const SoftLocalApic& apic() const { return apic_; }
    /// An interrupt, NMI, INIT or start-up IPI addressed to this vCPU.
    void receive(const ApicMessage& message);
    void set_lint0(bool level);

private:
    using Lock = ExecutionToken::Lock;
    enum class State {
        kRunning,
        kHalted,         ///< HLT, until an interrupt
        kWaitForSipi,    ///< after INIT or power-on, until a start-up IPI
        kTripleFaulted,  ///< until a reset or new registers
    };

    SoftVcpu(SoftPartition& partition, VcpuIndex index, GuestIo& io);

    [[nodiscard]] RunOutcome run_until_stopped();
    // Around the work of devices.
    void leave_guest();
    void enter_guest();
    void take_init();
    void wait(Lock& lock);
    [[nodiscard]] bool wakes() const;
    std::optional<RunOutcome> run_slice(Lock& lock);
    std::optional<RunOutcome> leave_with(SoftCpu::Exit exit);
    bool answer_attention(Lock& lock);
    void inject(Lock& lock);
    [[nodiscard]] bool interrupt_waiting() const;
    void poll_timer();
    void apply(Lock& lock, const SoftLocalApic::Effects& effects);

    uint32_t pio_read(uint16_t port, unsigned size) override;
    void pio_write(uint16_t port, unsigned size, uint32_t value) override;
    uint32_t mmio_read(uint32_t address, unsigned size) override;
    void mmio_write(uint32_t address, unsigned size, uint32_t value) override;
    bool read_msr(uint32_t index, uint64_t* value) override;
    bool write_msr(uint32_t index, uint64_t value) override;
    uint64_t time_stamp() override;
    uint8_t apic_id() override { return static_cast<uint8_t>(index_.value()); }
    bool apic_visible() override;
    void spin_hint() override;

    SoftPartition& partition_;
    const VcpuIndex index_;
    GuestIo& io_;
    ExecutionSlot slot_;
    VcpuCounters counters_;
    ModelRegisters model_;
    /// The time-stamp counter is guest time in nanoseconds plus this.
    uint64_t time_stamp_offset_ = 0;
    std::unique_ptr<SoftCpu> cpu_;

    // Guarded by the token's mutex.
    SoftLocalApic apic_;
    State state_ = State::kRunning;
    bool init_wanted_ = false;
    bool nmi_wanted_ = false;
    std::optional<uint8_t> start_up_;
};

}  // namespace halcyon
