#include "devices/piix_isa_bridge.h"

#include <utility>

namespace halcyon {

using namespace piix;

Piix3IsaBridge::Piix3IsaBridge(Outputs outputs)
    : PciFunction(
          "piix3",
          {.vendor = pci::kVendorIntel, .device = kIsaDeviceId, .class_code = kIsaClassCode}),
      outputs_(std::move(outputs)),
      reset_port_(
          "piix-reset-control", [this](uint64_t) { return read_reset_control(); },
          [this](uint64_t, uint8_t value) { write_reset_control(value); }) {
    // 2.2.3: I/O, memory and master are hardwired on.
    define(pci::kCommand, 2, pci::kCommandIo | pci::kCommandMemory | pci::kCommandMaster,
           pci::kCommandSpecialCycles | pci::kCommandSystemError);
    define(pci::kStatus, 2, pci::kStatusMediumTiming, 0);
    define(pci::kCacheLineSize, 1, 0, 0);
    define(pci::kLatencyTimer, 1, 0, 0);

    define(kIoRecoveryTimer, 1, 0x4D, 0xFF);
    define(kXBusChipSelect, 2, 0x0003, 0x01FF);
    for (unsigned line = 0; line < pci::kInterruptCount; ++line) {
        define(kPirqRoute + line, 1, kPirqDisabled, kPirqDisabled | kPirqIrqMask);
    }
    define(kTopOfMemory, 1, 0x02, 0xFE);
    define(kMiscStatus, 2, 0, 0x00FF);
    define_write_one_to_clear(kMiscStatus, 2, 0x8000);
    define(kMotherboardIrq, 1, 0x80, 0xEF);
    define(kMotherboardDma, 1, 0x0C, 0x8F);
    define(kMotherboardDma + 1, 1, 0x0C, 0x8F);
    define(kChipSelect, 2, 0x0002, 0xFFFF);
    define(kApicBase, 1, 0, 0x7F);
    define(kLatencyControl, 1, 0, 0x0F);
    define(kSmiControl, 1, 0x08, 0x1F);
    define(kSmiEnable, 2, 0, 0x00FF);
    define(kEventEnable, 4, 0, 0xFFFFFFFF);
    define(kFastOffTimer, 1, 0x0F, 0xFF);
    define(kSmiRequest, 2, 0, 0x00FF);
    define(kClockLow, 1, 0, 0xFF);
    define(kClockHigh, 1, 0, 0xFF);
}

void Piix3IsaBridge::set_pirq(unsigned line, bool level) {
    const std::lock_guard lock(mutex());
    state_.pirq.at(line) = level;
    update_interrupts();
}

void Piix3IsaBridge::on_config_written(size_t /*offset*/, size_t /*size*/) {
    update_interrupts();
}

void Piix3IsaBridge::on_reset() {
    // The PIRQ levels are inputs: whoever drives them has its own reset.
    state_.reset_control = 0;
    update_interrupts();
}

/// An ISA interrupt is high while any line routed to it is.
void Piix3IsaBridge::update_interrupts() {
    uint16_t levels = 0;
    for (unsigned line = 0; line < pci::kInterruptCount; ++line) {
        const uint32_t route = get(kPirqRoute + line, 1);
        if (state_.pirq[line] && (route & kPirqDisabled) == 0) {
            levels |= static_cast<uint16_t>(1U << (route & kPirqIrqMask));
        }
    }
    levels &= kPirqRoutable;
    const unsigned changed = levels ^ std::exchange(isa_levels_, levels);
    for (unsigned irq = 0; irq < kIsaIrqCount; ++irq) {
        if ((changed >> irq & 1) != 0 && outputs_.isa_interrupt) {
            outputs_.isa_interrupt(irq, (levels >> irq & 1) != 0);
        }
    }
}

uint8_t Piix3IsaBridge::read_reset_control() {
    const std::lock_guard lock(mutex());
    return state_.reset_control;
}

void Piix3IsaBridge::write_reset_control(uint8_t value) {
    const std::lock_guard lock(mutex());
    const uint8_t before = std::exchange(state_.reset_control, value & kResetMask);
    if ((before & kResetTrigger) == 0 && (value & kResetTrigger) != 0 && outputs_.reset_requested) {
        outputs_.reset_requested((value & kResetHard) != 0);
    }
}

}  // namespace halcyon
