#include "devices/pci_function.h"

#include <cassert>
#include <limits>
#include <utility>

namespace halcyon {

using namespace pci;

PciFunction::PciFunction(std::string name, const PciIdentity& identity) : name_(std::move(name)) {
    define(kVendorId, 2, identity.vendor, 0);
    define(kDeviceId, 2, identity.device, 0);
    define(kRevision, 1, identity.revision, 0);
    define(kClassCode, 1, identity.class_code & 0xFF, 0);
    define(kClassCode + 1, 2, identity.class_code >> 8, 0);
    define(kSubsystemVendorId, 2, identity.subsystem_vendor, 0);
    define(kSubsystemId, 2, identity.subsystem, 0);
    define(kCommand, 2, 0,
           kCommandIo | kCommandMemory | kCommandMaster | kCommandParity | kCommandSystemError |
               kCommandInterruptDisable);
    define_write_one_to_clear(kStatus, 2, kStatusWriteOneToClear);
    define(kCacheLineSize, 1, 0, 0xFF);
    define(kLatencyTimer, 1, 0, 0xFF);
    define(kInterruptPin, 1, identity.interrupt_pin, 0);
    define(kInterruptLine, 1, 0, identity.interrupt_pin == 0 ? 0 : 0xFF);
}

void PciFunction::read_config(size_t offset, std::span<std::byte> data) {
    const std::lock_guard lock(mutex_);
    for (std::byte& byte : data) {
        byte = static_cast<std::byte>(state_.config[offset++]);
    }
}

void PciFunction::write_config(size_t offset, std::span<const std::byte> data) {
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < data.size(); ++i) {
        const size_t at = offset + i;
        const auto value = std::to_integer<uint8_t>(data[i]);
        uint8_t& config = state_.config[at];
        config = static_cast<uint8_t>((config & ~writable_[at]) | (value & writable_[at]));
        config = static_cast<uint8_t>(config & ~(value & write_one_to_clear_[at]));
    }
    on_config_written(offset, data.size());
    update_bars();
    update_interrupt();
}

void PciFunction::reset() {
    const std::lock_guard lock(mutex_);
    state_.config = initial_;
    state_.interrupt_asserted = false;
    on_reset();
    update_bars();
    update_interrupt();
}

void PciFunction::attach(unsigned device, PciInterruptSink& sink) {
    const std::lock_guard lock(mutex_);
    device_ = device;
    sink_ = &sink;
}

void PciFunction::set_multi_function() {
    const std::lock_guard lock(mutex_);
    initial_[kHeaderType] |= kHeaderMultiFunction;
    state_.config[kHeaderType] |= kHeaderMultiFunction;
}

void PciFunction::define(size_t offset, size_t size, uint32_t value, uint32_t writable) {
    assert(offset + size <= kConfigSize);
    for (size_t i = 0; i < size; ++i) {
        initial_[offset + i] = static_cast<uint8_t>(value >> (8 * i));
        state_.config[offset + i] = initial_[offset + i];
        writable_[offset + i] = static_cast<uint8_t>(writable >> (8 * i));
    }
}

void PciFunction::define_write_one_to_clear(size_t offset, size_t size, uint32_t bits) {
    assert(offset + size <= kConfigSize);
    for (size_t i = 0; i < size; ++i) {
        write_one_to_clear_[offset + i] = static_cast<uint8_t>(bits >> (8 * i));
        writable_[offset + i] &= static_cast<uint8_t>(~write_one_to_clear_[offset + i]);
    }
}

void PciFunction::define_bar(unsigned index, const PciBar& bar) {
    const bool wide = bar.kind == PciBar::Kind::kMemory64;
    assert(index + (wide ? 2 : 1) <= kBarCount);
    assert((bar.size & (bar.size - 1)) == 0);
    bars_[index] = bar;
    uint32_t type = bar.prefetchable ? kBarPrefetchable : 0;
    if (bar.kind == PciBar::Kind::kIo) {
        type = kBarIo;
    } else if (wide) {
        type |= kBarMemory64;
    }
    // 6.2.5.1: the bits below the size read as zero, or as the type.
    const uint64_t mask = ~(bar.size - 1);
    define(kFirstBar + 4 * index, 4, type, static_cast<uint32_t>(mask));
    if (wide) {
        define(kFirstBar + 4 * index + 4, 4, 0, static_cast<uint32_t>(mask >> 32));
    }
}

