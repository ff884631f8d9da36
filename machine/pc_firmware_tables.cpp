#include "machine/pc_firmware_tables.h"

#include <algorithm>
#include <vector>

#include "base/types.h"
#include "devices/device.h"

namespace halcyon {

namespace {

/// One entry of etc/e820: address, size, type, all little endian and packed (QEMU
/// hw/i386/e820_memory_layout.h).
void append_e820(std::vector<std::byte>& table, uint64_t start, uint64_t size, uint32_t type) {
    std::byte entry[20];
    store_le(std::span(entry, 8), start);
    store_le(std::span(entry + 8, 8), size);
    store_le(std::span(entry + 16, 4), type);
    table.insert(table.end(), entry, entry + sizeof(entry));
}

std::vector<std::byte> e820_table(RamLayout ram) {
    constexpr uint32_t kRam = 1;
    constexpr uint32_t kReserved = 2;
    std::vector<std::byte> table;
    // The four pages that KVM takes for itself on Intel processors (accel/kvm).
    append_e820(table, 0xfeffc000, 4 * kPageSize, kReserved);
    append_e820(table, 0, ram.low, kRam);
    if (ram.high != 0) {
        append_e820(table, 4_GiB, ram.high, kRam);
    }
    return table;
}

std::vector<std::byte> bytes_of(std::initializer_list<uint8_t> values) {
    std::vector<std::byte> bytes;
    for (const uint8_t value : values) {
        bytes.push_back(std::byte{value});
    }
    return bytes;
}

std::vector<std::byte> u32_bytes(uint32_t value) {
    std::vector<std::byte> bytes(sizeof(value));
    store_le(bytes, value);
    return bytes;
}

/// A number in two CMOS bytes, low first, as large as they can say.
void set_word(CmosRtc& cmos, uint8_t index, uint64_t value) {
    const uint64_t word = std::min<uint64_t>(value, 0xffff);
    cmos.set(index, static_cast<uint8_t>(word));
    cmos.set(index + 1, static_cast<uint8_t>(word >> 8));
}

}  // namespace

Result<void> fill_fw_cfg(FwCfg& fw_cfg, const MachineConfig& config, RamLayout ram) {
    const auto vcpus = static_cast<uint16_t>(config.vcpu_count);
    TRY(fw_cfg.add_u64(fw_cfg::kKeyRamSize, config.ram_size));
    TRY(fw_cfg.add_u16(fw_cfg::kKeyCpuCount, vcpus));
    TRY(fw_cfg.add_u16(fw_cfg::kKeyMaximumCpus, vcpus));
    TRY(fw_cfg.add_u16(fw_cfg::kKeyNoGraphic, config.no_graphics ? 1 : 0));
    TRY(fw_cfg.add_u16(fw_cfg::kKeyBootMenu, config.boot_menu ? 1 : 0));
    TRY(fw_cfg.add_u32(fw_cfg::kKeyIrq0Override, 1));
    // No NUMA nodes: a count of zero, then a zero for each vCPU.
    TRY(fw_cfg.add_bytes(fw_cfg::kKeyNuma, std::vector<std::byte>(8 * (1 + size_t{vcpus}))));
    if (config.uuid) {
        const auto bytes = std::as_bytes(std::span(*config.uuid));
        TRY(fw_cfg.add_bytes(fw_cfg::kKeyUuid, {bytes.begin(), bytes.end()}));
    }
    TRY(fw_cfg.add_file("etc/e820", e820_table(ram)));
    // Never retry to boot: -1 ms, QEMU's default for -boot reboot-timeout.
    TRY(fw_cfg.add_file("etc/boot-fail-wait", u32_bytes(0xffffffff)));
    if (config.boot_menu_wait) {
        TRY(fw_cfg.add_file("etc/boot-menu-wait",
                            bytes_of({static_cast<uint8_t>(config.boot_menu_wait->count()),
                                      static_cast<uint8_t>(config.boot_menu_wait->count() >> 8)})));
    }
    // For S0 to S5: bit 7 says the state can be entered, the rest is its SLP_TYP (QEMU
    // hw/acpi/piix4.c). Only S0 and S5.
    TRY(fw_cfg.add_file("etc/system-states", bytes_of({0x80, 0, 0, 1, 2, 0x80})));
    return {};
}

void fill_cmos(CmosRtc& cmos, const MachineConfig& config, RamLayout ram) {
    // The indices are QEMU's (hw/i386/pc.c, pc_cmos_init), most of them the PC/AT's.
    set_word(cmos, 0x15, 640);                                                // base memory, KiB
    const uint64_t above_1m = ram.low > 1_MiB ? (ram.low - 1_MiB) >> 10 : 0;  // KiB
    set_word(cmos, 0x17, above_1m);
    set_word(cmos, 0x30, above_1m);
    set_word(cmos, 0x34,
             ram.low > 16_MiB ? (ram.low - 16_MiB) >> 16 : 0);  // 64 KiB units above 16 MiB
    const uint64_t above_4g = std::min<uint64_t>(ram.high >> 16, 0xffffff);  // 64 KiB units
    cmos.set(0x5b, static_cast<uint8_t>(above_4g));
    cmos.set(0x5c, static_cast<uint8_t>(above_4g >> 8));
    cmos.set(0x5d, static_cast<uint8_t>(above_4g >> 16));
    cmos.set(0x5f, static_cast<uint8_t>(config.vcpu_count - 1));
    cmos.set(0x14, 0x02);  // equipment: a mathematics coprocessor, no floppy drives
    // Boot order: disk (2), floppy (1), CD-ROM (3); no check of the floppy's signature.
    cmos.set(0x3d, 0x12);
    cmos.set(0x38, 0x30);
}

}  // namespace halcyon
