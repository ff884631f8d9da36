/// The mshv driver's own ABI: the ioctls of /dev/mshv, of a partition and of a vCPU ("VP"), and
/// what they take. Written from the kernel's include/uapi/linux/mshv.h (Linux 6.15 to 7.x), which
/// few machines have installed; mshv_abi_check.cpp compares the two where it is there.
///
/// What passes through the driver to the hypervisor is in mshv_hypercalls.h and mshv_messages.h.
/// Member names are the kernel's, without its prefixes. Everything is little endian; the driver
/// wants reserved members zero.
#pragma once

#include <linux/ioctl.h>

#include <cstddef>
#include <cstdint>

namespace halcyon::mshv {

/// MSHV_HV_PAGE_SIZE: the unit of every buffer and mapping.
inline constexpr uint32_t kHvPageSize = 4096;
/// MSHV_MAX_VPS: vp_index goes from 0 to 255 (drivers/hv/mshv_root.h).
inline constexpr uint32_t kMaxVps = 256;
/// MSHV_MAX_GUEST_IRQS: gsi goes from 0 to 4095 (drivers/hv/mshv_root.h).
inline constexpr uint32_t kMaxGuestIrqs = 4096;

// ---- /dev/mshv ---------------------------------------------------------------------------------

/// CreatePartition::flags, MSHV_PT_BIT_*. A driver that does not know a bit answers EINVAL.
enum PartitionFlag : uint64_t {
    kPartitionLapic = 1U << 0,                ///< the hypervisor emulates the local APICs
    kPartitionX2apic = 1U << 1,               ///< ... which can do x2APIC
    kPartitionGpaSuperPages = 1U << 2,        ///< guest memory may be mapped by large pages
    kPartitionCpuAndXsaveFeatures = 1U << 3,  ///< the argument is a CreatePartitionV2
    kPartitionNestedVirtualization = 1U << 4,
    kPartitionSmtEnabledGuest = 1U << 5,
};

/// MSHV_PT_ISOLATION_NONE; the upstream driver takes no other.
inline constexpr uint64_t kIsolationNone = 0;

/// struct mshv_create_partition.
struct CreatePartition {
    uint64_t flags;
    uint64_t isolation;
};
static_assert(sizeof(CreatePartition) == 16);

/// MSHV_NUM_CPU_FEATURES_BANKS.
inline constexpr uint16_t kCpuFeatureBanks = 2;

/// struct mshv_create_partition_v2: passed under the number of the short form, told apart by
/// kPartitionCpuAndXsaveFeatures. A set bit *disables* that feature.
struct CreatePartitionV2 {
    uint64_t flags;
    uint64_t isolation;
    uint16_t cpu_feature_bank_count;  ///< kCpuFeatureBanks
    uint8_t reserved[6];
    uint64_t disabled_cpu_features[kCpuFeatureBanks];
    uint64_t reserved1[2];
    uint64_t disabled_xsave_features;
};
static_assert(sizeof(CreatePartitionV2) == 64);
static_assert(offsetof(CreatePartitionV2, cpu_feature_bank_count) == 16);
static_assert(offsetof(CreatePartitionV2, disabled_cpu_features) == 24);
static_assert(offsetof(CreatePartitionV2, disabled_xsave_features) == 56);

// ---- A partition -------------------------------------------------------------------------------

/// struct mshv_create_vp.
struct CreateVp {
    uint32_t vp_index;
};
static_assert(sizeof(CreateVp) == 4);

/// UserMemoryRegion::flags, MSHV_SET_MEM_BIT_*. Reading is always allowed. These are not the
/// hypervisor's own map flags.
enum MemoryFlag : uint8_t {
    kMemoryWritable = 1U << 0,
    kMemoryExecutable = 1U << 1,
    kMemoryUnmap = 1U << 2,  ///< the other three members must equal those of the mapping
};

/// struct mshv_user_mem_region.
struct UserMemoryRegion {
    uint64_t size;       ///< bytes, whole pages, not 0
    uint64_t guest_pfn;  ///< a page *number*
    uint64_t userspace_address;
    uint8_t flags;
    uint8_t reserved[7];
};
static_assert(sizeof(UserMemoryRegion) == 32);
static_assert(offsetof(UserMemoryRegion, userspace_address) == 16);
static_assert(offsetof(UserMemoryRegion, flags) == 24);

/// UserIrqfd::flags, MSHV_IRQFD_BIT_*.
enum IrqfdFlag : uint32_t {
    kIrqfdDeassign = 1U << 0,
    kIrqfdResample = 1U << 1,  ///< always EINVAL before Linux 7.2
};

/// struct mshv_user_irqfd.
struct UserIrqfd {
    int32_t fd;
    int32_t resample_fd;
    uint32_t gsi;
    uint32_t flags;
};
static_assert(sizeof(UserIrqfd) == 16);

/// UserIoeventfd::flags, MSHV_IOEVENTFD_BIT_*.
enum IoeventfdFlag : uint32_t {
    kIoeventfdDatamatch = 1U << 0,
    kIoeventfdPio = 1U << 1,  ///< the driver answers EOPNOTSUPP
    kIoeventfdDeassign = 1U << 2,
};

/// struct mshv_user_ioeventfd.
struct UserIoeventfd {
    uint64_t datamatch;
    uint64_t address;
    uint32_t length;  ///< 1, 2, 4 or 8; 0 for any
    int32_t fd;
    uint32_t flags;
    uint8_t reserved[4];
};
static_assert(sizeof(UserIoeventfd) == 32);
static_assert(offsetof(UserIoeventfd, length) == 16);
static_assert(offsetof(UserIoeventfd, flags) == 24);

/// struct mshv_user_irq_entry: the message that an interrupt line stands for.
struct UserIrqEntry {
    uint32_t gsi;
    uint32_t address_low;
    uint32_t address_high;  ///< must be 0: destinations are 8-bit APIC ids
    uint32_t data;
};
static_assert(sizeof(UserIrqEntry) == 16);

/// struct mshv_user_irq_table; `count` UserIrqEntry follow it. Replaces the whole table.
struct UserIrqTableHeader {
    uint32_t count;
    uint32_t reserved;
};
static_assert(sizeof(UserIrqTableHeader) == 8);

/// MSHV_GPAP_ACCESS_TYPE_*.
enum class AccessBitmapType : uint8_t { kAccessed = 0, kDirty = 1 };
/// MSHV_GPAP_ACCESS_OP_*. The driver treats kNoop as kSet.
enum class AccessBitmapOperation : uint8_t { kNoop = 0, kClear = 1, kSet = 2 };

/// struct mshv_gpap_access_bitmap: the state of `page_count` pages before the operation.
struct AccessBitmap {
    AccessBitmapType type;
    AccessBitmapOperation operation;
    uint8_t reserved[6];
    uint64_t page_count;
    uint64_t first_gpa_page;
    uint64_t bitmap_pointer;  ///< (page_count + 7) / 8 bytes, lowest bit first
};
static_assert(sizeof(AccessBitmap) == 32);
static_assert(offsetof(AccessBitmap, page_count) == 8);
static_assert(offsetof(AccessBitmap, bitmap_pointer) == 24);

/// struct mshv_root_hvcall: one hypercall of mshv_hypercalls.h. The driver puts the partition's id
/// into the first 8 bytes of the input, except on the device. EAGAIN (before Linux 6.19): memory
/// was deposited, call again with `status` 0.
struct RootHypercall {
    uint16_t code;
    uint16_t repetitions;  ///< in: list elements; out: how many were done
    uint16_t input_size;   ///< 8 to 4096
    uint16_t output_size;  ///< at most 4096; 0 without output
    uint16_t status;       ///< in: 0; out: HvStatus, also when the ioctl fails
    uint8_t reserved[6];
    uint64_t input_pointer;
    uint64_t output_pointer;
};
static_assert(sizeof(RootHypercall) == 32);
static_assert(offsetof(RootHypercall, status) == 8);
static_assert(offsetof(RootHypercall, input_pointer) == 16);
static_assert(offsetof(RootHypercall, output_pointer) == 24);

// ---- A VP --------------------------------------------------------------------------------------

/// MSHV_RUN_VP_BUF_SZ: MSHV_RUN_VP fills this many bytes, one Message of mshv_messages.h.
inline constexpr size_t kRunVpBufferSize = 256;

/// MSHV_VP_MMAP_OFFSET_*: page of a VP's fd to map (MAP_SHARED), times kHvPageSize.
enum class VpMmapPage : uint32_t { kRegisters = 0, kInterceptMessage = 1, kGhcb = 2 };

/// MSHV_VP_STATE_*.
enum class VpStateType : uint8_t {
    kLapic = 0,
    kXsave = 1,  ///< compacted
    kSimp = 2,
    kSiefp = 3,
    kSyntheticTimers = 4,
};

/// struct mshv_get_set_vp_state.
struct GetSetVpState {
    VpStateType type;
    uint8_t reserved[3];
    uint32_t buffer_size;     ///< in: whole pages; out: the state's real size, also on failure
    uint64_t buffer_pointer;  ///< page aligned
};
static_assert(sizeof(GetSetVpState) == 16);
static_assert(offsetof(GetSetVpState, buffer_size) == 4);
static_assert(offsetof(GetSetVpState, buffer_pointer) == 8);

// ---- The numbers -------------------------------------------------------------------------------

/// MSHV_IOCTL: the type byte of all numbers. Device, partition and VP each count from 0.
inline constexpr unsigned kIoctlMagic = 0xB8;

/// On /dev/mshv.
inline constexpr unsigned long kIoctlCreatePartition =
    _IOC(_IOC_WRITE, kIoctlMagic, 0x00, sizeof(CreatePartition));
/// On a partition and a VP; on the device since about Linux 6.19, ENOTTY before.
inline constexpr unsigned long kIoctlRootHypercall =
    _IOC(_IOC_READ | _IOC_WRITE, kIoctlMagic, 0x07, sizeof(RootHypercall));

/// On a partition.
inline constexpr unsigned long kIoctlInitializePartition = _IOC(_IOC_NONE, kIoctlMagic, 0x00, 0U);
inline constexpr unsigned long kIoctlCreateVp =
    _IOC(_IOC_WRITE, kIoctlMagic, 0x01, sizeof(CreateVp));
inline constexpr unsigned long kIoctlSetGuestMemory =
    _IOC(_IOC_WRITE, kIoctlMagic, 0x02, sizeof(UserMemoryRegion));
inline constexpr unsigned long kIoctlIrqfd = _IOC(_IOC_WRITE, kIoctlMagic, 0x03, sizeof(UserIrqfd));
inline constexpr unsigned long kIoctlIoeventfd =
    _IOC(_IOC_WRITE, kIoctlMagic, 0x04, sizeof(UserIoeventfd));
inline constexpr unsigned long kIoctlSetMsiRouting =
    _IOC(_IOC_WRITE, kIoctlMagic, 0x05, sizeof(UserIrqTableHeader));
inline constexpr unsigned long kIoctlGetGpapAccessBitmap =
    _IOC(_IOC_READ | _IOC_WRITE, kIoctlMagic, 0x06, sizeof(AccessBitmap));

/// On a VP. kIoctlRunVp is entered by halcyon_run_entry only (accel/run_entry.h).
inline constexpr unsigned long kIoctlRunVp = _IOC(_IOC_READ, kIoctlMagic, 0x00, kRunVpBufferSize);
inline constexpr unsigned long kIoctlGetVpState =
    _IOC(_IOC_READ | _IOC_WRITE, kIoctlMagic, 0x01, sizeof(GetSetVpState));
inline constexpr unsigned long kIoctlSetVpState =
    _IOC(_IOC_READ | _IOC_WRITE, kIoctlMagic, 0x02, sizeof(GetSetVpState));

static_assert(kIoctlCreatePartition == 0x4010b800);
static_assert(kIoctlRootHypercall == 0xc020b807);
static_assert(kIoctlInitializePartition == 0x0000b800);
static_assert(kIoctlCreateVp == 0x4004b801);
static_assert(kIoctlSetGuestMemory == 0x4020b802);
static_assert(kIoctlIrqfd == 0x4010b803);
static_assert(kIoctlIoeventfd == 0x4020b804);
static_assert(kIoctlSetMsiRouting == 0x4008b805);
static_assert(kIoctlGetGpapAccessBitmap == 0xc020b806);
static_assert(kIoctlRunVp == 0x8100b800);
static_assert(kIoctlGetVpState == 0xc010b801);
static_assert(kIoctlSetVpState == 0xc010b802);

}  // namespace halcyon::mshv
