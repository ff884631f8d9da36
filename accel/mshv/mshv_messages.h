/// What the hypervisor tells us: the message that MSHV_RUN_VP fills, its intercept payloads, and
/// the register page. Layouts and names follow the kernel's include/hyperv/hvhdk.h and the
/// Hypervisor Top-Level Functional Specification ("TLFS", intercept messages).
#pragma once

#include <cstddef>
#include <cstdint>

#include "accel/mshv/mshv_abi.h"

namespace halcyon::mshv {

/// enum hv_message_type, as far as a plain x86-64 guest's VP can produce it.
enum class MessageType : uint32_t {
    kNone = 0,
    kUnmappedGpa = 0x80000000,            ///< access to nothing: MMIO. MemoryIntercept
    kGpaIntercept = 0x80000001,           ///< write to read-only memory. MemoryIntercept
    kUnacceptedGpa = 0x80000003,          ///< isolated guests only
    kGpaAttributeIntercept = 0x80000004,  ///< isolated guests only
    kTimerExpired = 0x80000010,
    kInvalidVpRegisterValue = 0x80000020,  ///< inconsistent state was loaded. VpMessage
    kUnrecoverableException = 0x80000021,  ///< triple fault. InterceptHeader alone
    kUnsupportedFeature = 0x80000022,      ///< UnsupportedFeature
    kOpaqueIntercept = 0x8000003f,         ///< isolated guests only
    kHypercallIntercept = 0x80000050,      ///< if installed. HypercallIntercept
    kSynicEvent = 0x80000060,
    kSynicSintIntercept = 0x80000061,
    kSynicSintDeliverable = 0x80000062,     ///< if asked for. SintDeliverable
    kAsyncCallCompletion = 0x80000070,      ///< the driver's own
    kSchedulerVpSignalBitset = 0x80000100,  ///< the driver's own
    kSchedulerVpSignalPair = 0x80000101,    ///< the driver's own
    kX64IoPortIntercept = 0x80010000,       ///< IoPortIntercept
    kX64MsrIntercept = 0x80010001,          ///< if installed. MsrIntercept
    kX64CpuidIntercept = 0x80010002,        ///< if installed. CpuidIntercept
    kX64ExceptionIntercept = 0x80010003,    ///< if installed. ExceptionIntercept
    kX64ApicEoi = 0x80010004,               ///< end of a level-triggered vector. ApicEoi
    kX64LegacyFpError = 0x80010005,
    kX64IommuPrq = 0x80010006,
    kX64Halt = 0x80010007,                     ///< InterceptHeader alone
    kX64InterruptionDeliverable = 0x80010008,  ///< if asked for. InterruptionDeliverable
    kX64SipiIntercept = 0x80010009,            ///< if installed. SipiIntercept
    kX64SevVmgexitIntercept = 0x80010013,      ///< isolated guests only
};

inline constexpr size_t kMessagePayloadSize = 240;

/// struct hv_message.
struct Message {
    MessageType type;
    uint8_t payload_size;
    uint8_t flags;  ///< bit 0: more messages are pending
    uint16_t reserved;
    uint64_t sender;
    alignas(8) std::byte payload[kMessagePayloadSize];
};
static_assert(sizeof(Message) == kRunVpBufferSize);
static_assert(offsetof(Message, payload_size) == 4);
static_assert(offsetof(Message, sender) == 8);
static_assert(offsetof(Message, payload) == 16);

/// struct hv_x64_segment_register. `attributes`: type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14,
/// G 15. Unusable is P clear.
struct Segment {
    uint64_t base;
    uint32_t limit;  ///< in bytes, expanded
    uint16_t selector;
    uint16_t attributes;
};
static_assert(sizeof(Segment) == 16);
static_assert(offsetof(Segment, selector) == 12);

/// struct hv_x64_table_register.
struct Table {
    uint16_t reserved[3];
    uint16_t limit;
    uint64_t base;
};
static_assert(sizeof(Table) == 16);
static_assert(offsetof(Table, limit) == 6);

/// HV_INTERCEPT_ACCESS_*.
enum class InterceptAccess : uint8_t { kRead = 0, kWrite = 1, kExecute = 2 };

/// union hv_x64_vp_execution_state.
enum ExecutionState : uint16_t {
    kExecutionCplMask = 3U << 0,
    kExecutionCr0Pe = 1U << 2,
    kExecutionCr0Am = 1U << 3,
    kExecutionEferLma = 1U << 4,
    kExecutionDebugActive = 1U << 5,
    kExecutionInterruptionPending = 1U << 6,
    kExecutionInterruptShadow = 1U << 12,
};

/// struct hv_x64_intercept_message_header: the state at the intercepted instruction.
struct InterceptHeader {
    uint32_t vp_index;
    uint8_t length_and_cr8;  ///< 0-3 length of the instruction, not of memory intercepts; 4-7 CR8
    InterceptAccess access;
    uint16_t execution_state;  ///< ExecutionState
    Segment cs;
    uint64_t rip;
    uint64_t rflags;

