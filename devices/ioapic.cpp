#include "devices/ioapic.h"

#include <utility>

namespace halcyon {

using namespace ioapic;

namespace {

Delivery delivery_of(uint64_t entry) {
    return static_cast<Delivery>((entry & kDeliveryMask) >> kDeliveryShift);
}

/// Whether the entry can deliver anything at all.
bool is_valid(uint64_t entry) {
    return delivery_of(entry) != Delivery::kReserved3 && delivery_of(entry) != Delivery::kReserved6;
}

bool is_level(uint64_t entry) {
    const Delivery delivery = delivery_of(entry);
    return (entry & kLevel) != 0 &&
           (delivery == Delivery::kFixed || delivery == Delivery::kLowestPriority);
}

IoapicRoute route_of(unsigned pin, uint64_t entry) {
    const uint64_t destination = entry >> kDestinationShift;
    const uint64_t logical = (entry & kLogical) != 0 ? kMessageLogical : 0;
    const uint32_t level = is_level(entry) ? kMessageLevel | kMessageAssert : 0;
    return {pin, kMessageAddress | destination << kMessageDestinationShift | logical,
            static_cast<uint32_t>(entry & (kVectorMask | kDeliveryMask)) | level};
}

}  // namespace

Ioapic::Ioapic(Outputs outputs) : outputs_(std::move(outputs)) {
    for (unsigned pin = 0; pin < kPins; ++pin) {
        inputs_[pin].ioapic = this;
        inputs_[pin].pin = pin;
    }
    state_.entries.fill(kEntryReset);
}

void Ioapic::reset() {
    std::lock_guard lock(mutex_);
    const uint32_t asserted = state_.asserted;
    state_ = State{};
    state_.asserted = asserted;
    state_.entries.fill(kEntryReset);
    publish_routes_locked();
}

void Ioapic::set_input(unsigned pin, bool level) {
    std::lock_guard lock(mutex_);
    const uint32_t mask = 1u << pin;
    const bool was = (state_.asserted & mask) != 0;
    if (was == level) {
        return;
    }
    state_.asserted ^= mask;
    const uint64_t entry = state_.entries[pin];
    if (is_level(entry)) {
        deliver_level_locked(pin);
    } else if (level && (entry & kMasked) == 0) {
        // "Edge-sensitive interrupts signaled on a masked pin are not held pending."
        deliver_locked(pin);
    }
}

void Ioapic::end_of_interrupt(uint8_t vector) {
    std::lock_guard lock(mutex_);
    end_of_interrupt_locked(vector);
}

void Ioapic::read(uint64_t offset, std::span<std::byte> data) {
    std::lock_guard lock(mutex_);
    const uint64_t value = read_register_locked(offset & ~uint64_t{3});
    store_le(data, value >> (8 * (offset & 3)));
}

void Ioapic::write(uint64_t offset, std::span<const std::byte> data) {
    std::lock_guard lock(mutex_);
    const uint64_t value = load_le(data);
    if (offset == kIndex) {
        state_.index = static_cast<uint8_t>(value);
    } else if (offset == kWindow && data.size() >= sizeof(uint32_t)) {
        write_window_locked(static_cast<uint32_t>(value));
    } else if (offset == kEoi) {
        end_of_interrupt_locked(static_cast<uint8_t>(value));
    }
}

uint32_t Ioapic::read_register_locked(uint64_t offset) const {
    if (offset == kIndex) {
        return state_.index;
    }
    return offset == kWindow ? read_window_locked() : 0;
}

uint32_t Ioapic::read_window_locked() const {
    if (state_.index == kId) {
        return state_.id;
    }
    if (state_.index == kVersion) {
        return kVersionValue;
    }
    if (state_.index == kArbitration) {
        return state_.arbitration;
    }
    const unsigned half = state_.index - unsigned{kRedirectionTable};
    if (half >= 2 * kPins) {  // also an index below the table: it wraps around
        return 0;
    }
    const uint64_t entry = state_.entries[half / 2];
    return static_cast<uint32_t>(half % 2 == 0 ? entry : entry >> 32);
}

void Ioapic::write_window_locked(uint32_t value) {
    if (state_.index == kId) {
        state_.id = value & kIdMask;
        state_.arbitration = state_.id;  // "loaded when the IOAPICID register is written"
        return;
    }
    const unsigned half = state_.index - unsigned{kRedirectionTable};
    if (half < 2 * kPins) {
        write_entry_locked(half / 2, half % 2 != 0, value);
    }
}

void Ioapic::write_entry_locked(unsigned pin, bool high, uint32_t value) {
    const unsigned shift = high ? 32 : 0;
    const uint64_t writable = kEntryWritable & uint64_t{0xFFFF'FFFF} << shift;
    uint64_t& entry = state_.entries[pin];
    entry = (entry & ~writable) | (uint64_t{value} << shift & writable);
    if (!is_level(entry)) {
        // Remote IRR has no meaning here. Guests without the EOI register make an entry edge
        // triggered for a moment to clear it.
        entry &= ~kRemoteIrr;
    }
    publish_routes_locked();
    deliver_level_locked(pin);
}

void Ioapic::end_of_interrupt_locked(uint8_t vector) {
    uint32_t ended = 0;
    for (unsigned pin = 0; pin < kPins; ++pin) {
        uint64_t& entry = state_.entries[pin];
        if ((entry & kRemoteIrr) != 0 && (entry & kVectorMask) == vector) {
            entry &= ~kRemoteIrr;
            ended |= 1u << pin;
        }
    }
    if (ended == 0) {
        return;
    }
    publish_routes_locked();
    for (unsigned pin = 0; pin < kPins; ++pin) {
        if ((ended & 1u << pin) != 0) {
            deliver_level_locked(pin);
        }
    }
}

/// Delivers a level-triggered entry that is asserted, not masked and not in service.
void Ioapic::deliver_level_locked(unsigned pin) {
    uint64_t& entry = state_.entries[pin];
    const bool asserted = (state_.asserted & 1u << pin) != 0;
    if (is_level(entry) && asserted && (entry & (kMasked | kRemoteIrr)) == 0) {
        entry |= kRemoteIrr;
        deliver_locked(pin);
    }
}

void Ioapic::deliver_locked(unsigned pin) {
    const uint64_t entry = state_.entries[pin];
    if (is_valid(entry)) {
        const IoapicRoute route = route_of(pin, entry);
        outputs_.deliver(route.address, route.data);
    }
}

void Ioapic::publish_routes_locked() {
    std::vector<IoapicRoute> routes;
    for (unsigned pin = 0; pin < kPins; ++pin) {
        const uint64_t entry = state_.entries[pin];
        if (is_valid(entry) && ((entry & kMasked) == 0 || (entry & kRemoteIrr) != 0)) {
            routes.push_back(route_of(pin, entry));
        }
    }
    if (routes != routes_) {
        routes_ = std::move(routes);
        outputs_.routes_changed(routes_);
    }
}

}  // namespace halcyon
