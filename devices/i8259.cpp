#include "devices/i8259.h"

#include <utility>

#include "devices/i8259_registers.h"

namespace halcyon {

using namespace i8259;

namespace {

/// What the processor reads when no slave puts a vector on the bus.
constexpr uint8_t kFloatingBus = 0xFF;

}  // namespace

I8259Pair::I8259Pair(std::function<void(bool)> intr)
    : intr_(std::move(intr)),
      master_ports_(
          "pic-master", [this](uint64_t offset) { return read_chip(master_, offset); },
          [this](uint64_t offset, uint8_t value) { write_chip(master_, offset, value); }),
      slave_ports_(
          "pic-slave", [this](uint64_t offset) { return read_chip(slave_, offset); },
          [this](uint64_t offset, uint8_t value) { write_chip(slave_, offset, value); }),
      elcr_ports_(
          "pic-elcr", [this](uint64_t offset) { return read_elcr(offset); },
          [this](uint64_t offset, uint8_t value) { write_elcr(offset, value); }) {
    for (unsigned irq = 0; irq < inputs_.size(); ++irq) {
        inputs_[irq].pair = this;
        inputs_[irq].irq = irq;
    }
}

uint8_t I8259Pair::read_chip(I8259Chip& chip, uint64_t offset) {
    std::lock_guard lock(mutex_);
    const uint8_t value = chip.read(offset);
    propagate_locked();  // a poll acknowledges
    return value;
}

void I8259Pair::write_chip(I8259Chip& chip, uint64_t offset, uint8_t value) {
    std::lock_guard lock(mutex_);
    chip.write(offset, value);
    propagate_locked();
}

uint8_t I8259Pair::read_elcr(uint64_t offset) {
    std::lock_guard lock(mutex_);
    return offset == 0 ? master_.elcr() : slave_.elcr();
}

void I8259Pair::write_elcr(uint64_t offset, uint8_t value) {
    std::lock_guard lock(mutex_);
    (offset == 0 ? master_ : slave_).write_elcr(value);
    propagate_locked();
}

void I8259Pair::set_input(unsigned irq, bool level) {
    if (irq == kCascadeLevel) {
        return;
    }
    std::lock_guard lock(mutex_);
    if (irq < 8) {
        master_.set_input(irq, level);
    } else {
        slave_.set_input(irq - 8, level);
    }
    propagate_locked();
}

bool I8259Pair::intr() const {
    std::lock_guard lock(mutex_);
    return intr_level_;
}

uint8_t I8259Pair::acknowledge() {
    std::lock_guard lock(mutex_);
    return acknowledge_locked();
}

std::optional<uint8_t> I8259Pair::try_acknowledge() {
    std::lock_guard lock(mutex_);
    if (!intr_level_) {
        return std::nullopt;
    }
    return acknowledge_locked();
}

void I8259Pair::reset() {
    std::lock_guard lock(mutex_);
    master_.reset();
    slave_.reset();
    propagate_locked();
}

uint8_t I8259Pair::acknowledge_locked() {
    const unsigned level = master_.acknowledge().value_or(kSpuriousLevel);
    uint8_t vector = master_.vector(level);
    if (level == kCascadeLevel && master_.cascades(level)) {
        vector = slave_.answers_to(kCascadeLevel)
                     ? slave_.vector(slave_.acknowledge().value_or(kSpuriousLevel))
                     : kFloatingBus;
    }
    propagate_locked();
    return vector;
}

/// Carries the slave's INT to the master and the master's to the processor.
void I8259Pair::propagate_locked() {
    master_.set_input(kCascadeLevel, slave_.output());
    const bool level = master_.output();
    if (level != intr_level_) {
        intr_level_ = level;
        intr_(level);
    }
}

}  // namespace halcyon
