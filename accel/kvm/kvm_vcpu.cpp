#include "accel/kvm/kvm_vcpu.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cinttypes>
#include <cstdio>

#include "accel/kvm/kvm_ioctl.h"
#include "accel/kvm/kvm_partition.h"
#include "accel/kvm/kvm_registers.h"

namespace halcyon {

namespace {

/// For entries that must happen although a stop is wanted.
constexpr uint32_t kNoStop = 0;

std::string hex(uint64_t value) {
    char text[24];
    std::snprintf(text, sizeof(text), "0x%" PRIx64, value);
    return text;
}

}  // namespace

KvmVcpu::KvmVcpu(KvmPartition& partition, VcpuIndex index, GuestIo& io)
    : partition_(partition), index_(index), io_(io) {
    if (index.value() == 0) {
        extint_level_ = &partition.extint_level();
    }
}

KvmVcpu::~KvmVcpu() {
    partition_.forget_vcpu(*this);
}

Result<std::unique_ptr<KvmVcpu>> KvmVcpu::create(KvmPartition& partition, VcpuIndex index,
                                                 GuestIo& io) {
    std::unique_ptr<KvmVcpu> vcpu(new KvmVcpu(partition, index, io));
    TRY(vcpu->set_up());
    return vcpu;
}

Result<void> KvmVcpu::set_up() {
    // The id is also the initial APIC id.
    fd_.reset(TRY(kvm_ioctl(partition_.fd(), KVM_CREATE_VCPU, "KVM_CREATE_VCPU",
                            static_cast<unsigned long>(index_.value()))));
    run_mapping_ = TRY(Mapping::map_fd(fd_.get(), partition_.run_size(), 0, PROT_READ | PROT_WRITE,
                                       "KVM's run structure"));
    run_ = reinterpret_cast<kvm_run*>(run_mapping_.data());

    const CpuidEntries entries = partition_.cpuid_of(index_);
    signature_ = cpu_signature(entries);
    KvmCpuidArray array(entries.size());
    array.header()->nent = static_cast<uint32_t>(entries.size());
    std::copy(entries.begin(), entries.end(), array.entries().begin());
    TRY(kvm_ioctl(fd_.get(), kKvmSetCpuid2, "KVM_SET_CPUID2", array.header()));
    return reset();
}

// ---- stopping ----

void KvmVcpu::set_immediate_exit(bool wanted) {
    // Written by any thread, read by the kernel at the start of KVM_RUN.
    std::atomic_ref(run_->immediate_exit).store(wanted ? 1 : 0, std::memory_order_relaxed);
}

void KvmVcpu::set_stop() {
    set_immediate_exit(true);
    kick_.set();
}

void KvmVcpu::kick() {
    set_immediate_exit(true);
    kick_.kick();
}

void KvmVcpu::clear_stop() {
    kick_.clear();
    set_immediate_exit(false);
}

void KvmVcpu::notice_extint() {
    if (!kick_.is_current_thread()) {
        kick();
    }
}

// ---- the run loop ----

RunOutcome KvmVcpu::run() {
    for (;;) {
        if (extint_level_ != nullptr) {
            offer_extint();
        }
        const long result = enter();
        if (result == 0) [[likely]] {
            // An exit is handled even when a signal came with it. Whether a stop is wanted is the
            // next entry's question.
            access_unfinished_ = false;
            if (auto outcome = handle_exit()) {
                return *std::move(outcome);
            }
            continue;
        }
        if (result == kRunEntryAborted) {
            counters_.aborted_entries.increment();
        } else if (result == -EINTR || result == -EAGAIN) {
            // EAGAIN: a start-up IPI has come; the next entry runs from its vector.
            counters_.interrupted.increment();
            access_unfinished_ = false;
        } else {
            access_unfinished_ = false;
            return fault(Error::from_errno("KVM_RUN", static_cast<int>(-result)).message());
        }
        if (kick_.is_set()) {
            if (access_unfinished_) {
                if (auto outcome = finish_access()) {
                    return *std::move(outcome);
                }
            }
            return {};
        }
        // A kick sets immediate_exit before the word. If that overtook the clearing of an earlier
        // kick, the word is still to come, and the signal with it: run meanwhile.
        set_immediate_exit(false);
    }
}

/// The kernel completes an IN or a memory read (and moves the program counter) only when it is
/// entered again. With immediate_exit it does that, and then returns EINTR before the guest runs.
/// One instruction may need several accesses, so an exit instead of EINTR is served like any other.
std::optional<RunOutcome> KvmVcpu::finish_access() {
    while (access_unfinished_) {
        set_immediate_exit(true);
        counters_.entries.increment();
        const long result = halcyon_run_entry(fd_.get(), KVM_RUN, 0, &kNoStop);
        if (result == kRunEntryAborted) {
            counters_.aborted_entries.increment();  // one more kick: as often as there are kicks
            continue;
        }
        access_unfinished_ = false;
        if (result == 0) {
            if (auto outcome = handle_exit()) {
                return outcome;
            }
        } else if (result != -EINTR && result != -EAGAIN) {
            return fault(Error::from_errno("KVM_RUN", static_cast<int>(-result)).message());
        }
    }
    return std::nullopt;
}

std::optional<RunOutcome> KvmVcpu::handle_exit() {
    switch (run_->exit_reason) {
        case KVM_EXIT_IO:
            counters_.pio_exits.increment();
            serve_pio();
            return std::nullopt;
        case KVM_EXIT_MMIO:
            counters_.mmio_exits.increment();
            serve_mmio();
            return std::nullopt;
        default:
            return handle_rare_exit();
    }
}

std::optional<RunOutcome> KvmVcpu::handle_rare_exit() {
    switch (run_->exit_reason) {
        case KVM_EXIT_HLT:
            return handle_halt();
        case KVM_EXIT_IRQ_WINDOW_OPEN:
            counters_.interrupt_exits.increment();
            return std::nullopt;
        case KVM_EXIT_IOAPIC_EOI:
            counters_.interrupt_exits.increment();
            io_.end_of_interrupt(run_->eoi.vector);
            return std::nullopt;
        case KVM_EXIT_INTR:
            counters_.interrupted.increment();
            return std::nullopt;
        case KVM_EXIT_SHUTDOWN:
            counters_.other_exits.increment();
            return RunOutcome{.stop = RunStop::kTripleFault};
        case KVM_EXIT_SYSTEM_EVENT:
            counters_.other_exits.increment();
            return handle_system_event();
        case KVM_EXIT_INTERNAL_ERROR:
            counters_.other_exits.increment();
            return internal_error();
        case KVM_EXIT_FAIL_ENTRY:
            counters_.other_exits.increment();
            return fault("KVM could not enter the guest, hardware reason " +
                         hex(run_->fail_entry.hardware_entry_failure_reason));
        case KVM_EXIT_UNKNOWN:
            counters_.other_exits.increment();
            return fault("KVM exit without a reason, hardware reason " +
                         hex(run_->hw.hardware_exit_reason));
        default:
            counters_.other_exits.increment();
            return fault("KVM exit " + std::to_string(run_->exit_reason) +
                         ", which was not asked for");
    }
}

/// Only without a local APIC in the kernel: with one, HLT waits inside KVM_RUN.
std::optional<RunOutcome> KvmVcpu::handle_halt() {
    counters_.halt_exits.increment();
    const bool interrupt =
        held_vector_.has_value() ||
        (extint_level_ != nullptr && extint_level_->load(std::memory_order_seq_cst));
    if (interrupt && run_->if_flag != 0) {
        return std::nullopt;  // the next entry takes the interrupt, which ends the halt
    }
    return RunOutcome{.stop = RunStop::kHalted};
}

std::optional<RunOutcome> KvmVcpu::handle_system_event() {
    switch (run_->system_event.type) {
        case KVM_SYSTEM_EVENT_SHUTDOWN:
            return RunOutcome{.stop = RunStop::kPowerOff};
        case KVM_SYSTEM_EVENT_RESET:
            return RunOutcome{.stop = RunStop::kReset};
        case KVM_SYSTEM_EVENT_CRASH:
            return fault("the guest reported a crash");
        default:
            return fault("KVM system event " + std::to_string(run_->system_event.type));
    }
}

void KvmVcpu::serve_pio() {
    access_unfinished_ = true;
    const auto& access = run_->io;
    const size_t width = access.size;
    std::byte* data = run_mapping_.data() + access.data_offset;
    const PioPort port(access.port);
    for (uint32_t i = 0; i < access.count; ++i, data += width) {
        if (access.direction == KVM_EXIT_IO_IN) {
            io_.pio_read(port, {data, width});
        } else {
            io_.pio_write(port, {data, width});
        }
    }
}

void KvmVcpu::serve_mmio() {
    access_unfinished_ = true;
    auto& access = run_->mmio;
    auto* data = reinterpret_cast<std::byte*>(access.data);
    const size_t length = std::min<size_t>(access.len, sizeof(access.data));
    // An access that crosses a page comes in two parts, of any length: each goes on in pieces of a
    // width that a bus has.
    for (size_t done = 0; done < length;) {
        const size_t width = std::bit_floor(length - done);
        const Gpa address(access.phys_addr + done);
        if (access.is_write != 0) {
            io_.mmio_write(address, {data + done, width});
        } else {
            io_.mmio_read(address, {data + done, width});
        }
        done += width;
    }
}

/// Before an entry of vCPU 0: hands over the 8259's interrupt when the guest would take it, and
/// otherwise asks for an exit as soon as it would.
///
/// KVM holds one vector that it has not delivered (EEXIST for a second). Whether it still does is
/// not known after an entry that a signal ended, so a second vector may be acknowledged while the
/// first is waiting; it is kept here, and delivered when the first one's handler lets it, as it
/// would be on hardware.
void KvmVcpu::offer_extint() {
    const bool wanted = held_vector_.has_value() || extint_level_->load(std::memory_order_seq_cst);
    if (wanted && run_->ready_for_interrupt_injection != 0) {
        if (!held_vector_) {
            held_vector_ = io_.acknowledge_extint();
        }
        if (held_vector_) {
            kvm_interrupt interrupt{.irq = *held_vector_};
            if (::ioctl(fd_.get(), KVM_INTERRUPT, &interrupt) == 0) {
                held_vector_.reset();
            }
        }
        run_->ready_for_interrupt_injection = 0;  // not before the kernel says so again
        const bool more =
            held_vector_.has_value() || extint_level_->load(std::memory_order_seq_cst);
        run_->request_interrupt_window = more ? 1 : 0;
        return;
    }
    run_->request_interrupt_window = wanted ? 1 : 0;
}

RunOutcome KvmVcpu::internal_error() {
    const auto& error = run_->internal;
    std::string text = "KVM internal error " + std::to_string(error.suberror);
    switch (error.suberror) {
        case KVM_INTERNAL_ERROR_EMULATION:
            text += " (instruction not emulated)";
            break;
        case KVM_INTERNAL_ERROR_SIMUL_EX:
            text += " (two exceptions at once)";
            break;
        case KVM_INTERNAL_ERROR_DELIVERY_EV:
            text += " (exit while delivering an event)";
            break;
        default:
            break;
    }
    text += ", data";
    const size_t count = std::min<size_t>(error.ndata, std::size(error.data));
    for (size_t i = 0; i < count; ++i) {
        text += " " + hex(error.data[i]);
    }
    return fault(text);
}

RunOutcome KvmVcpu::fault(const std::string& what) {
    std::string detail = "vCPU " + std::to_string(index_.value()) + ": " + what;
    if (const auto state = registers()) {
        detail += "; rip " + hex(state->rip) + " cs " + hex(state->cs.selector) + " base " +
                  hex(state->cs.base) + " rflags " + hex(state->rflags) + " cr0 " +
                  hex(state->cr0) + " efer " + hex(state->efer);
    }
    return {.stop = RunStop::kFault, .detail = std::move(detail)};
}

// ---- registers ----

std::optional<CpuidRegisters> KvmVcpu::cpuid(uint32_t leaf, uint32_t subleaf) const {
    for (const kvm_cpuid_entry2& entry : partition_.cpuid_of(index_)) {
        const bool indexed = (entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0;
        if (entry.function == leaf && (!indexed || entry.index == subleaf)) {
            return CpuidRegisters{entry.eax, entry.ebx, entry.ecx, entry.edx};
        }
    }
    return CpuidRegisters();
}

Result<VcpuRegisters> KvmVcpu::registers() {
    kvm_regs regs{};
    kvm_sregs sregs{};
    TRY(kvm_ioctl(fd_.get(), KVM_GET_REGS, "KVM_GET_REGS", &regs));
    TRY(kvm_ioctl(fd_.get(), KVM_GET_SREGS, "KVM_GET_SREGS", &sregs));
    return from_kvm(regs, sregs);
}

Result<void> KvmVcpu::set_registers(const VcpuRegisters& registers) {
    kvm_sregs sregs{};
    TRY(kvm_ioctl(fd_.get(), KVM_GET_SREGS, "KVM_GET_SREGS", &sregs));
    update_kvm_sregs(registers, sregs);
    kvm_regs regs = to_kvm_regs(registers);
    TRY(kvm_ioctl(fd_.get(), KVM_SET_SREGS, "KVM_SET_SREGS", &sregs));
    TRY(kvm_ioctl(fd_.get(), KVM_SET_REGS, "KVM_SET_REGS", &regs));
    return {};
}

Result<void> KvmVcpu::mark_clock_stopped() {
    auto done = kvm_ioctl(fd_.get(), KVM_KVMCLOCK_CTRL, "KVM_KVMCLOCK_CTRL");
    // EINVAL: this vCPU's guest uses no kvmclock.
    if (!done && done.error().errno_value() != EINVAL) {
        return std::move(done).error();
    }
    return {};
}

}  // namespace halcyon
