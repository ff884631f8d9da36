// SoftVcpu: what the interpreter asks of its surroundings: devices, the local APIC, MSRs, time.
#include <array>
#include <cstring>
#include <optional>

#include "accel/soft/soft_partition.h"
#include "accel/soft/soft_vcpu.h"

namespace halcyon {

namespace {

constexpr uint32_t kMsrTimeStamp = 0x10;
constexpr uint32_t kMsrApicBase = 0x1b;

}  // namespace

void SoftVcpu::leave_guest() {
    counters_.guest_time.leave();
    partition_.token().leave_guest(slot_);
}

void SoftVcpu::enter_guest() {
    partition_.token().enter_guest(slot_);
    counters_.entries.increment();
    counters_.guest_time.enter();
}

uint32_t SoftVcpu::pio_read(uint16_t port, unsigned size) {
    uint32_t value = 0;
    counters_.pio_exits.increment();
    leave_guest();
    io_.pio_read(PioPort(port), std::as_writable_bytes(std::span(&value, 1)).first(size));
    enter_guest();
    return value;
}

void SoftVcpu::pio_write(uint16_t port, unsigned size, uint32_t value) {
    counters_.pio_exits.increment();
    leave_guest();
    io_.pio_write(PioPort(port), std::as_bytes(std::span(&value, 1)).first(size));
    enter_guest();
}

uint32_t SoftVcpu::mmio_read(uint32_t address, unsigned size) {
    if (partition_.has_local_apics() && apic_.claims(address)) {
        const Lock lock = partition_.token().lock();
        const int64_t now = partition_.clock().now();
        apic_.poll_timer(now);
        return apic_.read(address & 0xfff, size, now);
    }
    uint32_t value = 0;
    counters_.mmio_exits.increment();
    leave_guest();
    io_.mmio_read(Gpa(address), std::as_writable_bytes(std::span(&value, 1)).first(size));
    enter_guest();
    return value;
}

void SoftVcpu::mmio_write(uint32_t address, unsigned size, uint32_t value) {
    if (partition_.has_local_apics() && apic_.claims(address)) {
        Lock lock = partition_.token().lock();
        const int64_t now = partition_.clock().now();
        apic_.poll_timer(now);
        apply(lock, apic_.write(address & 0xfff, size, value, now));
        return;
    }
    counters_.mmio_exits.increment();
    leave_guest();
    io_.mmio_write(Gpa(address), std::as_bytes(std::span(&value, 1)).first(size));
    enter_guest();
}

/// What a write to the local APIC entails. The processor then looks for interrupts anew: the
/// priority may have changed.
void SoftVcpu::apply(Lock& lock, const SoftLocalApic::Effects& effects) {
    if (effects.command) {
        partition_.send(*this, *effects.command);
    }
    slot_.attention.fetch_or(ExecutionSlot::kEvent, std::memory_order_relaxed);
    if (effects.end_of_interrupt) {
        lock.unlock();  // the IOAPIC may send the interrupt again at once
        counters_.interrupt_exits.increment();
        leave_guest();
        io_.end_of_interrupt(*effects.end_of_interrupt);
        enter_guest();
    }
}

bool SoftVcpu::read_msr(uint32_t index, uint64_t* value) {
    if (index == kMsrTimeStamp) {
        *value = time_stamp();
        return true;
    }
    if (index == kMsrApicBase && partition_.has_local_apics()) {
        const Lock lock = partition_.token().lock();
        *value = apic_.base();
        return true;
    }
    return model_.read(index, value);
}

bool SoftVcpu::write_msr(uint32_t index, uint64_t value) {
    if (index == kMsrTimeStamp) {
        time_stamp_offset_ = value - static_cast<uint64_t>(partition_.clock().now());
        return true;
    }
    if (index == kMsrApicBase && partition_.has_local_apics()) {
        const Lock lock = partition_.token().lock();
        return apic_.set_base(value);
    }
    return model_.write(index, value);
}

uint64_t SoftVcpu::time_stamp() {
    return static_cast<uint64_t>(partition_.clock().now()) + time_stamp_offset_;
}

bool SoftVcpu::apic_visible() {
    return partition_.has_local_apics() && apic_.enabled();
}

void SoftVcpu::spin_hint() {
    if (partition_.token().contended()) {
        slot_.attention.fetch_or(ExecutionSlot::kYield, std::memory_order_relaxed);
    }
}

}  // namespace halcyon
