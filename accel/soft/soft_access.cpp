// SoftCpu: operands in registers, memory, on the stack, and the rights to ports.
#include <cstring>

#include "accel/soft/soft_cpu.h"

namespace halcyon {

uint32_t SoftCpu::read_register(unsigned index, unsigned size) const {
    switch (size) {
        case 1:
            return (gpr(index & 3) >> (index < 4 ? 0 : 8)) & 0xff;
        case 2:
            return gpr(index) & 0xffff;
    }
    return gpr(index);
}

void SoftCpu::write_register(unsigned index, unsigned size, uint32_t value) {
    switch (size) {
        case 1: {
            const unsigned shift = index < 4 ? 0 : 8;
            uint32_t& whole = gpr(index & 3);
            whole = (whole & ~(0xffU << shift)) | ((value & 0xff) << shift);
            return;
        }
        case 2:
            gpr(index) = (gpr(index) & 0xffff0000) | (value & 0xffff);
            return;
    }
    gpr(index) = value;
}

uint32_t SoftCpu::read_operand(unsigned size) {
    return insn_.memory() ? load(insn_.data_segment, insn_.offset, size)
                          : read_register(insn_.rm, size);
}

void SoftCpu::write_operand(unsigned size, uint32_t value) {
    if (insn_.memory()) {
        store(insn_.data_segment, insn_.offset, size, value);
    } else if (!faulted()) {
        write_register(insn_.rm, size, value);
    }
}

/// Rights and limit of a segment (Intel SDM 3A 5.3 to 5.5). Notes the fault when it says no.
bool SoftCpu::check_access(unsigned segment, uint32_t offset, unsigned size, bool write) {
    constexpr uint16_t kCode = 8;
    constexpr uint16_t kWritableOrReadable = 2;
    constexpr uint16_t kExpandDown = 4;
    constexpr uint16_t kPresent = 0x80;
    const uint16_t access = cpu().seg[segment].acc;
    const uint32_t last = offset + (size - 1);
    bool allowed = last >= offset;
    bool expand_down = false;
    if (protected_mode()) {
        const bool code = (access & kCode) != 0;
        const bool permitted = (access & kWritableOrReadable) != 0;
        expand_down = !code && (access & kExpandDown) != 0;
        allowed = allowed && (access & kPresent) != 0 &&
                  (write ? !code && permitted : !code || permitted);
    }
    if (expand_down) {
        allowed = allowed && offset > limit_[segment] &&
                  last <= ((access & kBig) != 0 ? 0xffffffff : 0xffff);
    } else {
        allowed = allowed && last <= limit_[segment];
    }
    if (!allowed) {
        fault(segment == kSs ? kStackFault : kProtection, 0);
    }
    return allowed;
}

uint32_t SoftCpu::load(unsigned segment, uint32_t offset, unsigned size) {
    if (!check_access(segment, offset, size, false)) {
        return 0;
    }
    return load_linear(cpu().seg[segment].base + offset, size);
}

void SoftCpu::store(unsigned segment, uint32_t offset, unsigned size, uint32_t value) {
    if (check_access(segment, offset, size, true)) {
        store_linear(cpu().seg[segment].base + offset, size, value);
    }
}

uint32_t SoftCpu::load_linear(uint32_t address, unsigned size) {
    if (faulted()) [[unlikely]] {
        return 0;
    }
    const std::byte* host = memory_.readable(address);
    if (host == nullptr || SoftMemory::left_in_page(address) < size) [[unlikely]] {
        return load_slow(address, size);
    }
    uint32_t value = 0;
    switch (size) {
        case 1:
            value = static_cast<uint8_t>(*host);
            break;
        case 2: {
            uint16_t word = 0;
            std::memcpy(&word, host, sizeof(word));
            value = word;
            break;
        }
        case 4:
            std::memcpy(&value, host, sizeof(value));
            break;
    }
    return value;
}

void SoftCpu::store_linear(uint32_t address, unsigned size, uint32_t value) {
    if (faulted()) [[unlikely]] {
        return;
    }
    std::byte* host = memory_.writable(address);
    if (host == nullptr || SoftMemory::left_in_page(address) < size) [[unlikely]] {
        store_slow(address, size, value);
        return;
    }
    switch (size) {
        case 1:
            *host = static_cast<std::byte>(value);
            break;
        case 2: {
            const auto word = static_cast<uint16_t>(value);
            std::memcpy(host, &word, sizeof(word));
            break;
        }
        case 4:
            std::memcpy(host, &value, sizeof(value));
            break;
    }
}

/// Devices, and accesses that cross a page: those byte by byte.
uint32_t SoftCpu::load_slow(uint32_t address, unsigned size) {
    if (SoftMemory::left_in_page(address) >= size) {
        return host_.mmio_read(address, size);
    }
    uint32_t value = 0;
    for (unsigned i = 0; i < size; ++i) {
        value |= load_linear(address + i, 1) << (8 * i);
    }
    return value;
}

void SoftCpu::store_slow(uint32_t address, unsigned size, uint32_t value) {
    if (SoftMemory::left_in_page(address) >= size) {
        host_.mmio_write(address, size, value);
        return;
    }
    for (unsigned i = 0; i < size; ++i) {
        store_linear(address + i, 1, (value >> (8 * i)) & 0xff);
    }
}

void SoftCpu::set_stack_pointer(uint32_t value) {
    constexpr unsigned kEsp = 4;
    write_register(kEsp, stack32() ? 4 : 2, value);
}

void SoftCpu::push(unsigned size, uint32_t value) {
    const uint32_t pointer = (gpr(4) - size) & stack_mask();
    store(kSs, pointer, size, value);
    set_stack_pointer(pointer);
}

uint32_t SoftCpu::pop(unsigned size) {
    const uint32_t pointer = gpr(4) & stack_mask();
    const uint32_t value = load(kSs, pointer, size);
    set_stack_pointer(pointer + size);
    return value;
}

/// Ports are free in real mode and up to the I/O privilege level; beyond, the bit map in the task
/// state segment decides (Intel SDM 1 19.5.2).
bool SoftCpu::port_allowed(uint16_t port, unsigned size) {
    constexpr uint32_t kMapBaseAt = 0x66;
    constexpr unsigned kTss32 = 9;
    const unsigned io_privilege = (flags() & kIoPrivilege) >> 12;
    if (!protected_mode() || privilege() <= io_privilege) {
        return true;
    }
    const sel_t& task = cpu().tr;
    bool allowed = (task.acc & 0xd) == kTss32 && task.limit >= kMapBaseAt + 1;
    if (allowed) {
        const uint32_t at = load_linear(task.base + kMapBaseAt, 2) + port / 8;
        allowed = at + 1 <= task.limit;
        if (allowed) {
            const uint32_t bits = load_linear(task.base + at, 2) >> (port % 8);
            allowed = (bits & ((1U << size) - 1)) == 0;
        }
    }
    if (!allowed) {
        fault(kProtection, 0);
    }
    return allowed;
}

}  // namespace halcyon
