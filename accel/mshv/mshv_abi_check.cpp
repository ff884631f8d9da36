// Compares accel/mshv/mshv_abi.h with the kernel's own header, at compile time, where the build
// machine has it (Linux 6.15 or newer); elsewhere this file is empty.
#if __has_include(<linux/mshv.h>)

#include <linux/mshv.h>
#include <sys/ioctl.h>

#include "accel/mshv/mshv_abi.h"

namespace halcyon::mshv {
namespace {

static_assert(kHvPageSize == MSHV_HV_PAGE_SIZE);
static_assert(kRunVpBufferSize == sizeof(::mshv_run_vp));

static_assert(kIoctlCreatePartition == MSHV_CREATE_PARTITION);
static_assert(kIoctlRootHypercall == MSHV_ROOT_HVCALL);
static_assert(kIoctlInitializePartition == MSHV_INITIALIZE_PARTITION);
static_assert(kIoctlCreateVp == MSHV_CREATE_VP);
static_assert(kIoctlSetGuestMemory == MSHV_SET_GUEST_MEMORY);
static_assert(kIoctlIrqfd == MSHV_IRQFD);
static_assert(kIoctlIoeventfd == MSHV_IOEVENTFD);
static_assert(kIoctlSetMsiRouting == MSHV_SET_MSI_ROUTING);
static_assert(kIoctlGetGpapAccessBitmap == MSHV_GET_GPAP_ACCESS_BITMAP);
static_assert(kIoctlRunVp == MSHV_RUN_VP);
static_assert(kIoctlGetVpState == MSHV_GET_VP_STATE);
static_assert(kIoctlSetVpState == MSHV_SET_VP_STATE);

#define SAME_SIZE(ours, theirs) static_assert(sizeof(ours) == sizeof(::theirs))
#define SAME_PLACE(ours, member, theirs, their_member)                         \
    static_assert(offsetof(ours, member) == offsetof(::theirs, their_member)); \
    static_assert(sizeof(ours::member) == sizeof(::theirs::their_member))

SAME_SIZE(CreatePartition, mshv_create_partition);
SAME_PLACE(CreatePartition, flags, mshv_create_partition, pt_flags);
SAME_PLACE(CreatePartition, isolation, mshv_create_partition, pt_isolation);
static_assert(kPartitionLapic == 1U << MSHV_PT_BIT_LAPIC);
static_assert(kPartitionX2apic == 1U << MSHV_PT_BIT_X2APIC);
static_assert(kPartitionGpaSuperPages == 1U << MSHV_PT_BIT_GPA_SUPER_PAGES);
static_assert(kIsolationNone == MSHV_PT_ISOLATION_NONE);

#ifdef MSHV_NUM_CPU_FEATURES_BANKS  // the long form came after Linux 6.18
static_assert(kCpuFeatureBanks == MSHV_NUM_CPU_FEATURES_BANKS);
static_assert(kPartitionCpuAndXsaveFeatures == 1U << MSHV_PT_BIT_CPU_AND_XSAVE_FEATURES);
SAME_SIZE(CreatePartitionV2, mshv_create_partition_v2);
SAME_PLACE(CreatePartitionV2, cpu_feature_bank_count, mshv_create_partition_v2, pt_num_cpu_fbanks);
SAME_PLACE(CreatePartitionV2, disabled_cpu_features, mshv_create_partition_v2, pt_cpu_fbanks);
SAME_PLACE(CreatePartitionV2, disabled_xsave_features, mshv_create_partition_v2, pt_disabled_xsave);
#endif

SAME_SIZE(CreateVp, mshv_create_vp);

SAME_SIZE(UserMemoryRegion, mshv_user_mem_region);
SAME_PLACE(UserMemoryRegion, size, mshv_user_mem_region, size);
SAME_PLACE(UserMemoryRegion, guest_pfn, mshv_user_mem_region, guest_pfn);
SAME_PLACE(UserMemoryRegion, userspace_address, mshv_user_mem_region, userspace_addr);
SAME_PLACE(UserMemoryRegion, flags, mshv_user_mem_region, flags);
static_assert(kMemoryWritable == 1U << MSHV_SET_MEM_BIT_WRITABLE);
static_assert(kMemoryExecutable == 1U << MSHV_SET_MEM_BIT_EXECUTABLE);
static_assert(kMemoryUnmap == 1U << MSHV_SET_MEM_BIT_UNMAP);

SAME_SIZE(UserIrqfd, mshv_user_irqfd);
SAME_PLACE(UserIrqfd, fd, mshv_user_irqfd, fd);
SAME_PLACE(UserIrqfd, resample_fd, mshv_user_irqfd, resamplefd);
SAME_PLACE(UserIrqfd, gsi, mshv_user_irqfd, gsi);
SAME_PLACE(UserIrqfd, flags, mshv_user_irqfd, flags);
static_assert(kIrqfdDeassign == 1U << MSHV_IRQFD_BIT_DEASSIGN);
static_assert(kIrqfdResample == 1U << MSHV_IRQFD_BIT_RESAMPLE);

SAME_SIZE(UserIoeventfd, mshv_user_ioeventfd);
SAME_PLACE(UserIoeventfd, datamatch, mshv_user_ioeventfd, datamatch);
SAME_PLACE(UserIoeventfd, address, mshv_user_ioeventfd, addr);
SAME_PLACE(UserIoeventfd, length, mshv_user_ioeventfd, len);
SAME_PLACE(UserIoeventfd, fd, mshv_user_ioeventfd, fd);
SAME_PLACE(UserIoeventfd, flags, mshv_user_ioeventfd, flags);
static_assert(kIoeventfdDatamatch == 1U << MSHV_IOEVENTFD_BIT_DATAMATCH);
static_assert(kIoeventfdPio == 1U << MSHV_IOEVENTFD_BIT_PIO);
static_assert(kIoeventfdDeassign == 1U << MSHV_IOEVENTFD_BIT_DEASSIGN);

SAME_SIZE(UserIrqEntry, mshv_user_irq_entry);
SAME_PLACE(UserIrqEntry, address_low, mshv_user_irq_entry, address_lo);
SAME_PLACE(UserIrqEntry, address_high, mshv_user_irq_entry, address_hi);
SAME_PLACE(UserIrqEntry, data, mshv_user_irq_entry, data);
SAME_SIZE(UserIrqTableHeader, mshv_user_irq_table);

SAME_SIZE(AccessBitmap, mshv_gpap_access_bitmap);
SAME_PLACE(AccessBitmap, type, mshv_gpap_access_bitmap, access_type);
SAME_PLACE(AccessBitmap, operation, mshv_gpap_access_bitmap, access_op);
SAME_PLACE(AccessBitmap, page_count, mshv_gpap_access_bitmap, page_count);
SAME_PLACE(AccessBitmap, first_gpa_page, mshv_gpap_access_bitmap, gpap_base);
SAME_PLACE(AccessBitmap, bitmap_pointer, mshv_gpap_access_bitmap, bitmap_ptr);
static_assert(int{MSHV_GPAP_ACCESS_TYPE_DIRTY} == static_cast<int>(AccessBitmapType::kDirty));
static_assert(int{MSHV_GPAP_ACCESS_OP_CLEAR} == static_cast<int>(AccessBitmapOperation::kClear));
static_assert(int{MSHV_GPAP_ACCESS_OP_SET} == static_cast<int>(AccessBitmapOperation::kSet));

SAME_SIZE(RootHypercall, mshv_root_hvcall);
SAME_PLACE(RootHypercall, code, mshv_root_hvcall, code);
SAME_PLACE(RootHypercall, repetitions, mshv_root_hvcall, reps);
SAME_PLACE(RootHypercall, input_size, mshv_root_hvcall, in_sz);
SAME_PLACE(RootHypercall, output_size, mshv_root_hvcall, out_sz);
SAME_PLACE(RootHypercall, status, mshv_root_hvcall, status);
SAME_PLACE(RootHypercall, input_pointer, mshv_root_hvcall, in_ptr);
SAME_PLACE(RootHypercall, output_pointer, mshv_root_hvcall, out_ptr);

SAME_SIZE(GetSetVpState, mshv_get_set_vp_state);
SAME_PLACE(GetSetVpState, type, mshv_get_set_vp_state, type);
SAME_PLACE(GetSetVpState, buffer_size, mshv_get_set_vp_state, buf_sz);
SAME_PLACE(GetSetVpState, buffer_pointer, mshv_get_set_vp_state, buf_ptr);
static_assert(int{MSHV_VP_STATE_LAPIC} == static_cast<int>(VpStateType::kLapic));
static_assert(int{MSHV_VP_STATE_XSAVE} == static_cast<int>(VpStateType::kXsave));
static_assert(int{MSHV_VP_STATE_SIMP} == static_cast<int>(VpStateType::kSimp));
static_assert(int{MSHV_VP_STATE_SIEFP} == static_cast<int>(VpStateType::kSiefp));
static_assert(int{MSHV_VP_STATE_SYNTHETIC_TIMERS} ==
              static_cast<int>(VpStateType::kSyntheticTimers));
static_assert(int{MSHV_VP_MMAP_OFFSET_REGISTERS} == static_cast<int>(VpMmapPage::kRegisters));
static_assert(int{MSHV_VP_MMAP_OFFSET_INTERCEPT_MESSAGE} ==
              static_cast<int>(VpMmapPage::kInterceptMessage));

#undef SAME_SIZE
#undef SAME_PLACE

}  // namespace
}  // namespace halcyon::mshv

#endif
