/// RUN_VP: lets the guest run until there is a message for the program or a signal for its thread.
#pragma once

#include <linux/kvm.h>

#include <array>
#include <cstdint>
#include <optional>

#include "accel/mshv/mshv_messages.h"
#include "tools/mshv-emulator/exit_completion.h"
#include "tools/mshv-emulator/exit_source.h"
#include "tools/mshv-emulator/faults.h"
#include "tools/mshv-emulator/kvm.h"
#include "tools/mshv-emulator/message.h"
#include "tools/mshv-emulator/register_page.h"
#include "tools/mshv-emulator/run_gate.h"
#include "tools/mshv-emulator/run_state.h"
#include "tools/mshv-emulator/trap.h"

namespace halcyon::emulator {

class Partition;

/// The VP's registers that KVM does not have.
struct RunControl {
    bool explicit_suspend = true;
    bool intercept_suspend = false;
    bool dispatch_suspend = false;
    /// DELIVERABILITY_NOTIFICATIONS: bit 0 NMI window, 1 interrupt window.
    uint64_t notifications = 0;
};

/// Of a Vp, which has the vCPU and outlives this.
class Runner {
public:
    Runner(Partition& partition, uint32_t vp_index, KvmVcpu& vcpu, bool has_sync);

    /// The pages that the program may map; null when there are none any more. `registers` is null
    /// too when VPs have no register page. Under the gate.
    void set_pages(mshv::RegisterPage* registers, mshv::Message* message);

    /// RUN_VP: 0 with the message in `message`, or -errno. One thread at a time.
    long run(const TrapContext& context, mshv::Message& message);

    /// Who else may use the vCPU, and when.
    [[nodiscard]] RunGate& gate() { return gate_; }
    /// Before KVM's own calls on the vCPU, under the gate: what was put off is done, so that KVM
    /// has the registers; `changes` when these calls may change them.
    void settle(bool changes);
    /// After such calls that did change something.
    void note_changes();
    [[nodiscard]] RunControl& control() { return control_; }

private:
    /// What an exit comes to: a result of RUN_VP (0 with `message_`), or nothing: the guest runs
    /// on.
    using Outcome = std::optional<long>;

    long run_held(const TrapContext& context);
    Outcome begin();
    Outcome take_over_page();
    Outcome run_once(const TrapContext& context);
    Outcome interrupted(const TrapContext& context);
    Outcome run_on_despite_signal();
    Outcome wait_while_suspended(const TrapContext& context);
    Outcome deliver_window();
    void set_signal_mask(KernelSigset blocked);
    Outcome load_pending();
    [[nodiscard]] bool is_halted() const;
    long enter();

    /// The end of RUN_VP with a message, and with a signal.
    long end_with_message();
    long end_with_signal(long error);
    void export_page(bool with_rest);

    // run_exit.cpp
    Outcome handle_result(long result);
    Outcome handle_exit();
    Outcome unless_window(Outcome intercepted);
    Outcome handle_halt();
    Outcome handle_msr();
    Outcome handle_debug();
    Outcome handle_internal_error();
    Outcome handle_memory_fault();
    Outcome send(const mshv::Message& message);
    Outcome fail(const char* what, uint64_t detail);

    // run_access.cpp
    Outcome handle_io();
    Outcome handle_out(const GuestAccess& access, ExitSource& source);
    Outcome handle_mmio();
    std::optional<FoundInstruction> undo(const GuestAccess& access, ExitSource& source);
    Outcome handle_mmio_write(const GuestAccess& access, ExitSource& source);
    Outcome send_io(const GuestAccess& access, const FoundInstruction& found, ExitSource& source);
    Outcome send_memory(uint64_t gpa, std::optional<uint64_t> linear, mshv::InterceptAccess access,
                        ExitSource& source);
    InstructionBytes instruction_bytes(ExitSource& source);
    ExitSource make_source();
    [[nodiscard]] MessageState message_state() const { return {state_.get(), vp_index_}; }

    Partition& partition_;
    const uint32_t vp_index_;
    const uint8_t physical_width_;  ///< MAXPHYADDR
    KvmVcpu& vcpu_;
    RunGate gate_;
    RunControl control_;
    VpFaults faults_;
    VcpuState state_;
    PendingAccess pending_;
    mshv::RegisterPage* page_ = nullptr;
    mshv::Message* message_page_ = nullptr;
    PageVectors exported_vectors_ = {};
    mshv::Message message_ = {};
    std::optional<KernelSigset> signal_mask_;  ///< KVM's
    /// Where writes were found to have come from: RIP after one, and its length.
    struct UndoHint {
        uint64_t rip = 0;
        uint8_t length = 0;
    };
    std::array<UndoHint, 64> undo_hints_;
    bool uses_vectors_ = false;    ///< the message's instruction
    bool is_port_access_ = false;  ///< the message
};

}  // namespace halcyon::emulator
