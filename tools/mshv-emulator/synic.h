/// A VP's synthetic interrupt controller, as far as KVM's guests can have one: messages and event
/// flags that the program sends land in the guest's SIMP and SIEFP pages, with an interrupt if the
/// guest asked for one. Synthetic timers keep their values and never expire.
#pragma once

#include <linux/kvm.h>

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>

#include "accel/mshv/mshv_hypercalls.h"

namespace halcyon::emulator {

class Partition;

/// What the hypervisor keeps of a VP that KVM has no place for. `mutex` guards it, except where
/// said.
struct SyntheticState {
    std::mutex mutex;
    uint64_t scontrol = 0;
    uint64_t siefp = 0;
    uint64_t simp = 0;
    std::array<uint64_t, 16> sints{};  ///< masked from the start, see reset()
    std::array<uint64_t, 4> timer_configs{};
    std::array<uint64_t, 4> timer_counts{};
    std::array<uint8_t, 200> timer_state{};  ///< VpStateType::kSyntheticTimers, as last set
    uint64_t vp_assist = 0;
    /// Registers that nothing depends on, by name: kept, and read back.
    std::map<uint32_t, uint64_t> stored;
    // The next two are used by whoever has the VP's vCPU, without the mutex.
    /// What the program set and KVM would not take; see load_pending_registers.
    std::optional<kvm_sregs> pending_sregs;
    /// The exception to inject was set as PENDING_EVENT0, not as PENDING_INTERRUPTION.
    bool exception_is_event = false;
    SyntheticState() { sints.fill(0x10000); }
};

/// SIGNAL_EVENT_DIRECT and POST_MESSAGE_DIRECT.
mshv::HvStatus signal_event(Partition& partition, uint32_t vp_index, uint8_t sint, uint16_t flag,
                            bool& newly_signalled);
mshv::HvStatus post_message(Partition& partition, uint32_t vp_index, uint32_t sint,
                            const std::array<uint8_t, 256>& message);

}  // namespace halcyon::emulator
