/// PcMemory: RAM, firmware ROM and the shadowed area of a PC, as mapped into the partition.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "accel/partition.h"
#include "base/guest_memory.h"
#include "base/mapping.h"
#include "base/result.h"
#include "devices/device.h"
#include "devices/pci_host_bridge_registers.h"
#include "machine/address_map.h"
#include "machine/memory_view.h"

namespace halcyon {

/// The memory map:
///
/// - 0: RAM
/// - A0000: RAM while SMRAM is open, else nothing (a display's window)
/// - C0000: 13 segments, each RAM or what is on the bus, as the PAM registers say
/// - 100000: RAM, up to 3 GiB when there is more than 3.5 GiB of it
/// - 4G - n: the firmware image of n bytes; its last 128 KiB also end at 1 MiB, on the bus
/// - 4G: the rest of RAM
///
/// The addresses are those of QEMU's i440FX machine. `set_segment` comes from vCPU threads; the
/// IoHandler part serves the accesses to C0000-FFFFF that no mapping answers, at offsets from
/// C0000.
class PcMemory : public IoHandler {
public:
    static constexpr uint64_t kShadowStart = 0xc0000;
    static constexpr uint64_t kShadowEnd = 0x100000;
    static constexpr size_t kSegments = pci_host_bridge::kSegmentCount;

    /// Allocates RAM in `memory`, takes the firmware, and maps everything with all segments on the
    /// bus. `partition` and `memory` outlive it.
    static Result<std::unique_ptr<PcMemory>> create(Partition& partition, GuestMemory& memory,
                                                    uint64_t ram_size, Mapping firmware);
    ~PcMemory() override;

    /// Where reads and writes of a segment (pci_host_bridge::segment_range) go: RAM, or the bus
    /// (ROM or nothing). Fails when the hypervisor refuses the mapping.
    Result<void> set_segment(size_t segment, bool read_ram, bool write_ram);
    /// Whether the RAM behind the VGA window shows (the host bridge's SMRAM register). Fails as
    /// `set_segment` does.
    Result<void> set_smram_open(bool open);
    /// All segments on the bus and SMRAM closed, as after power-on.
    Result<void> reset();

    /// What the guest sees now: RAM, and the firmware's ROM. From any thread.
    [[nodiscard]] MemoryView view() const;

    /// The map at the moment, by address.
    [[nodiscard]] std::vector<AddressBlock> map();

    /// RAM below and above 4 GiB, in bytes.
    [[nodiscard]] uint64_t low_ram() const { return low_ram_; }
    [[nodiscard]] uint64_t high_ram() const { return high_ram_; }

    [[nodiscard]] std::string_view name() const override { return "shadow-memory"; }
    void read(uint64_t offset, std::span<std::byte> data) override;
    void write(uint64_t offset, std::span<const std::byte> data) override;

private:
    struct Segment {
        bool read_ram = false;
        bool write_ram = false;
        bool mapped = false;
    };

    PcMemory(Partition& partition, GuestMemory& memory, uint64_t ram_size, Mapping firmware);
    [[nodiscard]] static size_t segment_at(uint64_t offset);
    /// The firmware's bytes at an address below 1 MiB; null where it has none.
    [[nodiscard]] std::byte* rom_at(GpaRange range) const;
    [[nodiscard]] GpaRange firmware_range() const {
        return {Gpa(4_GiB - firmware_.size()), firmware_.size()};
    }
    Result<void> map_fixed();
    Result<void> apply(size_t segment, Segment wanted);

    Partition& partition_;
    GuestMemory& memory_;
    Mapping firmware_;
    uint64_t low_ram_;
    uint64_t high_ram_;

    mutable std::mutex mutex_;  ///< guards the rest and its mappings; before the backend's locks
    std::array<Segment, kSegments> segments_{};
    bool smram_open_ = false;
};

}  // namespace halcyon
