#include "tools/mshv-emulator/exit_completion.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "tools/mshv-emulator/log.h"
#include "tools/mshv-emulator/undo_decode.h"

namespace halcyon::emulator {

namespace {

constexpr uint64_t kResumeFlag = 1U << 16;
constexpr uint64_t kDirection = 1U << 10;
constexpr unsigned kMostParts = 256;  // of one instruction: FXSAVE has 64, a string of 8 bytes 128

/// IN and a load into a register: the data that makes its target what it is in `wanted`.
std::optional<uint64_t> data_for(const FoundInstruction::Load& load, const kvm_regs& wanted) {
    uint64_t value = general(wanted, load.gpr);
    if (load.register_size == 4 && value >> 32 != 0) {
        return std::nullopt;  // a 32-bit write clears the upper half
    }
    if (load.high_byte) {
        value >>= 8;
    }
    const auto keep = [](uint64_t of, unsigned bytes) {
        return of & OperandView::address_mask(bytes * 8);
    };
    const uint64_t data = keep(value, load.memory_size);
    uint64_t extended = data;
    if (load.is_signed && load.memory_size < 8 && (data >> (load.memory_size * 8 - 1) & 1) != 0) {
        extended |= ~OperandView::address_mask(load.memory_size * 8U);
    }
    return keep(extended, load.register_size) == keep(value, load.register_size)
               ? std::optional(data)
               : std::nullopt;
}

/// What an instruction may change that is not in kvm_regs.
class OtherState {
public:
    OtherState(KvmVcpu& vcpu, const kvm_sregs& sregs) : vcpu_(vcpu), sregs_(sregs) {
        saved_ = vcpu.get_xsave(xsave_) == 0;
    }
    void restore() {
        vcpu_.ioctl(KVM_SET_SREGS, &sregs_);
        if (saved_) {
            vcpu_.set_xsave(xsave_);
        }
    }

private:
    KvmVcpu& vcpu_;
    kvm_sregs sregs_;
    std::vector<uint8_t> xsave_;
    bool saved_ = false;
};

}  // namespace

void PendingAccess::begin(const GuestAccess& access, std::optional<FoundInstruction> found) {
    is_pending_ = true;
    is_left_ = false;
    access_ = access;
    found_ = found;
}

void PendingAccess::begin_other() {
    begin({}, FoundInstruction{});
}

bool PendingAccess::leave_to_kvm(const kvm_regs& before, const kvm_regs& wanted, kvm_run& run) {
    if (!found_ || found_->length == 0 || wanted.rip != before.rip + found_->length ||
        ((wanted.rflags ^ before.rflags) & ~kResumeFlag) != 0) {
        return false;
    }
    std::optional<FoundInstruction::Load> load = found_->load;
    if (access_.space == GuestAccess::Space::kPort) {
        if (found_->is_string) {
            return false;
        }
        if (access_.is_write) {
            is_left_ = true;  // KVM only moves RIP, and not from where it is no more
            return true;
        }
        const auto size = static_cast<uint8_t>(access_.size);
        load = FoundInstruction::Load{.register_size = size, .memory_size = size};
    }
    if (!load || access_.is_write || access_.size != load->memory_size || !found_->is_whole) {
        return false;
    }
    const auto data = data_for(*load, wanted);
    if (!data) {
        return false;
    }
    if (access_.space == GuestAccess::Space::kPort) {
        std::memcpy(reinterpret_cast<uint8_t*>(&run) + run.io.data_offset, &*data, access_.size);
    } else {
        std::memcpy(run.mmio.data, &*data, access_.size);
    }
    is_left_ = true;
    return true;
}

/// Data for what is read. Where it goes to memory it is what is there: KVM then changes nothing.
void PendingAccess::supply(kvm_run& run, const kvm_regs& regs, InstructionSource& source) const {
    if (access_.is_write || access_.size == 0) {
        return;
    }
    const bool is_port = access_.space == GuestAccess::Space::kPort;
    const size_t total = size_t{access_.size} * (is_port ? access_.count : 1);
    uint8_t* data = is_port ? reinterpret_cast<uint8_t*>(&run) + run.io.data_offset : run.mmio.data;
    std::memset(data, 0, is_port ? total : sizeof(run.mmio.data));
    if (!found_ || !found_->destination) {
        return;
    }
    if (!is_port || (regs.rflags & kDirection) == 0) {
        source.read(*found_->destination, data, total);
        return;
    }
    for (size_t i = 0; i < access_.count; ++i) {  // downwards
        source.read(*found_->destination - i * access_.size, data + i * access_.size, access_.size);
    }
}

long PendingAccess::run_to_end(KvmVcpu& vcpu, VcpuState& state, uint64_t* rip) const {
    for (unsigned part = 0; part < kMostParts; ++part) {
        const long result = state.run_pending(rip);
        if (result == -EINTR || result == -EAGAIN) {
            return 0;
        }
        if (result < 0) {
            return result;
        }
        kvm_run& run = vcpu.run();
        if (run.exit_reason == KVM_EXIT_MMIO) {
            std::memset(run.mmio.data, 0, sizeof(run.mmio.data));
        } else if (run.exit_reason != KVM_EXIT_IO) {
            return 0;
        }
    }
    log_line("an instruction has no end");
    return -EIO;
}

long PendingAccess::end(KvmVcpu& vcpu, VcpuState& state, InstructionSource& source, uint64_t* rip) {
    const bool is_left = is_left_;
    forget();
    long result = state.load();
    if (result < 0) {
        return result;
    }
    const kvm_regs before = state.get().regs;
    const kvm_vcpu_events events = state.get().events;
    std::optional<OtherState> other;
    if (!found_ || found_->changes_other_state) {
        other.emplace(vcpu, state.get().sregs);
    }
    if (!is_left && found_ && found_->has_rep && access_.space == GuestAccess::Space::kMemory &&
        !access_.is_write) {
        // KVM would go on to the next element, and leave for that: one is enough.
        kvm_regs last = before;
        last.rcx = 1;
        vcpu.ioctl(KVM_SET_REGS, &last);
    }
    if (!is_left) {
        supply(vcpu.run(), before, source);
    }
    result = run_to_end(vcpu, state, rip);
    if (other) {
        other->restore();
    }
    if (events.interrupt.shadow != 0) {
        kvm_vcpu_events shadow = events;
        shadow.flags = KVM_VCPUEVENT_VALID_SHADOW;  // leaves what came meanwhile alone
        vcpu.ioctl(KVM_SET_VCPU_EVENTS, &shadow);
    }
    // This also takes back an exception that the data raised.
    state.change_regs() = before;
    return result;
}

}  // namespace halcyon::emulator
