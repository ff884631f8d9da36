#include "tools/mshv-emulator/hypercalls.h"

#include <algorithm>
#include <cerrno>

#include "tools/mshv-emulator/hypercalls_serve.h"
#include "tools/mshv-emulator/log.h"
#include "tools/mshv-emulator/options.h"
#include "tools/mshv-emulator/partition.h"
#include "tools/mshv-emulator/trap.h"

namespace halcyon::emulator {

namespace {

using mshv::HvStatus;
using mshv::HypercallCode;

enum class Caller { kDevice, kPartition, kVp };

constexpr uint16_t kMinInput = 8;

bool is_allowed(HypercallCode code, Caller caller) {
    switch (code) {
        case HypercallCode::kGetPartitionProperty:
            return true;
        case HypercallCode::kGetPartitionPropertyEx:
            return options().kernel == Kernel::kNew;
        case HypercallCode::kSetPartitionProperty:
            return caller == Caller::kPartition;
        case HypercallCode::kInstallIntercept:
        case HypercallCode::kGetVpRegisters:
        case HypercallCode::kSetVpRegisters:
        case HypercallCode::kTranslateVirtualAddress:
        case HypercallCode::kClearVirtualInterrupt:
        case HypercallCode::kRegisterInterceptResult:
        case HypercallCode::kAssertVirtualInterrupt:
        case HypercallCode::kSignalEventDirect:
        case HypercallCode::kPostMessageDirect:
        case HypercallCode::kGetGpaPagesAccessStates:
        case HypercallCode::kGetVpCpuidValues:
            return caller != Caller::kDevice;
    }
    return false;
}

/// The driver's own checks, in its order; 0 or -errno.
long check(const mshv::RootHypercall& request, Caller caller) {
    const bool reserved = std::any_of(std::begin(request.reserved), std::end(request.reserved),
                                      [](uint8_t byte) { return byte != 0; });
    if (request.status != 0 || request.input_pointer == 0 || request.input_size < kMinInput ||
        request.input_size > mshv::kHvPageSize || reserved) {
        return -EINVAL;
    }
    if (request.output_pointer != 0 &&
        (request.output_size == 0 || request.output_size > mshv::kHvPageSize)) {
        return -EINVAL;
    }
    return is_allowed(static_cast<HypercallCode>(request.code), caller) ? 0 : -EINVAL;
}

/// What FaultPlan makes of a call, before or instead of the call itself.
enum class Fault { kNone, kDeposit, kError, kPartial };

Fault next_fault(Partition* partition, uint32_t wanted) {
    if (partition == nullptr) {
        return Fault::kNone;
    }
    Partition::FaultCounters& counters = partition->fault_counters();
    const FaultPlan& plan = options().faults;
    if (due(counters.hypercall_eagain, plan.hypercall_eagain)) {
        return Fault::kDeposit;
    }
    if (due(counters.hypercall_error, plan.hypercall_error)) {
        return Fault::kError;
    }
    if (wanted > 1 && due(counters.partial_reps, plan.partial_reps)) {
        return Fault::kPartial;
    }
    return Fault::kNone;
}

HvStatus carry_out(Partition* partition, Hypercall& call) {
    const Fault fault = next_fault(partition, call.wanted);
    if (fault != Fault::kNone) {
        log_line("fault: hypercall 0x%x: %s", static_cast<unsigned>(call.code),
                 fault == Fault::kError ? "OPERATION_FAILED" : "EAGAIN");
    }
    switch (fault) {
        case Fault::kDeposit:
            return HvStatus::kInsufficientMemory;
        case Fault::kError:
            return HvStatus::kOperationFailed;
        case Fault::kPartial: {
            call.wanted /= 2;
            const HvStatus status = serve_hypercall(*partition, call);
            return status == HvStatus::kSuccess ? HvStatus::kInsufficientMemory : status;
        }
        case Fault::kNone:
            break;
    }
    return partition == nullptr ? serve_host_hypercall(call) : serve_hypercall(*partition, call);
}

long root_hypercall(Partition* partition, Caller caller, unsigned long argument) {
    mshv::RootHypercall request{};
    if (copy_from_program(&request, argument, sizeof(request)) < 0) {
        return -EFAULT;
    }
    if (const long error = check(request, caller); error < 0) {
        log_line("hypercall 0x%x: errno %ld", request.code, -error);
        return error;
    }
    Hypercall call;
    call.code = static_cast<HypercallCode>(request.code);
    call.wanted = request.repetitions;
    if (copy_from_program(call.input.data(), request.input_pointer, request.input_size) < 0) {
        return -EFAULT;
    }
    const HvStatus status = carry_out(partition, call);
    // The only source of this status is a deposit that the driver leaves to the caller to retry.
    const long result = status == HvStatus::kInsufficientMemory ? -EAGAIN : status_to_errno(status);
    request.status = static_cast<uint16_t>(status);
    request.repetitions = static_cast<uint16_t>(call.done);
    if (status != HvStatus::kSuccess) {
        log_line("hypercall 0x%x: status 0x%x, %u of %u done", request.code, request.status,
                 call.done, call.wanted);
    }
    if (copy_to_program(argument, &request, sizeof(request)) < 0) {
        return -EFAULT;
    }
    const bool has_output = request.output_pointer != 0 &&
                            (status == HvStatus::kSuccess || options().kernel == Kernel::kOld);
    if (has_output &&
        copy_to_program(request.output_pointer, call.output.data(), request.output_size) < 0) {
        return -EFAULT;
    }
    return result;
}

}  // namespace

long status_to_errno(HvStatus status) {
    switch (status) {
        case HvStatus::kSuccess:
            return 0;
        case HvStatus::kInvalidHypercallCode:
        case HvStatus::kInvalidHypercallInput:
        case HvStatus::kInvalidParameter:
        case HvStatus::kInvalidPartitionId:
        case HvStatus::kInvalidVpIndex:
        case HvStatus::kInvalidPortId:
        case HvStatus::kInvalidConnectionId:
        case HvStatus::kInvalidLpIndex:
        case HvStatus::kInvalidRegisterValue:
            return -EINVAL;
        case HvStatus::kInsufficientMemory:
            return -ENOMEM;
        default:
            return -EIO;
    }
}

long device_hypercall(unsigned long argument) {
    return root_hypercall(nullptr, Caller::kDevice, argument);
}

long partition_hypercall(Partition& partition, unsigned long argument) {
    return root_hypercall(&partition, Caller::kPartition, argument);
}

long vp_hypercall(Partition& partition, unsigned long argument) {
    return root_hypercall(&partition, Caller::kVp, argument);
}

}  // namespace halcyon::emulator