size_t PciFunction::define_capability(uint8_t id, size_t size) {
    const size_t offset = capabilities_end_;
    capabilities_end_ += (size + 3) & ~size_t{3};  // 6.7: dword aligned
    assert(capabilities_end_ <= kConfigSize);
    const size_t link = last_capability_ == 0 ? kCapabilities : last_capability_ + 1;
    define(link, 1, static_cast<uint32_t>(offset), 0);
    define(offset, 1, id, 0);
    define(kStatus, 1, initial_[kStatus] | kStatusCapabilities, writable_[kStatus]);
    last_capability_ = offset;
    return offset;
}

uint32_t PciFunction::get(size_t offset, size_t size) const {
    uint32_t value = 0;
    for (size_t i = 0; i < size; ++i) {
        value |= static_cast<uint32_t>(state_.config[offset + i]) << (8 * i);
    }
    return value;
}

void PciFunction::put(size_t offset, size_t size, uint32_t value) {
    for (size_t i = 0; i < size; ++i) {
        state_.config[offset + i] = static_cast<uint8_t>(value >> (8 * i));
    }
}

void PciFunction::set_interrupt_locked(bool asserted) {
    state_.interrupt_asserted = asserted;
    update_interrupt();
}

void PciFunction::on_config_written(size_t /*offset*/, size_t /*size*/) {}

void PciFunction::on_bar_changed(unsigned /*index*/, std::optional<uint64_t> /*address*/) {}

void PciFunction::on_reset() {}

std::vector<PciRegion> PciFunction::regions() {
    const std::lock_guard lock(mutex_);
    std::vector<PciRegion> regions;
    for (unsigned index = 0; index < bars_.size(); ++index) {
        if (bars_[index]) {
            regions.push_back({index, *bars_[index], mapped_[index]});
        }
    }
    return regions;
}

/// Where a BAR decodes: nowhere while the command register disables its space, at address 0 (its
/// power-on value), and while firmware sizes it, which shows as a window that ends at the top of
/// the space.
std::optional<uint64_t> PciFunction::bar_address(unsigned index) const {
    const PciBar& bar = *bars_[index];
    const bool io = bar.kind == PciBar::Kind::kIo;
    if ((get(kCommand, 2) & (io ? kCommandIo : kCommandMemory)) == 0) {
        return std::nullopt;
    }
    uint64_t address = get(kFirstBar + 4 * index, 4);
    uint64_t limit = io ? 0xFFFF : 0xFFFF'FFFF;
    if (bar.kind == PciBar::Kind::kMemory64) {
        address |= static_cast<uint64_t>(get(kFirstBar + 4 * index + 4, 4)) << 32;
        limit = std::numeric_limits<uint64_t>::max();
    }
    address &= ~(bar.size - 1);
    if (address == 0 || address > limit || bar.size - 1 >= limit - address) {
        return std::nullopt;
    }
    return address;
}

void PciFunction::update_bars() {
    for (unsigned index = 0; index < kBarCount; ++index) {
        if (!bars_[index]) {
            continue;
        }
        const auto address = bar_address(index);
        if (address != mapped_[index]) {
            mapped_[index] = address;
            on_bar_changed(index, address);
        }
    }
}

void PciFunction::update_interrupt() {
    const uint8_t pin = state_.config[kInterruptPin];
    // 6.2.3, bit 3: the status shows the device's wish whether or not it is gated.
    const uint32_t status = get(kStatus, 2) & ~uint32_t{kStatusInterrupt};
    put(kStatus, 2, status | (state_.interrupt_asserted ? kStatusInterrupt : 0));
    const bool level =
        state_.interrupt_asserted && (get(kCommand, 2) & kCommandInterruptDisable) == 0;
    if (level != interrupt_level_ && sink_ != nullptr && pin != 0) {
        interrupt_level_ = level;
        sink_->set_interrupt(device_, pin - 1U, level);
    }
}

}  // namespace halcyon
