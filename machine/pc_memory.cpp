#include "machine/pc_memory.h"

#include <algorithm>
#include <utility>

namespace halcyon {

namespace {

using pci_host_bridge::segment_range;

constexpr uint64_t kVgaStart = 0xa0000;
constexpr GpaRange kSmram{Gpa(kVgaStart), 128_KiB};
// QEMU's i440FX rule: up to 3.5 GiB all RAM is below 4 GiB; with more, 3 GiB are.
constexpr uint64_t kMaxLowRam = 0xe0000000;
constexpr uint64_t kSplitLowRam = 0xc0000000;
/// How much of the firmware's end is also below 1 MiB.
constexpr uint64_t kIsaFirmware = 128_KiB;

}  // namespace

PcMemory::PcMemory(Partition& partition, GuestMemory& memory, uint64_t ram_size, Mapping firmware)
    : partition_(partition),
      memory_(memory),
      firmware_(std::move(firmware)),
      low_ram_(ram_size > kMaxLowRam ? kSplitLowRam : ram_size),
      high_ram_(ram_size - low_ram_) {}

PcMemory::~PcMemory() = default;

Result<std::unique_ptr<PcMemory>> PcMemory::create(Partition& partition, GuestMemory& memory,
                                                   uint64_t ram_size, Mapping firmware) {
    std::unique_ptr<PcMemory> pc(new PcMemory(partition, memory, ram_size, std::move(firmware)));
    TRY(memory.add({Gpa(0), pc->low_ram_}, "ram"));
    if (pc->high_ram_ != 0) {
        TRY(memory.add({Gpa(4_GiB), pc->high_ram_}, "ram above 4 GiB"));
    }
    TRY(pc->map_fixed());
    for (size_t segment = 0; segment < kSegments; ++segment) {
        TRY(pc->apply(segment, {}));
    }
    return pc;
}

Result<void> PcMemory::map_fixed() {
    const auto map_ram = [this](uint64_t start, uint64_t end) -> Result<void> {
        const GpaRange range{Gpa(start), end - start};
        return partition_.map_memory(range, memory_.host_address(range), MemoryAccess::kReadWrite);
    };
    TRY(map_ram(0, kVgaStart));
    if (low_ram_ > kShadowEnd) {
        TRY(map_ram(kShadowEnd, low_ram_));
    }
    if (high_ram_ != 0) {
        TRY(map_ram(4_GiB, 4_GiB + high_ram_));
    }
    return partition_.map_memory(firmware_range(), firmware_.data(), MemoryAccess::kReadOnly);
}

size_t PcMemory::segment_at(uint64_t offset) {
    size_t segment = 0;
    while (segment + 1 < kSegments &&
           !segment_range(static_cast<unsigned>(segment)).contains(Gpa(kShadowStart + offset))) {
        ++segment;
    }
    return segment;
}

std::byte* PcMemory::rom_at(GpaRange range) const {
    const uint64_t size = std::min<uint64_t>(firmware_.size(), kIsaFirmware);
    const GpaRange rom{Gpa(kShadowEnd - size), size};
    if (!rom.contains(range.start, range.size)) {
        return nullptr;
    }
    return firmware_.data() + firmware_.size() - (kShadowEnd - range.start.value());
}

Result<void> PcMemory::apply(size_t segment, Segment wanted) {
    const GpaRange range = segment_range(static_cast<unsigned>(segment));
    Segment& current = segments_[segment];
    if (current.mapped) {
        TRY(partition_.unmap_memory(range));
        current.mapped = false;
    }
    current.read_ram = wanted.read_ram;
    current.write_ram = wanted.write_ram;
    // Reading RAM but writing the bus, or the other way round, is a read-only mapping whose writes
    // come to `write`.
    std::byte* const host = wanted.read_ram ? memory_.host_address(range) : rom_at(range);
    if (host != nullptr) {
        const bool writable = wanted.read_ram && wanted.write_ram;
        TRY(partition_.map_memory(range, host,
                                  writable ? MemoryAccess::kReadWrite : MemoryAccess::kReadOnly));
        current.mapped = true;
    }
    return {};
}

Result<void> PcMemory::set_segment(size_t segment, bool read_ram, bool write_ram) {
    const std::lock_guard lock(mutex_);
    const Segment& current = segments_[segment];
    if (current.read_ram == read_ram && current.write_ram == write_ram) {
        return {};
    }
    return apply(segment, {.read_ram = read_ram, .write_ram = write_ram});
}

Result<void> PcMemory::set_smram_open(bool open) {
    const std::lock_guard lock(mutex_);
    if (smram_open_ == open) {
        return {};
    }
    if (open) {
        TRY(partition_.map_memory(kSmram, memory_.host_address(kSmram), MemoryAccess::kReadWrite));
    } else {
        TRY(partition_.unmap_memory(kSmram));
    }
    smram_open_ = open;
    return {};
}

Result<void> PcMemory::reset() {
    TRY(set_smram_open(false));
    for (size_t segment = 0; segment < kSegments; ++segment) {
        TRY(set_segment(segment, false, false));
    }
    return {};
}

MemoryView PcMemory::view() const {
    std::vector<MemoryBlock> blocks;
    const auto add = [&](GpaRange range, const std::byte* host) {
        blocks.push_back({range.start, {host, range.size}});
    };
    const auto add_ram = [&](uint64_t start, uint64_t end) {
        const GpaRange range{Gpa(start), end - start};
        add(range, memory_.host_address(range));
    };
    add_ram(0, kVgaStart);
    if (low_ram_ > kShadowEnd) {
        add_ram(kShadowEnd, low_ram_);
    }
    if (high_ram_ != 0) {
        add_ram(4_GiB, 4_GiB + high_ram_);
    }
    add({Gpa(4_GiB - firmware_.size()), firmware_.size()}, firmware_.data());
    const std::lock_guard lock(mutex_);
    if (smram_open_) {
        add(kSmram, memory_.host_address(kSmram));
    }
    for (size_t segment = 0; segment < kSegments; ++segment) {
        const GpaRange range = segment_range(static_cast<unsigned>(segment));
        const std::byte* const host =
            segments_[segment].read_ram ? memory_.host_address(range) : rom_at(range);
        if (host != nullptr) {
            add(range, host);
        }
    }
    return MemoryView(std::move(blocks));
}

void PcMemory::read(uint64_t offset, std::span<std::byte> data) {
    // Only where there is neither RAM nor ROM, or while a segment is being remapped.
    const GpaRange range{Gpa(kShadowStart + offset), data.size()};
    const std::lock_guard lock(mutex_);
    const size_t segment = segment_at(offset);
    const std::byte* const host =
        segments_[segment].read_ram ? memory_.host_address(range) : rom_at(range);
    if (host != nullptr) {
        std::copy_n(host, data.size(), data.begin());
    } else {
        std::fill(data.begin(), data.end(), std::byte{0xff});
    }
}

void PcMemory::write(uint64_t offset, std::span<const std::byte> data) {
    const GpaRange range{Gpa(kShadowStart + offset), data.size()};
    const std::lock_guard lock(mutex_);
    const size_t segment = segment_at(offset);
    std::byte* const host = segments_[segment].write_ram ? memory_.host_address(range) : nullptr;
    if (host != nullptr) {
        std::copy(data.begin(), data.end(), host);
    }
}

std::vector<AddressBlock> PcMemory::map() {
    const std::lock_guard lock(mutex_);
    std::vector<AddressBlock> blocks;
    const auto add = [&](uint64_t start, uint64_t end, AddressKind kind, const char* name) {
        if (start >= end) {
            return;
        }
        AddressBlock* const last = blocks.empty() ? nullptr : &blocks.back();
        if (last != nullptr && last->start + last->size == start && last->kind == kind &&
            last->name == name) {
            last->size += end - start;
        } else {
            blocks.push_back({start, end - start, kind, name});
        }
    };
    add(0, smram_open_ ? kShadowStart : kVgaStart, AddressKind::kRam, "pc.ram");
    // From the lowest up: the segments are numbered from C0000 on, but for 0, which is the last.
    for (size_t i = 1; i <= kSegments; ++i) {
        const Segment& segment = segments_[i % kSegments];
        const GpaRange range = segment_range(static_cast<unsigned>(i % kSegments));
        const uint64_t start = range.start.value();
        if (segment.read_ram) {
            add(start, start + range.size,
                segment.write_ram ? AddressKind::kRam : AddressKind::kRom, "pc.ram");
        } else if (rom_at(range) != nullptr) {
            add(start, start + range.size, AddressKind::kRom, "isa-bios");
        }
    }
    add(kShadowEnd, low_ram_, AddressKind::kRam, "pc.ram");
    add(firmware_range().start.value(), 4_GiB, AddressKind::kRom, "pc.bios");
    add(4_GiB, 4_GiB + high_ram_, AddressKind::kRam, "pc.ram");
    return blocks;
}

}  // namespace halcyon
