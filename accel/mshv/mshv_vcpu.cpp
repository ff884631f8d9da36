#include "accel/mshv/mshv_vcpu.h"

#include <cerrno>
#include <cinttypes>
#include <cstdio>

#include "accel/mshv/mshv_cpuid.h"
#include "accel/mshv/mshv_partition.h"

namespace halcyon {

using namespace mshv;

namespace {

std::string hex(uint64_t value) {
    char text[24];
    std::snprintf(text, sizeof(text), "0x%" PRIx64, value);
    return text;
}

}  // namespace

MshvVcpu::MshvVcpu(MshvPartition& partition, VcpuIndex index, GuestIo& io)
    : partition_(partition), index_(index), io_(io) {
    if (index.value() == 0) {
        extint_level_ = &partition.extint_level();
    }
}

MshvVcpu::~MshvVcpu() {
    partition_.forget_vcpu(*this);
}

Result<std::unique_ptr<MshvVcpu>> MshvVcpu::create(MshvPartition& partition, VcpuIndex index,
                                                   GuestIo& io) {
    std::unique_ptr<MshvVcpu> vcpu(new MshvVcpu(partition, index, io));
    TRY(vcpu->set_up());
    return vcpu;
}

Result<void> MshvVcpu::set_up() {
    // The index is also the initial APIC id.
    CreateVp argument{.vp_index = index_.value()};
    fd_.reset(TRY(call_driver(partition_.driver(), partition_.fd(), kIoctlCreateVp,
                              "MSHV_CREATE_VP", &argument)));
    vp_.emplace(partition_.driver(), fd_.get(), index_.value());
    TRY(map_register_page());
    TRY(set_up_cpuid());
    TRY(save_reset_states());
    return reset();
}

Result<void> MshvVcpu::map_register_page() {
    auto mapped = partition_.driver().map_page(fd_.get(), VpMmapPage::kRegisters);
    if (!mapped) {
        if (mapped.error().errno_value() == ENODEV) {
            return {};  // this VP has none
        }
        return std::move(mapped).error();
    }
    page_mapping_ = *std::move(mapped);
    page_ = reinterpret_cast<RegisterPage*>(page_mapping_.data());
    return {};
}

Result<void> MshvVcpu::set_up_cpuid() {
    const CpuidSource hypervisor = [this](uint32_t leaf, uint32_t subleaf) {
        return get_cpuid(*vp_, leaf, subleaf);
    };
    const auto overrides = TRY(cpuid_overrides(hypervisor, partition_.config(), index_));
    for (const CpuidOverride& one : overrides) {
        TRY(set_cpuid(*vp_, one));
    }
    signature_ = TRY(hypervisor(1, 0)).eax;
    return {};
}

// ---- the run loop ----

long MshvVcpu::enter() {
    counters_.entries.increment();
    entry_generation_ = partition_.memory().generation();
    counters_.guest_time.enter();
    const long result = partition_.driver().run_vp(fd_.get(), message_, kick_.word());
    counters_.guest_time.leave();
    return result;
}

RunOutcome MshvVcpu::run() {
    if (const auto begun = partition_.begin_time(); !begun) {
        return fault(begun.error().message());
    }
    for (;;) {
        if (extint_level_ != nullptr && !window_asked_ && extint_wanted()) {
            if (const auto asked = ask_for_interrupt_window(); !asked) {
                return leave(fault(asked.error().message()));
            }
        }
        const long result = enter();
        if (result == 0) [[likely]] {
            // A message is handled even when a signal came with it. Whether a stop is wanted is the
            // next entry's question.
            if (auto end = handle_message()) {
                return leave(*std::move(end));
            }
            continue;
        }
        if (result == kRunEntryAborted) {
            counters_.aborted_entries.increment();
        } else if (result == -EINTR || result == -EAGAIN) {
            counters_.interrupted.increment();
            halts_in_a_row_ = 0;
        } else {
            return leave(
                fault(Error::from_errno("MSHV_RUN_VP", static_cast<int>(-result)).message()));
        }
        if (kick_.is_set()) {
            return leave({});
        }
    }
}

/// Puts into the hypervisor what the latest answer left on the register page, so that the registers
/// are where everybody else looks for them.
RunOutcome MshvVcpu::leave(RunOutcome outcome) {
    if (page_ == nullptr || page_->dirty == 0) {
        return outcome;
    }
    const auto registers = dirty_registers(*page_);
    page_->dirty = 0;
    if (const auto set = vp_->set(registers); !set && outcome.stop != RunStop::kFault) {
        return fault(set.error().message());
    }
    return outcome;
}

RunOutcome MshvVcpu::fault(const std::string& what) {
    std::string detail = "vCPU " + std::to_string(index_.value()) + ": " + what;
    if (const auto state = registers()) {
        detail += "; rip " + hex(state->rip) + " cs " + hex(state->cs.selector) + " base " +
                  hex(state->cs.base) + " rflags " + hex(state->rflags) + " cr0 " +
                  hex(state->cr0) + " efer " + hex(state->efer);
    }
    return {.stop = RunStop::kFault, .detail = std::move(detail)};
}

// ---- the 8259's interrupt ----

bool MshvVcpu::extint_wanted() const {
    return extint_level_ != nullptr && extint_level_->load(std::memory_order_seq_cst);
}

Result<void> MshvVcpu::ask_for_interrupt_window() {
    TRY(vp_->set({assign(RegisterName::kDeliverabilityNotifications, kNotifyInterrupt)}));
    window_asked_ = true;
    return {};
}

void MshvVcpu::notice_extint() {
    if (!kick_.is_current_thread()) {
        kick();
    }
}

}  // namespace halcyon