    [[nodiscard]] constexpr unsigned instruction_length() const { return length_and_cr8 & 0xfU; }
    [[nodiscard]] constexpr unsigned cr8() const { return length_and_cr8 >> 4; }
};
static_assert(sizeof(InterceptHeader) == 0x28);
static_assert(offsetof(InterceptHeader, access) == 0x05);
static_assert(offsetof(InterceptHeader, execution_state) == 0x06);
static_assert(offsetof(InterceptHeader, cs) == 0x08);
static_assert(offsetof(InterceptHeader, rip) == 0x18);
static_assert(offsetof(InterceptHeader, rflags) == 0x20);

inline constexpr size_t kInstructionBytes = 16;

/// struct hv_x64_io_port_intercept_message.
struct IoPortIntercept {
    InterceptHeader header;
    uint16_t port;
    uint8_t access_info;  ///< 0-2 bytes (1, 2, 4); 3 string; 4 REP
    uint8_t instruction_byte_count;
    uint32_t reserved;
    uint64_t rax;
    uint8_t instruction_bytes[kInstructionBytes];
    Segment ds;
    Segment es;
    uint64_t rcx;
    uint64_t rsi;
    uint64_t rdi;

    [[nodiscard]] constexpr unsigned access_size() const { return access_info & 7U; }
    [[nodiscard]] constexpr bool is_string() const { return (access_info & 8U) != 0; }
    [[nodiscard]] constexpr bool has_rep() const { return (access_info & 16U) != 0; }
};
static_assert(sizeof(IoPortIntercept) == 128);
static_assert(offsetof(IoPortIntercept, port) == 0x28);
static_assert(offsetof(IoPortIntercept, rax) == 0x30);
static_assert(offsetof(IoPortIntercept, instruction_bytes) == 0x38);
static_assert(offsetof(IoPortIntercept, ds) == 0x48);
static_assert(offsetof(IoPortIntercept, rcx) == 0x68);

/// union hv_x64_memory_access_info.
enum MemoryAccessInfo : uint8_t {
    kGvaValid = 1U << 0,
    kGvaGpaValid = 1U << 1,  ///< the two addresses are of the same access
    kHypercallOutputPending = 1U << 2,
    kTlbLockedNoOverlay = 1U << 3,
};

/// struct hv_x64_memory_intercept_message. No data, no width: the instruction must be decoded.
struct MemoryIntercept {
    InterceptHeader header;
    uint32_t cache_type;
    uint8_t instruction_byte_count;  ///< 0 to 16; may be too few
    uint8_t access_info;             ///< MemoryAccessInfo
    uint8_t tpr_priority;
    uint8_t reserved;
    uint64_t guest_virtual_address;
    uint64_t guest_physical_address;
    uint8_t instruction_bytes[kInstructionBytes];
};
static_assert(sizeof(MemoryIntercept) == 80);
static_assert(offsetof(MemoryIntercept, instruction_byte_count) == 0x2c);
static_assert(offsetof(MemoryIntercept, guest_virtual_address) == 0x30);
static_assert(offsetof(MemoryIntercept, instruction_bytes) == 0x40);

/// struct hv_x64_msr_intercept_message.
struct MsrIntercept {
    InterceptHeader header;
    uint32_t msr;
    uint32_t reserved;
    uint64_t rdx;
    uint64_t rax;
};
static_assert(sizeof(MsrIntercept) == 64);

/// struct hv_x64_cpuid_intercept_message.
struct CpuidIntercept {
    InterceptHeader header;
    uint64_t rax, rcx, rdx, rbx;
    uint64_t default_rax, default_rcx, default_rdx, default_rbx;  ///< the hypervisor's answer
};
static_assert(sizeof(CpuidIntercept) == 104);

/// struct hv_x64_exception_intercept_message.
struct ExceptionIntercept {
    InterceptHeader header;
    uint16_t vector;
    uint8_t info;  ///< 0 error code valid, 1 software exception
    uint8_t instruction_byte_count;
    uint32_t error_code;
    uint64_t parameter;
    uint64_t reserved;
    uint8_t instruction_bytes[kInstructionBytes];
    Segment ds;
    Segment ss;
    uint64_t gpr[16];  ///< in the order of their encoding
};
static_assert(sizeof(ExceptionIntercept) == kMessagePayloadSize);
static_assert(offsetof(ExceptionIntercept, instruction_bytes) == 0x40);
static_assert(offsetof(ExceptionIntercept, ds) == 0x50);
static_assert(offsetof(ExceptionIntercept, gpr) == 0x70);

/// struct hv_x64_hypercall_intercept_message.
struct [[gnu::packed]] HypercallIntercept {
    InterceptHeader header;
    uint64_t rax, rbx, rcx, rdx, r8, rsi, rdi;
    uint64_t xmm[6][2];
    uint32_t flags;
};
static_assert(sizeof(HypercallIntercept) == 196);
static_assert(offsetof(HypercallIntercept, xmm) == 0x60);

/// struct hv_x64_sipi_intercept_message.
struct SipiIntercept {
    InterceptHeader header;
    uint32_t target_vp_index;
    uint32_t vector;
};
static_assert(sizeof(SipiIntercept) == 48);

/// struct hv_x64_interruption_deliverable_message; `type` as in a pending interruption.
struct InterruptionDeliverable {
    InterceptHeader header;
    uint32_t type;
    uint32_t reserved;
};
static_assert(sizeof(InterruptionDeliverable) == 48);

/// struct hv_x64_sint_deliverable_message.
struct SintDeliverable {
    InterceptHeader header;
    uint16_t sints;  ///< a bit for each
    uint16_t reserved[3];
};
static_assert(sizeof(SintDeliverable) == 48);

/// The payload of messages that have no InterceptHeader starts with this.
struct VpMessage {
    uint32_t vp_index;
    uint32_t reserved;
};
static_assert(sizeof(VpMessage) == 8);

/// struct hv_x64_apic_eoi_message.
struct ApicEoi {
    uint32_t vp_index;
    uint32_t vector;
};
static_assert(sizeof(ApicEoi) == 8);

/// struct hv_x64_unsupported_feature_message.
struct UnsupportedFeature {
    uint32_t vp_index;
    uint32_t code;  ///< 1 intercept, 2 task switch
    uint64_t parameter;
};
static_assert(sizeof(UnsupportedFeature) == 16);

/// hv_vp_register_page::dirty: which groups we changed. The hypervisor takes them over at the next
/// run and clears the bits.
enum RegisterPageDirty : uint32_t {
    kDirtyGpr = 1U << 0,
    kDirtyRip = 1U << 1,
    kDirtyXmm = 1U << 2,
    kDirtySegments = 1U << 3,
    kDirtyRflags = 1U << 4,
};

/// HV_VP_REGISTER_PAGE_VERSION_1.
inline constexpr uint16_t kRegisterPageVersion = 1;

/// HV_VP_REGISTER_PAGE_MAX_VECTOR_COUNT.
inline constexpr size_t kRegisterPageVectors = 7;

/// struct hv_vp_register_page, as hypervisors fill it (the header of Linux 6.14 lacked the 8
/// reserved bytes before XMM). Valid only while `is_valid`; control registers are read-only.
struct RegisterPage {
    uint16_t version;  ///< kRegisterPageVersion
    uint8_t is_valid;
    uint8_t reserved0;
    uint32_t dirty;    ///< RegisterPageDirty
    uint64_t gpr[16];  ///< in the order of their encoding
    uint64_t rip;
    uint64_t rflags;
    uint64_t reserved1;
    uint64_t xmm[6][2];
    Segment es, cs, ss, ds, fs, gs;
    uint64_t cr0, cr3, cr4, cr8;
    uint64_t efer;
    uint64_t dr7;
    uint64_t pending_interruption;
    uint64_t interrupt_state;
    uint64_t instruction_emulation_hints;
    uint64_t xfem;
    uint8_t reserved2[0x100];
    uint8_t interrupt_vector_count;  ///< the driver's, also while the VP runs
    uint8_t interrupt_vectors[kRegisterPageVectors];
    uint8_t unused[kHvPageSize - 0x2b8];
};
static_assert(sizeof(RegisterPage) == kHvPageSize);
static_assert(offsetof(RegisterPage, dirty) == 0x004);
static_assert(offsetof(RegisterPage, gpr) == 0x008);
static_assert(offsetof(RegisterPage, rip) == 0x088);
static_assert(offsetof(RegisterPage, rflags) == 0x090);
static_assert(offsetof(RegisterPage, xmm) == 0x0a0);
static_assert(offsetof(RegisterPage, es) == 0x100);
static_assert(offsetof(RegisterPage, cr0) == 0x160);
static_assert(offsetof(RegisterPage, efer) == 0x180);
static_assert(offsetof(RegisterPage, pending_interruption) == 0x190);
static_assert(offsetof(RegisterPage, xfem) == 0x1a8);
static_assert(offsetof(RegisterPage, interrupt_vector_count) == 0x2b0);

}  // namespace halcyon::mshv
