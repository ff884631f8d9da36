/// What the launcher's options ask for, handed to the library in the environment.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace halcyon::emulator {

/// Which generation of the driver: kOld is Linux 6.15 to about 6.18, kNew about 6.19 and later.
/// They differ in memory regions, EAGAIN on deposits, output copying, the device's ioctls and
/// CREATE_PARTITION's long form.
enum class Kernel { kOld, kNew };

/// Who schedules VPs: the hypervisor (an EINTR suspends the VP: its register page is valid), or
/// the root kernel (an EINTR does not: the page may be stale).
enum class Scheduler { kHypervisor, kRoot };

/// Faults that the program is made to see; every `n`-th time, 0 is never. Deterministic: each VP
/// and partition counts for itself.
struct FaultPlan {
    uint32_t spurious_eintr = 0;       ///< RUN_VP: EINTR with no signal, before the guest ran
    uint32_t message_with_signal = 0;  ///< RUN_VP: a pending signal does not win over a message:
                                       ///< the guest runs on until it has one
    uint32_t hypercall_eagain = 0;     ///< ROOT_HVCALL: EAGAIN, nothing done (old kernel's deposit)
    uint32_t partial_reps = 0;     ///< a list hypercall: EAGAIN after the first half of the list
    uint32_t hypercall_error = 0;  ///< ROOT_HVCALL: status OPERATION_FAILED, EIO
    uint32_t no_instruction_bytes = 0;   ///< messages with byte count 0
    uint32_t few_instruction_bytes = 0;  ///< messages with the first byte only
    uint32_t no_gva = 0;                 ///< memory intercepts with GVA and GVA-GPA invalid
    uint32_t page_invalid = 0;           ///< register page not valid after RUN_VP
    uint32_t halt_message = 0;           ///< a HALT message although there is a LAPIC
    uint32_t unknown_message = 0;        ///< a message of a type nobody defines
    uint32_t run_eagain = 0;             ///< RUN_VP: EAGAIN, as historic kernels
    uint32_t create_eintr = 0;           ///< CREATE_PARTITION: EINTR
    uint32_t bitmap_failure = 0;         ///< GET_GPAP_ACCESS_BITMAP: EIO half way
};

struct Options {
    Kernel kernel = Kernel::kNew;
    Scheduler scheduler = Scheduler::kHypervisor;
    /// Whether resamplefd works (Linux 7.2) or is always EINVAL.
    bool resample = false;
    /// Also trap open and openat, for programs that do not call the C library.
    bool trap_open = false;
    /// Whether processors have a register page (else its mmap is ENODEV, as for encrypted guests).
    bool register_page = true;
    FaultPlan faults;
    /// Where to log what was refused, and with what errno; empty for nowhere.
    std::string log_path;
};

/// A fault as the user names it ("partial-reps"), and what it does, in a few words.
struct FaultName {
    std::string_view name;
    uint32_t FaultPlan::*member;
    std::string_view meaning;
};
std::span<const FaultName> fault_names();

/// The environment variable that takes the options to the library and to the program's children.
inline constexpr const char* kOptionsVariable = "MSHV_EMULATOR";

/// The process's options, read once from that variable; those of an `Options{}` without it. Ends
/// the process with a message when it makes no sense. Any thread.
const Options& options();

/// Takes over one setting, as "kernel=old" or "fault.partial-reps=3". False, with the reason in
/// `error`, when it is none.
bool parse_setting(std::string_view setting, Options& result, std::string& error);

/// From and to the text in that variable: settings with commas between. '%' and ',' in a value are
/// written %25 and %2C. `parse_options` is false, and says why in `error`, for text it does not
/// understand. `format_options` writes what differs from an `Options{}`.
bool parse_options(const std::string& text, Options& result, std::string& error);
std::string format_options(const Options& options);

}  // namespace halcyon::emulator
