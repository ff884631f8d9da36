/// GET_VP_STATE and SET_VP_STATE.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "accel/mshv/mshv_abi.h"
#include "tools/mshv-emulator/lapic.h"
#include "tools/mshv-emulator/partition.h"
#include "tools/mshv-emulator/registers.h"
#include "tools/mshv-emulator/trap.h"
#include "tools/mshv-emulator/vp.h"
#include "tools/mshv-emulator/xsave_format.h"

namespace halcyon::emulator {

namespace {

using mshv::VpStateType;
using State = std::vector<uint8_t>;

constexpr uint64_t kPage = mshv::kHvPageSize;
constexpr uint64_t kEnabled = 1;
constexpr uint64_t kPageMask = ~uint64_t{0xfff};

/// Of VpStateType::kSyntheticTimers: where a timer's configuration and count are.
constexpr size_t kTimerSize = 40;
constexpr size_t kTimerConfig = 8;
constexpr size_t kTimerCount = 16;

/// A pending NMI, in a word behind the page's used part; where a hypervisor has it, only it knows.
constexpr size_t kPendingNmi = sizeof(mshv::LapicState);

CpuidEntries leaves_of(Partition& partition) {
    return partition.cpuid().entries(0, 0, false);
}

size_t size_of(Partition& partition, VpStateType type) {
    switch (type) {
        case VpStateType::kLapic:
        case VpStateType::kSimp:
        case VpStateType::kSiefp:
            return kPage;
        case VpStateType::kXsave: {
            uint64_t size = 0;
            get_processor_property(leaves_of(partition), mshv::PartitionProperty::kMaxXsaveDataSize,
                                   size);
            return size;
        }
        case VpStateType::kSyntheticTimers:
            return sizeof(SyntheticState::timer_state);
    }
    return 0;
}

/// The driver's checks up to where the hypervisor comes in. The real size goes back to the program
/// whatever follows.
long check(Partition& partition, unsigned long argument, mshv::GetSetVpState& request,
           size_t& size) {
    if (copy_from_program(&request, argument, sizeof(request)) < 0) {
        return -EFAULT;
    }
    const bool reserved = std::any_of(std::begin(request.reserved), std::end(request.reserved),
                                      [](uint8_t byte) { return byte != 0; });
    if (request.type > VpStateType::kSyntheticTimers || reserved || request.buffer_size == 0 ||
        request.buffer_size % kPage != 0 || request.buffer_pointer % kPage != 0) {
        return -EINVAL;
    }
    // access_ok(): the address space of programs.
    constexpr uint64_t kEnd = (uint64_t{1} << 56) - kPage;
    if (request.buffer_pointer > kEnd - request.buffer_size) {
        return -EFAULT;
    }
    size = size_of(partition, request.type);
    const auto real_size = static_cast<uint32_t>(size);
    if (copy_to_program(argument + offsetof(mshv::GetSetVpState, buffer_size), &real_size,
                        sizeof(real_size)) < 0) {
        return -EFAULT;
    }
    return size > request.buffer_size ? -EINVAL : 0;
}

// ---- Local APIC --------------------------------------------------------------------------------

long with_lapic(KvmVcpu& vcpu, kvm_lapic_state& state, bool& x2apic) {
    constexpr uint64_t kX2apic = 1U << 10;
    kvm_sregs sregs{};
    if (vcpu.ioctl(KVM_GET_SREGS, &sregs) < 0 || vcpu.ioctl(KVM_GET_LAPIC, &state) < 0) {
        return -EIO;
    }
    x2apic = (sregs.apic_base & kX2apic) != 0;
    return 0;
}

long get_lapic(KvmVcpu& vcpu, State& state) {
    kvm_lapic_state own{};
    bool x2apic = false;
    if (const long error = with_lapic(vcpu, own, x2apic); error < 0) {
        return error;
    }
    const mshv::LapicState lapic = to_hv_lapic(own, x2apic);
    std::memcpy(state.data(), &lapic, sizeof(lapic));
    kvm_vcpu_events events{};
    if (vcpu.ioctl(KVM_GET_VCPU_EVENTS, &events) == 0) {
        state[kPendingNmi] = events.nmi.pending;
    }
    return 0;
}

long set_lapic(KvmVcpu& vcpu, const State& state) {
    kvm_lapic_state own{};
    bool x2apic = false;
    if (const long error = with_lapic(vcpu, own, x2apic); error < 0) {
        return error;
    }
    mshv::LapicState lapic{};
    std::memcpy(&lapic, state.data(), sizeof(lapic));
    update_kvm_lapic(lapic, x2apic, own);
    if (vcpu.ioctl(KVM_SET_LAPIC, &own) < 0) {
        return -EINVAL;
    }
    kvm_vcpu_events events{};
    if (vcpu.ioctl(KVM_GET_VCPU_EVENTS, &events) < 0) {
        return -EIO;
    }
    events.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING;
    events.nmi.pending = state[kPendingNmi] != 0 ? 1 : 0;
    return vcpu.ioctl(KVM_SET_VCPU_EVENTS, &events) < 0 ? -EIO : 0;
}

// ---- XSAVE -------------------------------------------------------------------------------------

long get_xsave(Partition& partition, KvmVcpu& vcpu, State& state) {
    State standard;
    if (vcpu.get_xsave(standard) < 0) {
        return -EIO;
    }
    compact_xsave(leaves_of(partition), standard, state);
    return 0;
}

long set_xsave(Partition& partition, KvmVcpu& vcpu, const State& state) {
    State standard;
    if (vcpu.get_xsave(standard) < 0) {
        return -EIO;
    }
    if (!expand_xsave(leaves_of(partition), state, standard)) {
        return -EINVAL;
    }
    return vcpu.set_xsave(standard) < 0 ? -EINVAL : 0;
}

// ---- SynIC -------------------------------------------------------------------------------------

uint64_t page_register(SyntheticState& synthetic, VpStateType type) {
    const std::lock_guard lock(synthetic.mutex);
    return type == VpStateType::kSimp ? synthetic.simp : synthetic.siefp;
}

void get_timers(SyntheticState& synthetic, State& state) {
    const std::lock_guard lock(synthetic.mutex);
    std::copy(synthetic.timer_state.begin(), synthetic.timer_state.end(), state.begin());
    for (size_t i = 0; i < synthetic.timer_configs.size(); ++i) {
        uint8_t* timer = state.data() + i * kTimerSize;
        std::memcpy(timer + kTimerConfig, &synthetic.timer_configs[i], sizeof(uint64_t));
        std::memcpy(timer + kTimerCount, &synthetic.timer_counts[i], sizeof(uint64_t));
    }
}

void set_timers(SyntheticState& synthetic, const State& state) {
    const std::lock_guard lock(synthetic.mutex);
    std::copy_n(state.begin(), synthetic.timer_state.size(), synthetic.timer_state.begin());
    for (size_t i = 0; i < synthetic.timer_configs.size(); ++i) {
        const uint8_t* timer = state.data() + i * kTimerSize;
        std::memcpy(&synthetic.timer_configs[i], timer + kTimerConfig, sizeof(uint64_t));
        std::memcpy(&synthetic.timer_counts[i], timer + kTimerCount, sizeof(uint64_t));
    }
}

long get_state(Partition& partition, Vp& vp, VpStateType type, State& state) {
    SyntheticState& synthetic = partition.synthetic(vp.index());
    switch (type) {
        case VpStateType::kLapic:
            return vp.with_kvm([&](KvmVcpu& vcpu) { return get_lapic(vcpu, state); },
                               Vp::Use::kLooks);
        case VpStateType::kXsave:
            return vp.with_kvm([&](KvmVcpu& vcpu) { return get_xsave(partition, vcpu, state); },
                               Vp::Use::kLooks);
        case VpStateType::kSimp:
        case VpStateType::kSiefp: {
            const uint64_t place = page_register(synthetic, type);
            if ((place & kEnabled) != 0) {
                partition.memory().read(place & kPageMask, state.data(), kPage);
            }
            return 0;
        }
        case VpStateType::kSyntheticTimers:
            get_timers(synthetic, state);
            return 0;
    }
    return -EINVAL;
}

long set_state(Partition& partition, Vp& vp, VpStateType type, const State& state) {
    SyntheticState& synthetic = partition.synthetic(vp.index());
    switch (type) {
        case VpStateType::kLapic:
            return vp.with_kvm([&](KvmVcpu& vcpu) { return set_lapic(vcpu, state); });
        case VpStateType::kXsave:
            return vp.with_kvm([&](KvmVcpu& vcpu) { return set_xsave(partition, vcpu, state); });
        case VpStateType::kSimp:
        case VpStateType::kSiefp: {
            const uint64_t place = page_register(synthetic, type);
            if ((place & kEnabled) != 0) {
                partition.memory().write(place & kPageMask, state.data(), kPage);
            }
            return 0;
        }
        case VpStateType::kSyntheticTimers:
            set_timers(synthetic, state);
            return 0;
    }
    return -EINVAL;
}

}  // namespace

long get_vp_state(Partition& partition, Vp& vp, unsigned long argument) {
    mshv::GetSetVpState request{};
    size_t size = 0;
    if (const long error = check(partition, argument, request, size); error < 0) {
        return error;
    }
    State state(size);
    if (const long error = get_state(partition, vp, request.type, state); error < 0) {
        return error;
    }
    return copy_to_program(request.buffer_pointer, state.data(), size) < 0 ? -EFAULT : 0;
}

long set_vp_state(Partition& partition, Vp& vp, unsigned long argument) {
    mshv::GetSetVpState request{};
    size_t size = 0;
    if (const long error = check(partition, argument, request, size); error < 0) {
        return error;
    }
    State state(size);
    if (copy_from_program(state.data(), request.buffer_pointer, size) < 0) {
        return -EFAULT;
    }
    return set_state(partition, vp, request.type, state);
}

}  // namespace halcyon::emulator
