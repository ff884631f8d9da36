/// Runner: the guest's accesses to ports and to memory that is not there or not writable.
#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstring>

#include "tools/mshv-emulator/log.h"
#include "tools/mshv-emulator/partition.h"
#include "tools/mshv-emulator/run.h"

namespace halcyon::emulator {

InstructionBytes Runner::instruction_bytes(ExitSource& source) {
    InstructionBytes result;
    const kvm_sync_regs& state = state_.get();
    result.count = static_cast<uint8_t>(source.read(code_address(state.regs, state.sregs),
                                                    result.bytes.data(), result.bytes.size()));
    result.count = faulty_byte_count(faults_, result.count);
    return result;
}

std::optional<FoundInstruction> Runner::undo(const GuestAccess& access, ExitSource& source) {
    const kvm_regs& regs = state_.get().regs;
    UndoHint& hint = undo_hints_[regs.rip % undo_hints_.size()];
    const auto found = undo_write(regs, state_.get().sregs, access, source,
                                  hint.rip == regs.rip ? hint.length : 0);
    if (found) {
        hint = {.rip = regs.rip, .length = found->length};
    }
    return found;
}

// ---- ports -------------------------------------------------------------------------------------

Runner::Outcome Runner::send_io(const GuestAccess& access, const FoundInstruction& found,
                                ExitSource& source) {
    send(io_port_message(message_state(), access, found, instruction_bytes(source)));
    is_port_access_ = true;
    return 0;
}

Runner::Outcome Runner::handle_io() {
    const kvm_run& run = vcpu_.run();
    GuestAccess access{.space = GuestAccess::Space::kPort,
                       .is_write = run.io.direction == KVM_EXIT_IO_OUT,
                       .address = run.io.port,
                       .size = run.io.size,
                       .count = run.io.count};
    ExitSource source = make_source();
    if (access.is_write) {
        std::memcpy(access.data.data(), reinterpret_cast<const uint8_t*>(&run) + run.io.data_offset,
                    std::min<size_t>(access.size, access.data.size()));
        return handle_out(access, source);
    }
    // KVM leaves for a read before it has done anything.
    const auto found = instruction_at(state_.get().regs, state_.get().sregs, access, source);
    pending_.begin(access, found);
    return send_io(access, found.value_or(FoundInstruction{}), source);
}

/// KVM leaves for OUT with RIP at it, or, when its emulator carried it out, behind it. The bytes
/// tell, unless there is one OUT after the other: then how KVM goes on tells.
Runner::Outcome Runner::handle_out(const GuestAccess& access, ExitSource& source) {
    const kvm_regs regs = state_.get().regs;
    const kvm_sregs& sregs = state_.get().sregs;
    const auto behind = undo(access, source);
    auto at = instruction_at(regs, sregs, access, source);
    if (at && at->is_string) {
        at.reset();
    }
    bool is_behind = behind.has_value();
    if (at) {
        pending_.begin(access, at);
    }
    if (at.has_value() == behind.has_value()) {
        pending_.begin(access, at.value_or(FoundInstruction{}));
        uint64_t rip = 0;
        if (const long error = pending_.end(vcpu_, state_, source, &rip); error < 0) {
            return fail("KVM does not end an OUT", static_cast<uint64_t>(-error));
        }
        is_behind = rip == regs.rip;
        if (!at) {
            at = FoundInstruction{.regs = regs, .length = static_cast<uint8_t>(rip - regs.rip)};
        }
    }
    if (!is_behind) {
        return send_io(access, *at, source);
    }
    if (!behind) {
        log_line("VP %u: an OUT to port 0x%" PRIx64 " is not found before 0x%" PRIx64, vp_index_,
                 access.address, uint64_t{regs.rip});
        return send(unsupported_message(vp_index_, access.address));
    }
    state_.change_regs() = behind->regs;
    return send_io(access, *behind, source);
}

// ---- memory ------------------------------------------------------------------------------------

Runner::Outcome Runner::send_memory(uint64_t gpa, std::optional<uint64_t> linear,
                                    mshv::InterceptAccess access, ExitSource& source) {
    const bool is_mapped = partition_.memory().is_mapped(gpa);
    if (faults_.due(&FaultPlan::no_gva)) {
        linear.reset();
    }
    return send(memory_message(
        message_state(),
        is_mapped ? mshv::MessageType::kGpaIntercept : mshv::MessageType::kUnmappedGpa, gpa, linear,
        access, instruction_bytes(source)));
}

Runner::Outcome Runner::handle_mmio() {
    const kvm_run& run = vcpu_.run();
    GuestAccess access{
        .is_write = run.mmio.is_write != 0, .address = run.mmio.phys_addr, .size = run.mmio.len};
    std::copy_n(run.mmio.data, access.data.size(), access.data.begin());
    ExitSource source = make_source();
    if (access.is_write) {
        return handle_mmio_write(access, source);
    }
    const auto found = instruction_at(state_.get().regs, state_.get().sregs, access, source);
    pending_.begin(access, found);
    send_memory(access.address, found ? found->linear : std::nullopt, mshv::InterceptAccess::kRead,
                source);
    uses_vectors_ = !found || found->uses_vectors;
    return 0;
}

Runner::Outcome Runner::handle_mmio_write(const GuestAccess& access, ExitSource& source) {
    const auto found = undo(access, source);
    if (!found) {
        log_line("VP %u: a write of %u bytes to 0x%" PRIx64 " is not found before 0x%" PRIx64,
                 vp_index_, access.size, access.address, uint64_t{state_.get().regs.rip});
        // To read-only memory it is done with: nothing was written.
        return partition_.memory().is_mapped(access.address)
                   ? std::nullopt
                   : send(unsupported_message(vp_index_, access.address));
    }
    if (!found->is_whole) {
        // KVM would leave for the rest; otherwise it has nothing more to do.
        pending_.begin(access, found);
        if (const long error = pending_.end(vcpu_, state_, source); error < 0) {
            return fail("KVM does not end a write", static_cast<uint64_t>(-error));
        }
    }
    state_.change_regs() = found->regs;
    send_memory(access.address, found->linear, mshv::InterceptAccess::kWrite, source);
    uses_vectors_ = found->uses_vectors;
    return 0;
}

}  // namespace halcyon::emulator
