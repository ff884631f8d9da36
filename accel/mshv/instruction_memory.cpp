// Execution: memory, from a segment and an offset to accesses of the bus within one page each.
#include <algorithm>
#include <cstring>

#include "accel/mshv/instruction_execution.h"

namespace halcyon::mshv::executor {

namespace {

// A segment's attributes, as in SegmentRegister (Intel SDM 3A 3.4.5).
constexpr uint16_t kReadableOrWritable = 1U << 1;
constexpr uint16_t kExpandDown = 1U << 2;
constexpr uint16_t kCode = 1U << 3;
constexpr uint16_t kPresent = 1U << 7;
constexpr uint16_t kBig = 1U << 14;

}  // namespace

SegmentRegister& Execution::segment(Segment segment) const {
    SegmentRegister* const segments[] = {&registers_.es, &registers_.cs, &registers_.ss,
                                         &registers_.ds, &registers_.fs, &registers_.gs};
    return *segments[static_cast<unsigned>(segment)];
}

/// Rights and limit of a segment (Intel SDM 3A 5.3 to 5.5); not in 64-bit mode.
bool Execution::allowed(Location location, size_t size, Access access) const {
    const SegmentRegister& selected = segment(location.segment);
    const uint16_t attributes = selected.attributes;
    const bool code = (attributes & kCode) != 0;
    const uint64_t last = location.offset + size - 1;
    if (mode_.rights) {
        const bool permitted = (attributes & kReadableOrWritable) != 0;
        if ((attributes & kPresent) == 0 || (access == Access::kWrite && (code || !permitted)) ||
            (access == Access::kRead && code && !permitted)) {
            return false;
        }
        if (!code && (attributes & kExpandDown) != 0) {
            const uint64_t top = (attributes & kBig) != 0 ? 0xffffffff : 0xffff;
            return location.offset > selected.limit && last <= top;
        }
    }
    return last <= selected.limit;
}

bool Execution::canonical(uint64_t address) const {
    const unsigned unused = (registers_.cr4 & kCr4LinearAddress57) != 0 ? 7 : 16;
    return static_cast<uint64_t>(static_cast<int64_t>(address << unused) >> unused) == address;
}

/// Where a byte follows on another, outside 64-bit mode modulo 4 GiB.
uint64_t Execution::linear_after(uint64_t address, size_t size) const {
    return (address + size) & mask_of(mode_.long64 ? 8 : 4);
}

std::optional<uint64_t> Execution::linear(Location location, size_t size, Access access) {
    if (stopped_) {
        return std::nullopt;
    }
    uint64_t address = location.offset;
    bool valid = false;
    if (mode_.long64) {
        if (location.segment == Segment::kFs || location.segment == Segment::kGs) {
            address += segment(location.segment).base;
        }
        valid = canonical(address) && canonical(address + size - 1);
    } else {
        address = linear_after(segment(location.segment).base, location.offset);
        valid = allowed(location, size, access);
    }
    if (!valid) {
        raise(location.segment == Segment::kSs ? Vector::kStack : Vector::kProtection);
        return std::nullopt;
    }
    // Operands above 8 bytes have rules of their own.
    const bool checks_alignment = (registers_.cr0 & kCr0AlignmentMask) != 0 &&
                                  flag(kAlignmentCheckFlag) && mode_.privilege == 3;
    if (checks_alignment && access != Access::kExecute && size <= 8 && address % size != 0) {
        raise(Vector::kAlignment);
        return std::nullopt;
    }
    return address;
}

void Execution::read(Location location, std::span<std::byte> data) {
    const std::optional<uint64_t> start = linear(location, data.size(), Access::kRead);
    if (!start) {
        return;
    }
    uint64_t address = *start;
    if (address % kPageSize + data.size() > kPageSize && !check_read_linear(address, data.size())) {
        return;
    }
    while (!stopped_ && !data.empty()) {
        const size_t size = std::min<size_t>(data.size(), kPageSize - address % kPageSize);
        note(bus_.read(address, data.first(size)));
        data = data.subspan(size);
        address = linear_after(address, size);
    }
}

void Execution::write(Location location, std::span<const std::byte> data) {
    const std::optional<uint64_t> start = linear(location, data.size(), Access::kWrite);
    if (!start) {
        return;
    }
    uint64_t address = *start;
    if (address % kPageSize + data.size() > kPageSize &&
        !check_write_linear(address, data.size())) {
        return;
    }
    while (!stopped_ && !data.empty()) {
        const size_t size = std::min<size_t>(data.size(), kPageSize - address % kPageSize);
        note(bus_.write(address, data.first(size)));
        data = data.subspan(size);
        address = linear_after(address, size);
    }
}

void Execution::check_write(Location location, size_t size) {
    const std::optional<uint64_t> address = linear(location, size, Access::kWrite);
    if (address) {
        check_write_linear(*address, size);
    }
}

bool Execution::check_write_linear(uint64_t address, size_t size) {
    while (!stopped_ && size > 0) {
        const size_t part = std::min<size_t>(size, kPageSize - address % kPageSize);
        const uint64_t page = address / kPageSize;
        if (writable_page_ != page && !note(bus_.check_write(address, part))) {
            writable_page_ = page;
        }
        size -= part;
        address = linear_after(address, part);
    }
    return !stopped_;
}

bool Execution::check_read_linear(uint64_t address, size_t size) {
    while (!stopped_ && size > 0) {
        const size_t part = std::min<size_t>(size, kPageSize - address % kPageSize);
        note(bus_.check_read(address, part));
        size -= part;
        address = linear_after(address, part);
    }
    return !stopped_;
}

void Execution::read_faults_first(Location location, size_t size) {
    stopped_ = false;
    InstructionResult write_result = std::move(result_);
    result_ = {};
    const std::optional<uint64_t> address = linear(location, size, Access::kRead);
    if (address && check_read_linear(*address, size)) {
        stopped_ = true;
        result_ = std::move(write_result);
    }
}

uint64_t Execution::load(Location location, unsigned size) {
    uint64_t value = 0;
    std::array<std::byte, sizeof(value)> data{};
    read(location, std::span(data).first(size));
    std::memcpy(&value, data.data(), sizeof(value));
    return stopped_ ? 0 : value;
}

void Execution::store(Location location, unsigned size, uint64_t value) {
    std::array<std::byte, sizeof(value)> data{};
    std::memcpy(data.data(), &value, sizeof(value));
    write(location, std::span(data).first(size));
}

/// Before limits are looked at: processors report it first.
void Execution::require_alignment(Location location, unsigned alignment) {
    const bool based = !mode_.long64 || location.segment >= Segment::kFs;
    const uint64_t base = based ? segment(location.segment).base : 0;
    if ((base + location.offset) % alignment != 0) {
        raise(Vector::kProtection);
    }
}

void Execution::check_address(Location location) {
    linear(location, 1, Access::kRead);
}

}  // namespace halcyon::mshv::executor
