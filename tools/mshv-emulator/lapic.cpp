#include "tools/mshv-emulator/lapic.h"

#include <cstddef>
#include <cstring>

namespace halcyon::emulator {

namespace {

using mshv::LapicState;

// Registers of the local APIC, as offsets in its page (Intel SDM 3A table 11-1).
constexpr size_t kId = 0x20;
constexpr size_t kVersion = 0x30;
constexpr size_t kLogicalDestination = 0xd0;
constexpr size_t kDestinationFormat = 0xe0;
constexpr size_t kSpurious = 0xf0;
constexpr size_t kInService = 0x100;
constexpr size_t kTriggerMode = 0x180;
constexpr size_t kRequested = 0x200;
constexpr size_t kErrorStatus = 0x280;
constexpr size_t kLvtCmci = 0x2f0;
constexpr size_t kCommandLow = 0x300;
constexpr size_t kCommandHigh = 0x310;
constexpr size_t kLvtTimer = 0x320;
constexpr size_t kLvtThermal = 0x330;
constexpr size_t kLvtPerformance = 0x340;
constexpr size_t kLvtLint0 = 0x350;
constexpr size_t kLvtLint1 = 0x360;
constexpr size_t kLvtError = 0x370;
constexpr size_t kInitialCount = 0x380;
constexpr size_t kCurrentCount = 0x390;
constexpr size_t kDivide = 0x3e0;

/// Version 14h with six LVT entries; KVM puts in its own.
constexpr uint32_t kVersionValue = 0x50014;

/// The registers that both layouts have as they are.
struct Pair {
    size_t kvm;
    uint32_t LapicState::*hv;
};
constexpr Pair kPairs[] = {
    {kLogicalDestination, &LapicState::logical_destination},
    {kDestinationFormat, &LapicState::destination_format},
    {kSpurious, &LapicState::spurious_vector},
    {kErrorStatus, &LapicState::esr},
    {kCommandHigh, &LapicState::icr_high},
    {kCommandLow, &LapicState::icr_low},
    {kLvtTimer, &LapicState::lvt_timer},
    {kLvtThermal, &LapicState::lvt_thermal},
    {kLvtPerformance, &LapicState::lvt_performance},
    {kLvtLint0, &LapicState::lvt_lint0},
    {kLvtLint1, &LapicState::lvt_lint1},
    {kLvtError, &LapicState::lvt_error},
    {kLvtCmci, &LapicState::lvt_cmci},
    {kInitialCount, &LapicState::initial_count},
    {kCurrentCount, &LapicState::current_count},
    {kDivide, &LapicState::divide_configuration},
};

struct BitmapPair {
    size_t kvm;
    uint32_t (LapicState::*hv)[8];
};
constexpr BitmapPair kBitmaps[] = {
    {kInService, &LapicState::isr},
    {kTriggerMode, &LapicState::tmr},
    {kRequested, &LapicState::irr},
};

uint32_t get(const kvm_lapic_state& state, size_t offset) {
    uint32_t value = 0;
    std::memcpy(&value, state.regs + offset, sizeof(value));
    return value;
}

void put(kvm_lapic_state& state, size_t offset, uint32_t value) {
    std::memcpy(state.regs + offset, &value, sizeof(value));
}

}  // namespace

mshv::LapicState to_hv_lapic(const kvm_lapic_state& state, bool x2apic) {
    LapicState lapic{};
    lapic.apic_id = x2apic ? get(state, kId) : get(state, kId) >> 24;
    lapic.version = get(state, kVersion);
    for (const Pair& pair : kPairs) {
        lapic.*pair.hv = get(state, pair.kvm);
    }
    for (const BitmapPair& pair : kBitmaps) {
        for (size_t i = 0; i < 8; ++i) {
            (lapic.*pair.hv)[i] = get(state, pair.kvm + i * 0x10);
        }
    }
    lapic.error_status = lapic.esr;
    return lapic;
}

void update_kvm_lapic(const mshv::LapicState& lapic, bool x2apic, kvm_lapic_state& state) {
    put(state, kId, x2apic ? lapic.apic_id : lapic.apic_id << 24);
    for (const Pair& pair : kPairs) {
        put(state, pair.kvm, lapic.*pair.hv);
    }
    for (const BitmapPair& pair : kBitmaps) {
        for (size_t i = 0; i < 8; ++i) {
            put(state, pair.kvm + i * 0x10, (lapic.*pair.hv)[i]);
        }
    }
}

kvm_lapic_state reset_lapic(uint32_t apic_id) {
    kvm_lapic_state state{};
    put(state, kId, apic_id << 24);
    put(state, kVersion, kVersionValue);
    put(state, kDestinationFormat, 0xffffffff);
    put(state, kSpurious, 0xff);
    for (size_t offset = kLvtTimer; offset <= kLvtError; offset += 0x10) {
        put(state, offset, kLvtMasked);
    }
    put(state, kLvtCmci, kLvtMasked);
    return state;
}

uint32_t local_interrupt_entry(const KvmVcpu& vcpu, unsigned pin) {
    kvm_lapic_state state{};
    if (vcpu.ioctl(KVM_GET_LAPIC, &state) < 0) {
        return kLvtMasked;
    }
    return get(state, pin == 0 ? kLvtLint0 : kLvtLint1);
}

}  // namespace halcyon::emulator
