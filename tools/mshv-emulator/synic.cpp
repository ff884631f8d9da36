#include "tools/mshv-emulator/synic.h"

#include <cstring>

#include "tools/mshv-emulator/msr.h"
#include "tools/mshv-emulator/partition.h"

namespace halcyon::emulator {

namespace {

using mshv::HvStatus;

// The hypervisor's MSRs (TLFS 17).
enum Msr : uint32_t {
    kGuestOsId = 0x40000000,
    kHypercall = 0x40000001,
    kVpIndex = 0x40000002,
    kVpRuntime = 0x40000010,
    kTimeRefCount = 0x40000020,
    kReferenceTsc = 0x40000021,
    kTscFrequency = 0x40000022,
    kApicFrequency = 0x40000023,
    kVpAssistPage = 0x40000073,
    kScontrol = 0x40000080,
    kSversion = 0x40000081,
    kSiefp = 0x40000082,
    kSimp = 0x40000083,
    kEom = 0x40000084,
    kSint0 = 0x40000090,
    kSint15 = 0x4000009f,
    kTimer0 = 0x400000b0,
    kTimer3Count = 0x400000b7,
    kCrashP0 = 0x40000100,
    kCrashControl = 0x40000105,
};

constexpr uint64_t kEnabled = 1;
constexpr uint64_t kHypercallLocked = 2;
constexpr uint64_t kPageMask = ~uint64_t{0xfff};
constexpr uint64_t kSintMasked = 1U << 16;
constexpr uint64_t kSintPolling = 1U << 18;
constexpr uint64_t kSynicVersion = 1;
/// KVM's local APIC timers count nanoseconds (KVM_CAP_X86_APIC_BUS_CYCLES_NS).
constexpr uint64_t kApicHz = 1'000'000'000;

constexpr uint32_t kSints = 16;
/// Bytes of a SINT in the message page and in the event flags page (TLFS 11.6, 11.7).
constexpr uint64_t kSlotSize = 256;
constexpr uint16_t kEventFlags = 2048;
/// Offsets in struct hv_message.
constexpr uint64_t kMessageFlags = 5;
constexpr uint8_t kMessagePending = 1;

/// What guests call: mov eax, HV_STATUS_INVALID_HYPERCALL_CODE; xor edx, edx; ret. KVM gives no
/// access to a guest's hypercalls, so that there are none.
constexpr uint8_t kHypercallCode[] = {0xb8, 0x02, 0, 0, 0, 0x31, 0xd2, 0xc3};

void write_page(Partition& partition, uint64_t msr_value, const void* start, size_t size) {
    std::array<uint8_t, mshv::kHvPageSize> page{};
    if (size != 0) {
        std::memcpy(page.data(), start, size);
    }
    partition.memory().write(msr_value & kPageMask, page.data(), page.size());
}

/// struct ms_hyperv_tsc_page (TLFS 12.7.2): time in 100 ns is tsc * scale / 2^64 + offset.
struct TscPage {
    uint32_t sequence;
    uint32_t reserved;
    uint64_t scale;
    int64_t offset;
};

__extension__ using Wide = unsigned __int128;

void write_tsc_page(Partition& partition, const KvmVcpu& vcpu, uint64_t msr_value) {
    long error = 0;
    const KvmHost* host = kvm_host(error);
    TscPage page{};
    if (host != nullptr && host->tsc_hz > 10'000'000) {
        page.sequence = 1;
        page.scale = static_cast<uint64_t>((Wide{10'000'000} << 64) / host->tsc_hz);
        const uint64_t tsc = get_guest_tsc(partition.properties(), vcpu);
        const uint64_t now = partition.properties().reference_time();
        page.offset =
            static_cast<int64_t>(now - static_cast<uint64_t>(Wide{tsc} * page.scale >> 64));
    }
    write_page(partition, msr_value, &page, sizeof(page));
}

bool set_hypercall(Partition& partition, uint64_t value) {
    Partition::SharedMsrs& msrs = partition.shared_msrs();
    if ((msrs.hypercall.load() & kHypercallLocked) != 0) {
        return true;  // ignored
    }
    if (msrs.guest_os_id.load() == 0) {
        value &= ~kEnabled;  // a guest that did not say what it is gets no page (TLFS 3.13)
    }
    msrs.hypercall.store(value);
    if ((value & kEnabled) != 0) {
        write_page(partition, value, kHypercallCode, sizeof(kHypercallCode));
    }
    return true;
}

/// A page that the hypervisor lays over guest memory: it starts empty.
void set_overlay(Partition& partition, uint64_t& present, uint64_t value) {
    const bool fresh = (value & kEnabled) != 0 &&
                       ((present & kEnabled) == 0 || (present & kPageMask) != (value & kPageMask));
    present = value;
    if (fresh) {
        write_page(partition, value, nullptr, 0);
    }
}

uint64_t* timer_register(SyntheticState& state, uint32_t msr) {
    const uint32_t number = msr - kTimer0;
    return number % 2 == 0 ? &state.timer_configs[number / 2] : &state.timer_counts[number / 2];
}

bool get_synic_msr(SyntheticState& state, uint32_t msr, uint64_t& value) {
    const std::lock_guard lock(state.mutex);
    if (msr >= kSint0 && msr <= kSint15) {
        value = state.sints[msr - kSint0];
        return true;
    }
    if (msr >= kTimer0 && msr <= kTimer3Count) {
        value = *timer_register(state, msr);
        return true;
    }
    if (msr >= kCrashP0 && msr <= kCrashControl) {
        value = state.stored[msr];
        return true;
    }
    switch (msr) {
        case kVpAssistPage:
            value = state.vp_assist;
            return true;
        case kScontrol:
            value = state.scontrol;
            return true;
        case kSversion:
            value = kSynicVersion;
            return true;
        case kSiefp:
            value = state.siefp;
            return true;
        case kSimp:
            value = state.simp;
            return true;
        case kEom:
            value = 0;
            return true;
        default:
            return false;
    }
}

bool set_synic_msr(Partition& partition, SyntheticState& state, uint32_t msr, uint64_t value) {
    const std::lock_guard lock(state.mutex);
    if (msr >= kSint0 && msr <= kSint15) {
        const bool valid = (value & kSintMasked) != 0 || (value & 0xff) >= 16;
        state.sints[msr - kSint0] = valid ? value : state.sints[msr - kSint0];
        return valid;
    }
    if (msr >= kTimer0 && msr <= kTimer3Count) {
        *timer_register(state, msr) = value;
        return true;
    }
    if (msr >= kCrashP0 && msr <= kCrashControl) {
        state.stored[msr] = value;
        return true;
    }
    switch (msr) {
        case kVpAssistPage:
            set_overlay(partition, state.vp_assist, value);
            return true;
        case kScontrol:
            state.scontrol = value;
            return true;
        case kSiefp:
            set_overlay(partition, state.siefp, value);
            return true;
        case kSimp:
            set_overlay(partition, state.simp, value);
            return true;
        case kEom:
            return true;
        default:
            return false;
    }
}

/// The vector to interrupt with; 0 for none.
uint8_t vector_of(const SyntheticState& state, uint32_t sint) {
    const uint64_t value = state.sints[sint];
    return (value & (kSintMasked | kSintPolling)) != 0 ? 0 : static_cast<uint8_t>(value);
}

}  // namespace

bool get_synthetic_msr(Partition& partition, uint32_t vp_index, uint32_t msr, uint64_t& value) {
    switch (msr) {
        case kGuestOsId:
            value = partition.shared_msrs().guest_os_id.load();
            return true;
        case kHypercall:
            value = partition.shared_msrs().hypercall.load();
            return true;
        case kVpIndex:
            value = vp_index;
            return true;
        case kVpRuntime:
        case kTimeRefCount:
            value = partition.properties().reference_time();
            return true;
        case kReferenceTsc:
            value = partition.shared_msrs().reference_tsc.load();
            return true;
        case kTscFrequency: {
            long error = 0;
            const KvmHost* host = kvm_host(error);
            value = host == nullptr ? 0 : host->tsc_hz;
            return true;
        }
        case kApicFrequency:
            value = kApicHz;
            return true;
        default:
            return get_synic_msr(partition.synthetic(vp_index), msr, value);
    }
}

bool set_synthetic_msr(Partition& partition, uint32_t vp_index, const KvmVcpu& vcpu, uint32_t msr,
                       uint64_t value) {
    switch (msr) {
        case kGuestOsId:
            partition.shared_msrs().guest_os_id.store(value);
            return true;
        case kHypercall:
            return set_hypercall(partition, value);
        case kReferenceTsc:
            partition.shared_msrs().reference_tsc.store(value);
            if ((value & kEnabled) != 0) {
                write_tsc_page(partition, vcpu, value);
            }
            return true;
        default:
            return set_synic_msr(partition, partition.synthetic(vp_index), msr, value);
    }
}

HvStatus signal_event(Partition& partition, uint32_t vp_index, uint8_t sint, uint16_t flag,
                      bool& newly_signalled) {
    newly_signalled = false;
    if (vp_index >= mshv::kMaxVps || partition.vp(vp_index) == nullptr) {
        return HvStatus::kInvalidVpIndex;
    }
    if (sint >= kSints || flag >= kEventFlags) {
        return HvStatus::kInvalidParameter;
    }
    SyntheticState& state = partition.synthetic(vp_index);
    uint8_t vector = 0;
    {
        const std::lock_guard lock(state.mutex);
        if ((state.scontrol & state.siefp & kEnabled) == 0) {
            return HvStatus::kInvalidVpState;
        }
        const uint64_t place = (state.siefp & kPageMask) + sint * kSlotSize + flag / 8;
        const auto bit = static_cast<uint8_t>(1U << flag % 8);
        uint8_t byte = 0;
        if (!partition.memory().read(place, &byte, sizeof(byte))) {
            return HvStatus::kInvalidVpState;
        }
        newly_signalled = (byte & bit) == 0;
        byte |= bit;
        partition.memory().write(place, &byte, sizeof(byte));
        vector = vector_of(state, sint);
    }
    return newly_signalled && vector != 0 ? partition.interrupts().deliver(vp_index, vector)
                                          : HvStatus::kSuccess;
}

HvStatus post_message(Partition& partition, uint32_t vp_index, uint32_t sint,
                      const std::array<uint8_t, 256>& message) {
    if (vp_index >= mshv::kMaxVps || partition.vp(vp_index) == nullptr) {
        return HvStatus::kInvalidVpIndex;
    }
    if (sint >= kSints) {
        return HvStatus::kInvalidParameter;
    }
    SyntheticState& state = partition.synthetic(vp_index);
    uint8_t vector = 0;
    {
        const std::lock_guard lock(state.mutex);
        if ((state.scontrol & state.simp & kEnabled) == 0) {
            return HvStatus::kInvalidVpState;
        }
        const uint64_t slot = (state.simp & kPageMask) + sint * kSlotSize;
        uint32_t type = 0;
        if (!partition.memory().read(slot, &type, sizeof(type))) {
            return HvStatus::kInvalidVpState;
        }
        if (type != 0) {
            // The guest is to say EOM when it has emptied the slot.
            partition.memory().write(slot + kMessageFlags, &kMessagePending,
                                     sizeof(kMessagePending));
            return HvStatus::kInsufficientBuffers;
        }
        // The type goes last: it is what the guest looks at.
        partition.memory().write(slot + sizeof(type), message.data() + sizeof(type),
                                 message.size() - sizeof(type));
        partition.memory().write(slot, message.data(), sizeof(type));
        vector = vector_of(state, sint);
    }
    return vector != 0 ? partition.interrupts().deliver(vp_index, vector) : HvStatus::kSuccess;
}

}  // namespace halcyon::emulator
