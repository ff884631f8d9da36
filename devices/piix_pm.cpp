#include "devices/piix_pm.h"

#include <utility>

namespace halcyon {

using namespace piix;

namespace {

constexpr uint32_t kAllBits = 0xFFFF'FFFF;
/// Base registers of port space have bit 0 set, read-only (PCI 3.0, 6.2.5.1).
constexpr uint32_t kPortSpace = 1;

}  // namespace

Piix4Pm::Piix4Pm(const Options& options, PmIoChanged pm_io_changed)
    : PciFunction("piix4-pm", {.vendor = pci::kVendorIntel,
                               .device = kPmDeviceId,
                               .revision = kPmRevision,
                               .class_code = kPmClassCode,
                               .interrupt_pin = 1}),
      pm_io_changed_(std::move(pm_io_changed)) {
    define(pci::kStatus, 2, pci::kStatusFastBackToBack | pci::kStatusMediumTiming, 0);
    define(pci::kInterruptLine, 1, kPmInterrupt, 0xFF);

    define(kPmBase, 4, kPortSpace, kPmBaseMask);
    for (unsigned offset = kPmRegistersBegin; offset < kPmRegistersEnd; offset += 4) {
        define(offset, 4, 0, kAllBits);
    }
    define(kDeviceActivityB, 4, options.smm ? 0 : kApmcEnable, kAllBits);
    define(kDeviceResourceA, 4, kKeyboardEnable | (options.parallel ? kParallelEnable : 0),
           kAllBits);
    define(kDeviceResourceB, 4, kMicrocontrollerEnable, kAllBits);
    define(kDeviceResourceC, 4,
           (options.serial_a ? kSerialAEnable : 0) | (options.serial_b ? kSerialBEnable : 0),
           kAllBits);
    define(kPmMisc, 1, 0, kPmIoEnable);

    define(kSmbusBase, 4, kPortSpace, kSmbusBaseMask);
    define(kSmbusHostConfig, 1, 0, 0x0F);
    define(kSmbusSlaveCommand, 1, 0, 0xFF);
    define(kSmbusShadow, 2, 0, 0xFFFF);
}

void Piix4Pm::on_config_written(size_t /*offset*/, size_t /*size*/) {
    report_pm_io();
}

void Piix4Pm::on_reset() {
    report_pm_io();
}

void Piix4Pm::report_pm_io() {
    const auto base = static_cast<uint16_t>(get(kPmBase, 4) & kPmBaseMask);
    const bool enabled = (get(kPmMisc, 1) & kPmIoEnable) != 0;
    const bool moved = std::exchange(base_, base) != base;
    const bool switched = std::exchange(enabled_, enabled) != enabled;
    if ((moved || switched) && pm_io_changed_) {
        pm_io_changed_(base, enabled);
    }
}

}  // namespace halcyon
