/// What we ask of the hypervisor through MSHV_ROOT_HVCALL: codes, arguments, register names,
/// partition properties, statuses. Layouts and names follow the kernel's include/hyperv/hvgdk*.h
/// and hvhdk*.h and the Hypervisor Top-Level Functional Specification (TLFS).
///
/// A call's input is its struct, then its list elements; `partition_id` is always first, and filled
/// by the driver except on /dev/mshv.
#pragma once

#include <cstddef>
#include <cstdint>

namespace halcyon::mshv {

/// HV_PARTITION_ID_SELF: the host, on the device's fd.
inline constexpr uint64_t kPartitionIdSelf = ~uint64_t{0};
/// HV_ANY_VP.
inline constexpr uint32_t kAnyVp = 0xffffffff;

/// HVCALL_*: those the driver lets through.
enum class HypercallCode : uint16_t {
    kGetPartitionProperty = 0x44,
    kSetPartitionProperty = 0x45,  ///< on a partition's fd only
    kInstallIntercept = 0x4d,
    kGetVpRegisters = 0x50,  ///< list of RegisterName; gives RegisterValue
    kSetVpRegisters = 0x51,  ///< list of RegisterAssociation
    kTranslateVirtualAddress = 0x52,
    kClearVirtualInterrupt = 0x56,
    kRegisterInterceptResult = 0x91,
    kAssertVirtualInterrupt = 0x94,
    kSignalEventDirect = 0xc0,
    kPostMessageDirect = 0xc1,
    kGetGpaPagesAccessStates = 0xc9,
    kGetVpCpuidValues = 0xf4,  ///< list of CpuidLeaf; gives CpuidValues
    kGetPartitionPropertyEx = 0x101,
};

/// HV_STATUS_*: those with a meaning to us. Compare RootHypercall::status, since the driver's errno
/// merges most of them into EIO.
enum class HvStatus : uint16_t {
    kSuccess = 0x00,
    kInvalidHypercallCode = 0x02,
    kInvalidHypercallInput = 0x03,
    kInvalidAlignment = 0x04,
    kInvalidParameter = 0x05,
    kAccessDenied = 0x06,
    kInvalidPartitionState = 0x07,
    kOperationDenied = 0x08,
    kUnknownProperty = 0x09,
    kPropertyValueOutOfRange = 0x0a,
    kInsufficientMemory = 0x0b,
    kInvalidPartitionId = 0x0d,
    kInvalidVpIndex = 0x0e,
    kNotFound = 0x10,
    kInvalidPortId = 0x11,
    kInvalidConnectionId = 0x12,
    kInsufficientBuffers = 0x13,
    kNotAcknowledged = 0x14,
    kInvalidVpState = 0x15,
    kNoResources = 0x1d,
    kProcessorFeatureNotSupported = 0x20,
    kInvalidLpIndex = 0x41,
    kInvalidRegisterValue = 0x50,
    kOperationFailed = 0x71,
    kTimeOut = 0x78,
    kCallPending = 0x79,
};

/// enum hv_partition_property_code.
enum class PartitionProperty : uint32_t {
    kPrivilegeFlags = 0x00010000,         ///< before INITIALIZE only
    kSyntheticProcFeatures = 0x00010001,  ///< SyntheticFeature; before INITIALIZE only
    kTimeFreeze = 0x00030003,             ///< 1 stops the partition's time
    kReferenceTime = 0x00030005,          ///< 100 ns; writable while frozen
    kProcessorsPerSocket = 0x00050003,
    kGpaPageAccessTracking = 0x00050005,
    kUnimplementedMsrAction = 0x00050017,  ///< 0: #GP; 1: writes ignored, reads 0
    kProcessorVendor = 0x00060000,
    kProcessorXsaveFeatures = 0x00060002,
    kProcessorClFlushSize = 0x00060003,
    kCompatibilityVersion = 0x00060005,
    kPhysicalAddressWidth = 0x00060006,
    kXsaveStates = 0x00060007,
    kMaxXsaveDataSize = 0x00060008,         ///< bytes of VpStateType::kXsave
    kProcessorClockFrequency = 0x00060009,  ///< the TSC's, in Hz
    kProcessorFeatures0 = 0x0006000a,
    kProcessorFeatures1 = 0x0006000b,
    kGuestOsId = 0x00070000,
    kVmmCapabilities = 0x00090007,                  ///< kGetPartitionPropertyEx
    kAssignableSyntheticProcFeatures = 0x00090009,  ///< kGetPartitionPropertyEx; newer hypervisors
};

/// union hv_partition_synthetic_processor_features: bit numbers.
enum class SyntheticFeature : uint8_t {
    kHypervisorPresent = 0,
    kHv1 = 1,
    kVpRunTime = 2,
    kPartitionReferenceCounter = 3,
    kSynic = 4,
    kSyntheticTimers = 5,
    kInterruptControlMsrs = 6,
    kHypercallMsrs = 7,
    kVpIndex = 8,
    kReferenceTsc = 9,
    kGuestIdle = 10,
    kFrequencyMsrs = 11,
    kDirectSyntheticTimers = 22,
    kExtendedProcessorMasks = 24,
    kTlbFlushHypercalls = 25,
    kSyntheticClusterIpi = 26,
};

/// enum hv_register_name. FS and GS base are part of the segments.
enum class RegisterName : uint32_t {
    kExplicitSuspend = 0x00000000,
    kInterceptSuspend = 0x00000001,
    kInstructionEmulationHints = 0x00000002,
    kDispatchSuspend = 0x00000003,
    kInternalActivityState = 0x00000004,  ///< 0 waits for SIPI, 1 halted, 2 idle
    kPendingInterruption = 0x00010002,
    kInterruptState = 0x00010003,  ///< 0 interrupt shadow, 1 NMI masked
    kPendingEvent0 = 0x00010004,
    kPendingEvent1 = 0x00010005,
    kDeliverabilityNotifications = 0x00010006,  ///< 0 NMI window, 1 interrupt window
    kPendingDebugException = 0x00010007,
    kRax = 0x00020000,  ///< RCX ... R15 follow in the order of their encoding
    kRip = 0x00020010,
    kRflags = 0x00020011,
    kXmm0 = 0x00030000,
    kFpMmx0 = 0x00030010,
    kFpControlStatus = 0x00030018,
    kXmmControlStatus = 0x00030019,
    kCr0 = 0x00040000,
    kCr2 = 0x00040001,
    kCr3 = 0x00040002,
    kCr4 = 0x00040003,
    kCr8 = 0x00040004,
    kXfem = 0x00040005,
    kIntermediateCr0 = 0x00041000,  ///< the intermediate names set without consistency checks
    kIntermediateCr3 = 0x00041002,
    kIntermediateCr4 = 0x00041003,
    kIntermediateCr8 = 0x00041004,
    kDr0 = 0x00050000,
    kDr6 = 0x00050004,
    kDr7 = 0x00050005,
    kEs = 0x00060000,
    kCs = 0x00060001,
    kSs = 0x00060002,
    kDs = 0x00060003,
    kFs = 0x00060004,
    kGs = 0x00060005,
    kLdtr = 0x00060006,
    kTr = 0x00060007,
    kIdtr = 0x00070000,
    kGdtr = 0x00070001,
    kTsc = 0x00080000,
    kEfer = 0x00080001,
    kKernelGsBase = 0x00080002,
    kApicBase = 0x00080003,
    kPat = 0x00080004,
    kSysenterCs = 0x00080005,
    kSysenterEip = 0x00080006,
    kSysenterEsp = 0x00080007,
    kStar = 0x00080008,
    kLstar = 0x00080009,
    kCstar = 0x0008000a,
    kSfmask = 0x0008000b,
    kInitialApicId = 0x0008000c,
    kMtrrCap = 0x0008000d,
    kMtrrDefType = 0x0008000e,
    kMtrrPhysBase0 = 0x00080010,
    kMtrrPhysMask0 = 0x00080040,
    kMtrrFix64k00000 = 0x00080070,  ///< the other fixed ranges follow
    kTscAux = 0x0008007b,
    kBndcfgs = 0x0008007c,
    kDebugCtl = 0x0008007d,
    kSpecCtrl = 0x00080084,
    kTsxCtrl = 0x00080088,
    kXss = 0x0008008b,
    kUCet = 0x0008008c,
    kSCet = 0x0008008d,
    kSsp = 0x0008008e,
    kPl0Ssp = 0x0008008f,  ///< PL1 to PL3 follow
    kInterruptSspTable = 0x00080093,
    kTscDeadline = 0x00080095,
    kTscAdjust = 0x00080096,
    kUmwaitControl = 0x00080098,
    kXfd = 0x00080099,
    kXfdErr = 0x0008009a,
    kMiscEnable = 0x000800a0,
    kApicId = 0x00084802,
    kApicVersion = 0x00084803,
    kHypercall = 0x00090001,
    kGuestOsId = 0x00090002,
    kVpIndex = 0x00090003,
    kTimeRefCount = 0x00090004,
    kVpAssistPage = 0x00090013,
    kReferenceTsc = 0x00090017,
    kSint0 = 0x000a0000,
    kScontrol = 0x000a0010,
    kSiefp = 0x000a0012,
    kSimp = 0x000a0013,
    kEom = 0x000a0014,
    kStimer0Config = 0x000b0000,
    kStimer0Count = 0x000b0001,
};

/// union hv_register_value: 16 bytes, the unused high part 0; also Segment and Table.
struct RegisterValue {
    uint64_t low;
    uint64_t high;
};
static_assert(sizeof(RegisterValue) == 16);

/// union hv_internal_activity_register, RegisterName::kInternalActivityState.
enum InternalActivity : uint64_t {
    kActivityStartupSuspend = 1U << 0,  ///< waits for a start-up IPI
    kActivityHaltSuspend = 1U << 1,
    kActivityIdleSuspend = 1U << 2,
};

/// union hv_x64_interrupt_state_register, RegisterName::kInterruptState.
enum InterruptStateBit : uint64_t {
    kInterruptShadow = 1U << 0,
    kNmiMasked = 1U << 1,
};

/// union hv_x64_deliverability_notifications_register: what is to be told when it can be delivered.
/// The message comes at once when it can be already, also to a VP that is halted.
enum DeliverabilityNotification : uint64_t {
    kNotifyNmi = 1U << 0,
    kNotifyInterrupt = 1U << 1,  ///< bits 2-5: of at least this priority; 0 is any, and an ExtINT
};

/// Types in a pending interruption and in the message that an interruption can be delivered.
enum class InterruptionType : uint8_t {
    kInterrupt = 0,
    kNmi = 2,
    kException = 3,
    kSoftwareInterrupt = 4,
    kPrivilegedSoftwareException = 5,
    kSoftwareException = 6,
};

/// union hv_x64_pending_interruption_register, RegisterName::kPendingInterruption: 0 pending, 1-3
/// InterruptionType, 4 deliver the error code, 5-8 instruction length, 9 nested event, 16-31
/// vector, 32-63 error code.
constexpr RegisterValue pending_interruption(InterruptionType type, uint8_t vector) {
    return {1U | static_cast<uint64_t>(type) << 1 | static_cast<uint64_t>(vector) << 16, 0};
}

/// HV_X64_PENDING_EVENT_*: which form RegisterName::kPendingEvent0 has.
enum class PendingEventType : uint8_t {
    kException = 0,
    kMemoryIntercept = 1,
    kNestedMemoryIntercept = 2,
    kVirtualizationFault = 3,
    kHypercallOutput = 4,
    kExtInt = 5,
    kShadowIpt = 6,
};

/// union hv_x64_pending_exception_event: 0 pending, 1-3 PendingEventType, 8 deliver the error code,
/// 16-31 vector, 32-63 error code, 64-127 parameter (CR2 of a page fault).
constexpr RegisterValue pending_exception(uint8_t vector, bool has_error_code, uint32_t error_code,
                                          uint64_t parameter) {
    return {1U | static_cast<uint64_t>(PendingEventType::kException) << 1 |
                static_cast<uint64_t>(has_error_code) << 8 | static_cast<uint64_t>(vector) << 16 |
                static_cast<uint64_t>(error_code) << 32,
            parameter};
}

/// union hv_x64_pending_ext_int_event (WHV_X64_PENDING_EXT_INT_EVENT of the Windows SDK): 0
/// pending, 1-3 PendingEventType, 8-15 vector.
constexpr RegisterValue pending_ext_int(uint8_t vector) {
    return {1U | static_cast<uint64_t>(PendingEventType::kExtInt) << 1 |
                static_cast<uint64_t>(vector) << 8,
            0};
}

/// struct hv_register_assoc.
struct RegisterAssociation {
    RegisterName name;
    uint32_t reserved1;
    uint64_t reserved2;
    RegisterValue value;
};
static_assert(sizeof(RegisterAssociation) == 32);
static_assert(offsetof(RegisterAssociation, value) == 16);

/// struct hv_input_get_vp_registers and hv_input_set_vp_registers, before the list.
struct VpRegistersInput {
    uint64_t partition_id;
    uint32_t vp_index;
    uint8_t vtl;
    uint8_t reserved[3];
};
static_assert(sizeof(VpRegistersInput) == 16);

/// struct hv_input_get_partition_property; the output is the value, 8 bytes.
struct GetPropertyInput {
    uint64_t partition_id;
    PartitionProperty property;
    uint32_t reserved;
};
static_assert(sizeof(GetPropertyInput) == 16);
static_assert(offsetof(GetPropertyInput, property) == 8);

/// struct hv_input_set_partition_property; also kGetPartitionPropertyEx, with its argument.
struct SetPropertyInput {
    uint64_t partition_id;
    PartitionProperty property;
    uint32_t reserved;
    uint64_t value;
};
static_assert(sizeof(SetPropertyInput) == 24);

/// enum hv_intercept_type.
enum class InterceptType : uint32_t {
    kIoPort = 0,
    kMsr = 1,
    kCpuid = 2,
    kException = 3,
    kMmio = 5,
    kGlobalCpuid = 6,
    kApicSmi = 7,
    kHypercall = 8,
    kApicInitSipi = 9,
    kMcUpdatePatchLevelMsrRead = 0xa,
    kApicWrite = 0xb,
    kMsrIndex = 0xc,
};

/// HV_INTERCEPT_ACCESS_MASK_*; none removes the intercept. A CPUID or an exception is an execution.
enum InterceptAccessMask : uint32_t {
    kInterceptNone = 0,
    kInterceptRead = 1U << 0,
    kInterceptWrite = 1U << 1,
    kInterceptExecute = 1U << 2,
};

/// struct hv_input_install_intercept.
struct InstallInterceptInput {
    uint64_t partition_id;
    uint32_t access_mask;  ///< InterceptAccessMask
    InterceptType type;
    uint64_t parameter;  ///< port, vector, MSR
};
static_assert(sizeof(InstallInterceptInput) == 24);
static_assert(offsetof(InstallInterceptInput, parameter) == 16);

/// HV_TRANSLATE_GVA_*.
enum TranslateFlag : uint64_t {
    kTranslateValidateRead = 0x001,
    kTranslateValidateWrite = 0x002,
    kTranslateValidateExecute = 0x004,
    kTranslatePrivilegeExempt = 0x008,
    kTranslateSetPageTableBits = 0x010,
    kTranslateTlbFlushInhibit = 0x020,
    kTranslateSupervisorAccess = 0x040,
    kTranslateUserAccess = 0x080,
    kTranslateEnforceSmap = 0x100,
    kTranslateOverrideSmap = 0x200,
    kTranslateShadowStack = 0x400,
};

/// enum hv_translate_gva_result_code: an outcome, with status kSuccess.
enum class TranslateResult : uint32_t {
    kSuccess = 0,
    kPageNotPresent = 1,
    kPrivilegeViolation = 2,
    kInvalidPageTableFlags = 3,
    kGpaUnmapped = 4,
    kGpaNoReadAccess = 5,
    kGpaNoWriteAccess = 6,
    kGpaIllegalOverlayAccess = 7,
    kIntercept = 8,
    kGpaUnaccepted = 9,
};

/// struct hv_input_translate_virtual_address.
struct TranslateInput {
    uint64_t partition_id;
    uint32_t vp_index;
    uint32_t reserved;
    uint64_t flags;     ///< TranslateFlag
    uint64_t gva_page;  ///< a page number
};
static_assert(sizeof(TranslateInput) == 32);

/// struct hv_output_translate_virtual_address.
struct TranslateOutput {
    TranslateResult result;
    uint32_t cache_type_and_overlay;  ///< 0-7 cache type, 8 overlay page
    uint64_t gpa_page;
};
static_assert(sizeof(TranslateOutput) == 16);

/// enum hv_interrupt_type.
enum class InterruptType : uint32_t {
    kFixed = 0,
    kLowestPriority = 1,
    kSmi = 2,
    kRemoteRead = 3,
    kNmi = 4,
    kInit = 5,
    kSipi = 6,
    kExtInt = 7,
    kLocalInt0 = 8,
    kLocalInt1 = 9,
};

/// Bits of AssertInterruptInput::control above the InterruptType.
inline constexpr uint64_t kInterruptLevelTriggered = uint64_t{1} << 32;
inline constexpr uint64_t kInterruptLogicalDestination = uint64_t{1} << 33;

/// struct hv_input_assert_virtual_interrupt.
struct AssertInterruptInput {
    uint64_t partition_id;
    uint64_t control;
    uint64_t destination;  ///< APIC id, or logical destination
    uint32_t vector;
    uint8_t vtl;
    uint8_t reserved[3];
};
static_assert(sizeof(AssertInterruptInput) == 32);
static_assert(offsetof(AssertInterruptInput, vector) == 24);

/// hv_input_register_intercept_result with a CPUID result. The guest sees value where mask is set,
/// the hypervisor's bits elsewhere.
struct [[gnu::packed]] RegisterCpuidResultInput {
    uint64_t partition_id;
    uint32_t vp_index;   ///< or kAnyVp
    InterceptType type;  ///< kCpuid
    uint32_t eax;
    uint32_t ecx;
    uint8_t subleaf_specific;
    uint8_t always_override;
    uint16_t reserved;
    struct {
        uint32_t value;
        uint32_t mask;
    } result[4];  ///< eax, ebx, ecx, edx
};
static_assert(sizeof(RegisterCpuidResultInput) == 60);
static_assert(offsetof(RegisterCpuidResultInput, eax) == 16);
static_assert(offsetof(RegisterCpuidResultInput, result) == 28);

/// hv_input_register_intercept_result with an MSR result.
struct [[gnu::packed]] RegisterMsrResultInput {
    uint64_t partition_id;
    uint32_t vp_index;   ///< or kAnyVp
    InterceptType type;  ///< kMsr
    uint32_t msr;
    uint32_t access_mask;  ///< InterceptAccessMask
    uint32_t action;
    uint32_t reserved[8];
};
static_assert(sizeof(RegisterMsrResultInput) == 60);
static_assert(offsetof(RegisterMsrResultInput, action) == 24);

/// struct hv_input_get_vp_cpuid_values, before the list.
struct GetCpuidInput {
    uint64_t partition_id;
    uint32_t vp_index;
    uint32_t flags;  ///< 0 use the VP's xfem and xss, 1 apply registered results
    uint32_t reserved[2];
};
static_assert(sizeof(GetCpuidInput) == 24);

struct CpuidLeaf {
    uint32_t eax;
    uint32_t ecx;
    uint64_t xfem;
    uint64_t xss;
};
static_assert(sizeof(CpuidLeaf) == 24);

struct CpuidValues {
    uint32_t eax, ebx, ecx, edx;
    friend bool operator==(const CpuidValues&, const CpuidValues&) = default;
};
static_assert(sizeof(CpuidValues) == 16);

/// struct hv_local_interrupt_controller_state, VpStateType::kLapic: the page's used part. What is
/// behind it, and bits that no manual names (a pending NMI), are part of the state. The TPR is CR8.
struct LapicState {
    uint32_t apic_id;
    uint32_t version;
    uint32_t logical_destination;
    uint32_t destination_format;
    uint32_t spurious_vector;
    uint32_t isr[8];
    uint32_t tmr[8];
    uint32_t irr[8];
    uint32_t esr;
    uint32_t icr_high;
    uint32_t icr_low;
    uint32_t lvt_timer;
    uint32_t lvt_thermal;
    uint32_t lvt_performance;
    uint32_t lvt_lint0;
    uint32_t lvt_lint1;
    uint32_t lvt_error;
    uint32_t lvt_cmci;
    uint32_t error_status;
    uint32_t initial_count;
    uint32_t current_count;
    uint32_t divide_configuration;
    uint32_t remote_read;
};
static_assert(sizeof(LapicState) == 176);
static_assert(offsetof(LapicState, isr) == 0x14);
static_assert(offsetof(LapicState, esr) == 0x74);
static_assert(offsetof(LapicState, lvt_lint0) == 0x8c);
static_assert(offsetof(LapicState, initial_count) == 0xa0);
static_assert(offsetof(LapicState, remote_read) == 0xac);

}  // namespace halcyon::mshv
