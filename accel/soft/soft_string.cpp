// SoftCpu: string and port instructions. An iteration either happens or not; between two, a
// repeated instruction can be left and later goes on where it was, as after an interrupt.
#include <algorithm>
#include <cstring>

#include "accel/soft/soft_cpu.h"

namespace halcyon {

namespace {

constexpr unsigned kCount = 1;
constexpr unsigned kSource = 6;
constexpr unsigned kDestination = 7;

/// CMPS and SCAS end a repetition by ZF.
constexpr bool compares(uint8_t opcode) {
    return (opcode & 0xfe) == 0xa6 || (opcode & 0xfe) == 0xae;
}

}  // namespace

void SoftCpu::string_instruction() {
    const unsigned size = insn_.size();
    const uint32_t mask = insn_.address32 ? 0xffffffff : 0xffff;
    const uint32_t stride = (flags() & kDirection) != 0 ? 0 - size : size;
    if (insn_.repeat == 0) {
        string_step(size, stride, mask);
        return;
    }
    const bool until_zero = insn_.repeat == 0xf2;
    while ((gpr(kCount) & mask) != 0) {
        const bool one_by_one = ((flags() & kDirection) | (local_ & kTrapArmed)) != 0;
        if (one_by_one || !string_batch(size, mask)) {
            if (!string_step(size, stride, mask)) {
                return;
            }
            string_advance(kCount, 0xffffffff, mask);
            if (compares(insn_.opcode) && ((flags() & kZero) != 0) == until_zero) {
                return;
            }
        }
        take_snapshot();  // what is done is done, also if the next iteration faults
        const bool leave = --budget_ < 0 || (local_ & kTrapArmed) != 0 ||
                           attention_.load(std::memory_order_relaxed) != 0;
        if (leave && (gpr(kCount) & mask) != 0) {
            own_jumped_ = true;  // EIP stays at the instruction
            return;
        }
    }
}

void SoftCpu::string_advance(unsigned index, uint32_t stride, uint32_t mask) {
    uint32_t& value = gpr(index);
    value = (value & ~mask) | ((value + stride) & mask);
}

/// One iteration without the count. False when it faulted.
bool SoftCpu::string_step(unsigned size, uint32_t stride, uint32_t mask) {
    const unsigned segment = insn_.segment == kNoSegment ? kDs : insn_.segment;
    const uint32_t source = gpr(kSource) & mask;
    const uint32_t destination = gpr(kDestination) & mask;
    const auto port = static_cast<uint16_t>(gpr(2));
    bool from_source = true;
    bool to_destination = true;
    switch (insn_.opcode & 0xfe) {
        case 0x6c:  // INS
            from_source = false;
            if (port_allowed(port, size) && check_access(kEs, destination, size, true)) {
                store(kEs, destination, size, host_.pio_read(port, size));
            }
            break;
        case 0x6e: {  // OUTS
            to_destination = false;
            const uint32_t value = port_allowed(port, size) ? load(segment, source, size) : 0;
            if (!faulted()) {
                host_.pio_write(port, size, value);
            }
            break;
        }
        case 0xa4:  // MOVS
            store(kEs, destination, size, load(segment, source, size));
            break;
        case 0xa6: {  // CMPS
            const uint32_t left = load(segment, source, size);
            subtract(size, left, load(kEs, destination, size));
            break;
        }
        case 0xaa:  // STOS
            from_source = false;
            store(kEs, destination, size, read_register(0, size));
            break;
        case 0xac:  // LODS
            to_destination = false;
            write_register(0, size, load(segment, source, size));
            break;
        case 0xae:  // SCAS
            from_source = false;
            subtract(size, read_register(0, size), load(kEs, destination, size));
            break;
    }
    if (faulted()) {
        return false;
    }
    if (from_source) {
        string_advance(kSource, stride, mask);
    }
    if (to_destination) {
        string_advance(kDestination, stride, mask);
    }
    return true;
}

/// Many upward iterations of MOVS or STOS at once, where they stay in one page of memory on each
/// side. False when that does not apply; nothing has happened then.
bool SoftCpu::string_batch(unsigned size, uint32_t mask) {
    const bool move = (insn_.opcode & 0xfe) == 0xa4;
    if (!move && (insn_.opcode & 0xfe) != 0xaa) {
        return false;
    }
    const auto host_range = [&](unsigned segment, unsigned index, bool write,
                                uint32_t* bytes) -> std::byte* {
        const sel_t& selected = cpu().seg[segment];
        const uint32_t offset = gpr(index) & mask;
        const bool plain = (selected.acc & 0x9e) == 0x92;  // present, writable, expands up
        if (!plain || offset > limit_[segment]) {
            return nullptr;
        }
        const uint32_t address = selected.base + offset;
        const uint32_t room = std::min(
            {limit_[segment] - offset, mask - offset, SoftMemory::left_in_page(address) - 1});
        *bytes = std::min(*bytes, room + 1);
        return write ? memory_.writable(address) : memory_.readable(address);
    };
    uint32_t bytes = std::min(gpr(kCount) & mask, uint32_t{4096}) * size;
    std::byte* to = host_range(kEs, kDestination, true, &bytes);
    const unsigned source = insn_.segment == kNoSegment ? kDs : insn_.segment;
    const std::byte* from = move ? host_range(source, kSource, false, &bytes) : to;
    const uint32_t count = bytes / size;
    bytes = count * size;
    if (to == nullptr || from == nullptr || count < 2) {
        return false;
    }
    if (move) {
        // An upward copy onto itself repeats a pattern: iteration by iteration then.
        if (to > from && to < from + bytes) {
            return false;
        }
        std::memmove(to, from, bytes);
        string_advance(kSource, bytes, mask);
    } else {
        const uint32_t value = gpr(0);
        for (uint32_t i = 0; i < bytes; i += size) {
            std::memcpy(to + i, &value, size);
        }
    }
    string_advance(kDestination, bytes, mask);
    string_advance(kCount, 0 - count, mask);
    budget_ -= count / 16;
    return true;
}

void SoftCpu::port_instruction() {
    const unsigned size = insn_.size();
    const bool by_register = insn_.opcode >= 0xec;
    const auto port = static_cast<uint16_t>(by_register ? gpr(2) : next8());
    if (faulted() || !port_allowed(port, size)) {
        return;
    }
    if ((insn_.opcode & 2) != 0) {
        host_.pio_write(port, size, read_register(0, size));
    } else {
        write_register(0, size, host_.pio_read(port, size));
    }
}

}  // namespace halcyon
