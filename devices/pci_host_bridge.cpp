#include "devices/pci_host_bridge.h"

#include <utility>

namespace halcyon {

using namespace pci_host_bridge;

I440fxHostBridge::I440fxHostBridge(Outputs outputs)
    : PciFunction("i440fx", {.vendor = pci::kVendorIntel,
                             .device = kDeviceId,
                             .revision = kRevision,
                             .class_code = kClassCode}),
      outputs_(std::move(outputs)) {
    // 3.2.3: memory and master are hardwired on, I/O off. 3.2.4: fast back-to-back, medium timing.
    define(pci::kCommand, 2, pci::kCommandMemory | pci::kCommandMaster,
           pci::kCommandParity | pci::kCommandSystemError);
    define(pci::kStatus, 2, pci::kStatusFastBackToBack | pci::kStatusMediumTiming, 0);
    define(pci::kCacheLineSize, 1, 0, 0);
    define(pci::kLatencyTimer, 1, 0, 0xF8);

    define(kConfiguration, 2, 0, 0xC27C);
    define(kDeturbo, 1, 0, 0xFF);
    define(kBufferControl, 1, 0x80, 0xFF);
    define(kAuxiliaryControl, 1, 0, 0xFF);
    define(kDramRowType, 2, 0, 0xFFFF);
    define(kDramControl, 1, 0x01, 0xFF);
    define(kDramTiming, 1, 0, 0xFF);
    define(kPam, 1, 0, kPam0Mask);
    for (uint8_t i = 1; i < kPamCount; ++i) {
        define(kPam + i, 1, 0, kPamMask);
    }
    for (uint8_t i = 0; i < kDramRowBoundaryCount; ++i) {
        define(kDramRowBoundary + i, 1, 0x01, 0xFF);
    }
    define(kDramHole, 1, 0, 0xFF);
    define(kMultiTransaction, 1, 0x20, 0xFF);
    define(kCpuLatency, 1, 0x10, 0xFF);
    define(kSmram, 1, kSmramBase, kSmramOpen | kSmramClosed | kSmramLocked | kSmramEnabled);
    define(kErrorCommand, 1, 0, 0xFF);
    define_write_one_to_clear(kErrorStatus, 1, 0x11);
    define(kTurboReset, 1, 0, 0x0A);  // RCPU, which would reset the CPU alone, is PIIX's RCR's task
}

PamMode I440fxHostBridge::pam_mode(unsigned segment) {
    const std::lock_guard lock(mutex());
    return decode_pam(segment);
}

void I440fxHostBridge::on_config_written(size_t /*offset*/, size_t /*size*/) {
    enforce_smram_lock();
    report_changes();
}

void I440fxHostBridge::on_reset() {
    smram_ = static_cast<uint8_t>(get(kSmram, 1));
    report_changes();
}

PamMode I440fxHostBridge::decode_pam(unsigned segment) const {
    // PAM0's upper nibble, then two segments a register, the lower nibble first.
    const unsigned pam = get(kPam + (segment + 1) / 2, 1);
    const unsigned attributes = segment % 2 == 0 ? pam >> 4 : pam;
    return {(attributes & kPamReadEnable) != 0, (attributes & kPamWriteEnable) != 0};
}

/// 3.2.22, DLCK: once set, it stays until a reset, and DOPEN is clear and read-only.
void I440fxHostBridge::enforce_smram_lock() {
    smram_ = static_cast<uint8_t>(get(kSmram, 1) | (smram_ & kSmramLocked));
    if ((smram_ & kSmramLocked) != 0) {
        smram_ &= static_cast<uint8_t>(~kSmramOpen);
    }
    put(kSmram, 1, smram_);
}

void I440fxHostBridge::report_changes() {
    for (unsigned segment = 0; segment < kSegmentCount; ++segment) {
        const PamMode mode = decode_pam(segment);
        if (std::exchange(pam_[segment], mode) != mode && outputs_.pam_changed) {
            outputs_.pam_changed(segment, mode);
        }
    }
    const bool enabled = (smram_ & kSmramEnabled) != 0;
    const SmramMode mode{enabled && (smram_ & kSmramOpen) != 0, enabled};
    if (std::exchange(smram_mode_, mode) != mode && outputs_.smram_changed) {
        outputs_.smram_changed(mode);
    }
}

}  // namespace halcyon
