/// Register map, item keys and wire formats of QEMU's firmware configuration device (QEMU,
/// docs/specs/fw_cfg.rst; keys from Linux, include/uapi/linux/qemu_fw_cfg.h, and QEMU,
/// hw/i386/fw_cfg.h).
#pragma once

#include <cstddef>
#include <cstdint>

namespace halcyon::fw_cfg {

/// Ports it occupies: selector, data, two unused, and the DMA register.
inline constexpr uint64_t kPortCount = 12;

// Offsets.
inline constexpr uint64_t kSelector = 0;  ///< 16 bits, written only
inline constexpr uint64_t kData = 1;      ///< 8 bits, inside the selector's two
inline constexpr uint64_t kDma = 4;       ///< 64 bits, big endian

// Keys of the items that have one of their own.
inline constexpr uint16_t kKeySignature = 0x00;
inline constexpr uint16_t kKeyId = 0x01;
inline constexpr uint16_t kKeyUuid = 0x02;
inline constexpr uint16_t kKeyRamSize = 0x03;
inline constexpr uint16_t kKeyNoGraphic = 0x04;
inline constexpr uint16_t kKeyCpuCount = 0x05;
inline constexpr uint16_t kKeyMachineId = 0x06;
inline constexpr uint16_t kKeyKernelAddress = 0x07;
inline constexpr uint16_t kKeyKernelSize = 0x08;
inline constexpr uint16_t kKeyKernelCommandLine = 0x09;
inline constexpr uint16_t kKeyInitrdAddress = 0x0A;
inline constexpr uint16_t kKeyInitrdSize = 0x0B;
inline constexpr uint16_t kKeyBootDevice = 0x0C;
inline constexpr uint16_t kKeyNuma = 0x0D;
inline constexpr uint16_t kKeyBootMenu = 0x0E;
/// The limit of the APIC ids, not of the CPUs (QEMU, hw/i386/fw_cfg.c).
inline constexpr uint16_t kKeyMaximumCpus = 0x0F;
inline constexpr uint16_t kKeyKernelEntry = 0x10;
inline constexpr uint16_t kKeyKernelData = 0x11;
inline constexpr uint16_t kKeyInitrdData = 0x12;
inline constexpr uint16_t kKeyCommandLineAddress = 0x13;
inline constexpr uint16_t kKeyCommandLineSize = 0x14;
inline constexpr uint16_t kKeyCommandLineData = 0x15;
inline constexpr uint16_t kKeySetupAddress = 0x16;
inline constexpr uint16_t kKeySetupSize = 0x17;
inline constexpr uint16_t kKeySetupData = 0x18;
inline constexpr uint16_t kKeyFileDirectory = 0x19;
/// The first file's key; files follow each other from here.
inline constexpr uint16_t kKeyFirstFile = 0x20;

// Bits of a key.
inline constexpr uint16_t kKeyWriteChannel = 0x4000;  ///< accepted and without meaning since 2.4
inline constexpr uint16_t kKeyArchitecture = 0x8000;
inline constexpr uint16_t kKeyIndexMask = 0x3FFF;

// x86 items.
inline constexpr uint16_t kKeyAcpiTables = kKeyArchitecture | 0;
inline constexpr uint16_t kKeySmbiosEntries = kKeyArchitecture | 1;
inline constexpr uint16_t kKeyIrq0Override = kKeyArchitecture | 2;
inline constexpr uint16_t kKeyE820Table = kKeyArchitecture | 3;
inline constexpr uint16_t kKeyHpet = kKeyArchitecture | 4;

/// How many files there may be; QEMU's default.
inline constexpr size_t kFileSlots = 0x20;
/// Bytes of a file's name in the directory, the closing NUL included.
inline constexpr size_t kFileNameSize = 56;

/// Bits of the item kKeyId: the device itself, and its DMA register.
inline constexpr uint32_t kIdTraditional = 0x01;
inline constexpr uint32_t kIdDma = 0x02;

/// What reading the DMA register gives, first byte first.
inline constexpr char kDmaSignature[] = "QEMU CFG";

// Bits of a DMA request's control word; the upper 16 are the key for kDmaSelect.
inline constexpr uint32_t kDmaError = 0x01;
inline constexpr uint32_t kDmaRead = 0x02;
inline constexpr uint32_t kDmaSkip = 0x04;
inline constexpr uint32_t kDmaSelect = 0x08;
inline constexpr uint32_t kDmaWrite = 0x10;

/// A DMA request in guest memory; every field is big endian.
struct DmaRequest {
    uint32_t control;
    uint32_t length;
    uint64_t address;
};
static_assert(sizeof(DmaRequest) == 16);

/// A file in the directory, which starts with their number (32 bits); big endian.
struct DirectoryEntry {
    uint32_t size;
    uint16_t key;
    uint16_t reserved;
    char name[kFileNameSize];
};
static_assert(sizeof(DirectoryEntry) == 64);

}  // namespace halcyon::fw_cfg
