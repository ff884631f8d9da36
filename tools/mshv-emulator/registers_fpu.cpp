/// The part of RegisterAccess for x87, SSE and debug registers.
#include <cstring>

#include "tools/mshv-emulator/partition.h"
#include "tools/mshv-emulator/registers.h"

namespace halcyon::emulator {

namespace {

using mshv::HvStatus;
using mshv::RegisterName;
using mshv::RegisterValue;

constexpr uint32_t number(RegisterName name) {
    return static_cast<uint32_t>(name);
}

// The legacy area of XSAVE (Intel SDM 1 table 10-2) and its header.
constexpr size_t kFcw = 0;
constexpr size_t kFsw = 2;
constexpr size_t kFtw = 4;
constexpr size_t kFop = 6;
constexpr size_t kFip = 8;
constexpr size_t kFdp = 16;
constexpr size_t kMxcsr = 24;
constexpr size_t kMxcsrMask = 28;
constexpr size_t kSt0 = 32;
constexpr size_t kXmm0 = 160;
constexpr size_t kXstateBv = 512;
/// x87 and SSE are present, so that what is written counts.
constexpr uint64_t kLegacyStates = 3;

constexpr unsigned kXmmCount = 16;
constexpr unsigned kStCount = 8;
/// Of an 80-bit register's 16 bytes.
constexpr size_t kStBytes = 10;

template <typename T>
T load(const std::vector<uint8_t>& area, size_t offset) {
    T value{};
    std::memcpy(&value, area.data() + offset, sizeof(value));
    return value;
}

template <typename T>
void store(std::vector<uint8_t>& area, size_t offset, T value) {
    std::memcpy(area.data() + offset, &value, sizeof(value));
}

bool is_fpu(uint32_t name) {
    return name >= number(RegisterName::kXmm0) && name <= number(RegisterName::kXmmControlStatus);
}

RegisterValue get_control_status(const std::vector<uint8_t>& area) {
    return {load<uint16_t>(area, kFcw) | static_cast<uint64_t>(load<uint16_t>(area, kFsw)) << 16 |
                static_cast<uint64_t>(load<uint8_t>(area, kFtw)) << 32 |
                static_cast<uint64_t>(load<uint16_t>(area, kFop)) << 48,
            load<uint64_t>(area, kFip)};
}

void put_control_status(std::vector<uint8_t>& area, const RegisterValue& value) {
    store(area, kFcw, static_cast<uint16_t>(value.low));
    store(area, kFsw, static_cast<uint16_t>(value.low >> 16));
    store(area, kFtw, static_cast<uint8_t>(value.low >> 32));
    store(area, kFop, static_cast<uint16_t>(value.low >> 48));
    store(area, kFip, value.high);
}

__u64* debug_register(kvm_debugregs& state, uint32_t name) {
    if (name >= number(RegisterName::kDr0) && name < number(RegisterName::kDr0) + 4) {
        return &state.db[name - number(RegisterName::kDr0)];
    }
    if (name == number(RegisterName::kDr6)) {
        return &state.dr6;
    }
    return name == number(RegisterName::kDr7) ? &state.dr7 : nullptr;
}

}  // namespace

std::vector<uint8_t>* RegisterAccess::xsave() {
    if (!xsave_) {
        std::vector<uint8_t> area;
        if (vcpu_.get_xsave(area) < 0) {
            return nullptr;
        }
        xsave_ = std::move(area);
    }
    return &*xsave_;
}

RegisterAccess::Status RegisterAccess::get_fpu(uint32_t name, RegisterValue& value) {
    if (!is_fpu(name)) {
        return std::nullopt;
    }
    const std::vector<uint8_t>* area = xsave();
    if (area == nullptr) {
        return HvStatus::kOperationFailed;
    }
    const uint32_t xmm = name - number(RegisterName::kXmm0);
    const uint32_t st = name - number(RegisterName::kFpMmx0);
    if (xmm < kXmmCount) {
        value = load<RegisterValue>(*area, kXmm0 + xmm * sizeof(RegisterValue));
    } else if (st < kStCount) {
        std::memcpy(&value, area->data() + kSt0 + st * sizeof(RegisterValue), kStBytes);
    } else if (name == number(RegisterName::kFpControlStatus)) {
        value = get_control_status(*area);
    } else {
        value = {load<uint64_t>(*area, kFdp),
                 load<uint32_t>(*area, kMxcsr) |
                     static_cast<uint64_t>(load<uint32_t>(*area, kMxcsrMask)) << 32};
    }
    return HvStatus::kSuccess;
}

RegisterAccess::Status RegisterAccess::set_fpu(uint32_t name, const RegisterValue& value) {
    if (!is_fpu(name)) {
        return std::nullopt;
    }
    std::vector<uint8_t>* area = xsave();
    if (area == nullptr) {
        return HvStatus::kOperationFailed;
    }
    const uint32_t xmm = name - number(RegisterName::kXmm0);
    const uint32_t st = name - number(RegisterName::kFpMmx0);
    if (xmm < kXmmCount) {
        store(*area, kXmm0 + xmm * sizeof(value), value);
    } else if (st < kStCount) {
        std::memcpy(area->data() + kSt0 + st * sizeof(value), &value, kStBytes);
    } else if (name == number(RegisterName::kFpControlStatus)) {
        put_control_status(*area, value);
    } else {
        const uint32_t mask = load<uint32_t>(*area, kMxcsrMask);
        const auto mxcsr = static_cast<uint32_t>(value.high);
        if ((mxcsr & ~(mask != 0 ? mask : 0xffffU)) != 0) {
            return HvStatus::kInvalidRegisterValue;
        }
        store(*area, kFdp, value.low);
        store(*area, kMxcsr, mxcsr);
    }
    store(*area, kXstateBv, load<uint64_t>(*area, kXstateBv) | kLegacyStates);
    xsave_dirty_ = true;
    return HvStatus::kSuccess;
}

// ---- Debug registers ---------------------------------------------------------------------------

kvm_debugregs* RegisterAccess::debugregs() {
    if (!debugregs_) {
        kvm_debugregs fresh{};
        if (vcpu_.ioctl(KVM_GET_DEBUGREGS, &fresh) < 0) {
            return nullptr;
        }
        debugregs_ = fresh;
    }
    return &*debugregs_;
}

RegisterAccess::Status RegisterAccess::get_debug(uint32_t name, RegisterValue& value) {
    kvm_debugregs probe{};
    if (debug_register(probe, name) == nullptr) {
        return std::nullopt;
    }
    kvm_debugregs* state = debugregs();
    if (state == nullptr) {
        return HvStatus::kOperationFailed;
    }
    value.low = *debug_register(*state, name);
    return HvStatus::kSuccess;
}

RegisterAccess::Status RegisterAccess::set_debug(uint32_t name, const RegisterValue& value) {
    kvm_debugregs probe{};
    if (debug_register(probe, name) == nullptr) {
        return std::nullopt;
    }
    kvm_debugregs* state = debugregs();
    if (state == nullptr) {
        return HvStatus::kOperationFailed;
    }
    const bool is_control =
        name == number(RegisterName::kDr6) || name == number(RegisterName::kDr7);
    if (is_control && value.low >> 32 != 0) {
        return HvStatus::kInvalidRegisterValue;  // #GP (Intel SDM 3B 17.2.6)
    }
    *debug_register(*state, name) = value.low;
    debugregs_dirty_ = true;
    return HvStatus::kSuccess;
}

long update_guest_debug(Partition& partition, const KvmVcpu& vcpu) {
    constexpr uint32_t kDebug = 1U << 1;
    constexpr uint32_t kBreakpoint = 1U << 3;
    const uint32_t wanted = partition.intercepted_exceptions();
    kvm_guest_debug debug{};
    if (wanted != 0) {
        debug.control = KVM_GUESTDBG_ENABLE;
    }
    if ((wanted & kBreakpoint) != 0) {
        debug.control |= KVM_GUESTDBG_USE_SW_BP;
    }
    if ((wanted & kDebug) != 0) {
        // With this flag every #DB exits, single steps too, but the breakpoints are those given
        // here: the guest's.
        debug.control |= KVM_GUESTDBG_USE_HW_BP;
        kvm_debugregs own{};
        if (const long result = vcpu.ioctl(KVM_GET_DEBUGREGS, &own); result < 0) {
            return result;
        }
        for (size_t i = 0; i < 4; ++i) {
            debug.arch.debugreg[i] = own.db[i];
        }
        debug.arch.debugreg[7] = own.dr7;
    }
    return vcpu.ioctl(KVM_SET_GUEST_DEBUG, &debug);
}

}  // namespace halcyon::emulator
