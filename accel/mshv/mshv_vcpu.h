/// MshvVcpu: one virtual processor ("VP") of an mshv partition.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "accel/guest_io.h"
#include "accel/mshv/instruction.h"
#include "accel/mshv/mshv_messages.h"
#include "accel/mshv/mshv_registers.h"
#include "accel/run_entry.h"
#include "accel/vcpu.h"
#include "base/mapping.h"
#include "base/unique_fd.h"

namespace halcyon {

class MshvPartition;

/// See Vcpu. MSHV_RUN_VP is entered through the entry stub alone (Driver::run_vp). It returns a
/// message; what the message is about has not been done, and is done here: the hypervisor completes
/// nothing, so there is nothing half done between two entries either.
///
/// Registers go two ways. While a message is handled, and if the register page is valid then, its
/// answer is left on the page, which costs no hypercall; the hypervisor takes it over at the next
/// entry. Otherwise, and at all other times, they are got and set by hypercalls; before `run`
/// returns, what was left on the page is set by a hypercall too, so outside `run` the page means
/// nothing.
class MshvVcpu final : public Vcpu {
public:
    static Result<std::unique_ptr<MshvVcpu>> create(MshvPartition& partition, VcpuIndex index,
                                                    GuestIo& io);
    ~MshvVcpu() override;

    void attach_thread() override { kick_.attach_current_thread(); }
    void detach_thread() override { kick_.detach(); }
    RunOutcome run() override;
    void set_stop() override { kick_.set(); }
    void kick() override { kick_.kick(); }
    void clear_stop() override { kick_.clear(); }
    [[nodiscard]] const VcpuCounters* counters() const override { return &counters_; }
    Result<VcpuRegisters> registers() override { return get_vcpu_registers(*vp_); }
    Result<void> set_registers(const VcpuRegisters& registers) override {
        return set_vcpu_registers(*vp_, registers);
    }
    Result<void> reset() override;

    /// This VP's hypercalls, for statistics and tests; MSHV_RUN_VP is counters()->entries.
    [[nodiscard]] const mshv::HypercallCounters& hypercalls() const {
        return vp_->port().counters();
    }

    /// The rest is for MshvPartition.
    [[nodiscard]] VcpuIndex index() const { return index_; }
    /// The 8259's INTR went up: gets vCPU 0 to look at it before it enters again. Any thread.
    void notice_extint();

private:
    /// Why a run ends, or nothing: it goes on.
    using End = std::optional<RunOutcome>;

    MshvVcpu(MshvPartition& partition, VcpuIndex index, GuestIo& io);
    Result<void> set_up();
    Result<void> map_register_page();
    Result<void> set_up_cpuid();
    Result<void> save_reset_states();

    // The run loop (mshv_vcpu.cpp).
    long enter();
    RunOutcome leave(RunOutcome outcome);
    RunOutcome fault(const std::string& what);
    [[nodiscard]] bool extint_wanted() const;
    Result<void> ask_for_interrupt_window();

    // Messages (mshv_vcpu_messages.cpp).
    End handle_message();
    End handle_rare_message();
    End handle_halt(const mshv::InterceptHeader& header);
    End handle_deliverable(const mshv::InterruptionDeliverable& message);
    End handle_msr(const mshv::MsrIntercept& message);
    End handle_cpuid(const mshv::CpuidIntercept& message);
    End handle_exception(const mshv::ExceptionIntercept& message);
    End handle_unsupported(const mshv::UnsupportedFeature& message);
    End fault_of_short_message();
    /// The message's payload; null if the driver gave fewer bytes.
    template <typename Payload>
    [[nodiscard]] const Payload* payload() const {
        static_assert(sizeof(Payload) <= mshv::kMessagePayloadSize);
        return message_.payload_size < sizeof(Payload)
                   ? nullptr
                   : reinterpret_cast<const Payload*>(message_.payload);
    }

    // Accesses (mshv_vcpu_access.cpp).
    End handle_io_port(const mshv::IoPortIntercept& message);
    End handle_memory(const mshv::MemoryIntercept& message);
    End emulate(const mshv::InterceptHeader& header, std::span<const uint8_t> bytes,
                const mshv::MemoryIntercept* memory);
    End finish_port_access(const mshv::IoPortIntercept& message, uint64_t rax);
    Result<void> end_interrupt_shadow();
    Result<void> raise_single_step();
    Result<void> inject(const mshv::GuestException& exception, bool protected_mode);
    Result<VcpuRegisters> intercepted_registers();
    Result<void> store_registers(const VcpuRegisters& before, const VcpuRegisters& after);
    /// The register page, if it can be used to answer the present message.
    [[nodiscard]] mshv::RegisterPage* usable_page() {
        return page_ != nullptr && page_->is_valid != 0 &&
                       page_->version == mshv::kRegisterPageVersion
                   ? page_
                   : nullptr;
    }
    /// As the present message's instruction completes: the instruction pointer behind it.
    [[nodiscard]] static uint64_t next_rip(const mshv::InterceptHeader& header);

    // Reset (mshv_reset.cpp).
    Result<void> reset_registers_and_events();
    void reset_optional_registers();
    Result<void> get_state(mshv::VpStateType type, Mapping& buffer, const char* what);
    Result<void> set_state(mshv::VpStateType type, Mapping& buffer, const char* what);

    MshvPartition& partition_;
    const VcpuIndex index_;
    GuestIo& io_;
    UniqueFd fd_;
    std::optional<mshv::VpRegisters> vp_;
    Mapping page_mapping_;
    /// Shared with the hypervisor, which writes it only inside MSHV_RUN_VP; null without one.
    mshv::RegisterPage* page_ = nullptr;
    /// Filled by MSHV_RUN_VP.
    mshv::Message message_{};
    /// MemoryMap::generation at the latest entry.
    uint64_t entry_generation_ = 0;
    /// The 8259's INTR, for vCPU 0; null for the others.
    const std::atomic<bool>* extint_level_ = nullptr;
    /// The hypervisor was asked to tell when the guest can take an interrupt.
    bool window_asked_ = false;
    /// HALT messages without another in between.
    unsigned halts_in_a_row_ = 0;
    /// The states of the new VP, as SET_VP_STATE takes them, for resets.
    Mapping reset_lapic_;
    Mapping reset_xsave_;
    uint32_t signature_ = 0;
    KickTarget kick_;
    VcpuCounters counters_;
};

}  // namespace halcyon
