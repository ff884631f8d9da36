#include "accel/mshv/mshv_hypercall.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace halcyon::mshv {

const char* to_string(HypercallCode code) {
    switch (code) {
        case HypercallCode::kGetPartitionProperty:
            return "GET_PARTITION_PROPERTY";
        case HypercallCode::kSetPartitionProperty:
            return "SET_PARTITION_PROPERTY";
        case HypercallCode::kInstallIntercept:
            return "INSTALL_INTERCEPT";
        case HypercallCode::kGetVpRegisters:
            return "GET_VP_REGISTERS";
        case HypercallCode::kSetVpRegisters:
            return "SET_VP_REGISTERS";
        case HypercallCode::kTranslateVirtualAddress:
            return "TRANSLATE_VIRTUAL_ADDRESS";
        case HypercallCode::kClearVirtualInterrupt:
            return "CLEAR_VIRTUAL_INTERRUPT";
        case HypercallCode::kRegisterInterceptResult:
            return "REGISTER_INTERCEPT_RESULT";
        case HypercallCode::kAssertVirtualInterrupt:
            return "ASSERT_VIRTUAL_INTERRUPT";
        case HypercallCode::kSignalEventDirect:
            return "SIGNAL_EVENT_DIRECT";
        case HypercallCode::kPostMessageDirect:
            return "POST_MESSAGE_DIRECT";
        case HypercallCode::kGetGpaPagesAccessStates:
            return "GET_GPA_PAGES_ACCESS_STATES";
        case HypercallCode::kGetVpCpuidValues:
            return "GET_VP_CPUID_VALUES";
        case HypercallCode::kGetPartitionPropertyEx:
            return "GET_PARTITION_PROPERTY_EX";
    }
    return "?";
}

Result<void> HypercallOutcome::to_result(HypercallCode code) const {
    if (ok()) {
        return {};
    }
    std::string what = std::string("hypercall ") + to_string(code);
    if (refused()) {
        what += " (status " + std::to_string(static_cast<unsigned>(status)) + ")";
    }
    return Error::from_errno(std::move(what), error);
}

int HypercallPort::call_once(RootHypercall& call) {
    call.status = 0;
    counters_.calls.fetch_add(1, std::memory_order_relaxed);
    return driver_.ioctl(fd_, kIoctlRootHypercall, &call);
}

HypercallOutcome HypercallPort::try_call(HypercallCode code, std::span<const std::byte> input,
                                         std::span<std::byte> output) {
    RootHypercall call{};
    call.code = static_cast<uint16_t>(code);
    call.input_size = static_cast<uint16_t>(input.size());
    call.output_size = static_cast<uint16_t>(output.size());
    call.input_pointer = reinterpret_cast<uint64_t>(input.data());
    call.output_pointer = output.empty() ? 0 : reinterpret_cast<uint64_t>(output.data());
    int result = -EAGAIN;
    for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
        result = call_once(call);
        if (result != -EINTR && result != -EAGAIN) {
            break;
        }
        counters_.repeated.fetch_add(1, std::memory_order_relaxed);
    }
    if (result >= 0) {
        return {};
    }
    return {.error = -result, .status = HvStatus{call.status}, .done = 0};
}

HypercallOutcome HypercallPort::try_call(HypercallCode code, const List& list) {
    const size_t count = list.input.size() / list.input_element;
    size_t most = (kHvPageSize - list.header.size()) / list.input_element;
    if (list.output_element != 0) {
        most = std::min(most, kHvPageSize / list.output_element);
    }
    std::array<std::byte, kHvPageSize> input;  // filled as far as it is used
    std::memcpy(input.data(), list.header.data(), list.header.size());
    int attempts = 0;
    for (size_t done = 0; done < count;) {
        const size_t part = std::min(count - done, most);
        std::memcpy(input.data() + list.header.size(),
                    list.input.data() + done * list.input_element, part * list.input_element);
        RootHypercall call{};
        call.code = static_cast<uint16_t>(code);
        call.repetitions = static_cast<uint16_t>(part);
        call.input_size = static_cast<uint16_t>(list.header.size() + part * list.input_element);
        call.input_pointer = reinterpret_cast<uint64_t>(input.data());
        if (list.output_element != 0) {
            call.output_size = static_cast<uint16_t>(part * list.output_element);
            call.output_pointer =
                reinterpret_cast<uint64_t>(list.output.data() + done * list.output_element);
        }
        const int result = call_once(call);
        // A failure without a status came before the hypervisor: the count is still ours.
        const bool counted = result >= 0 || call.status != 0;
        const size_t completed = counted ? std::min<size_t>(call.repetitions, part) : 0;
        if (result >= 0 && completed != 0) {
            done += completed;
            continue;
        }
        const bool again = result == -EINTR || result == -EAGAIN;
        if (!again || ++attempts >= kMaxAttempts) {
            // Success without progress would be repeated for ever.
            return {.error = result < 0 ? -result : EIO,
                    .status = HvStatus{call.status},
                    .done = done + completed};
        }
        counters_.repeated.fetch_add(1, std::memory_order_relaxed);
        if (list.output_element == 0) {
            done += completed;  // with an output, what was done has perhaps not been copied out
        }
    }
    return {.done = count};
}

Result<uint64_t> HypercallPort::property(PartitionProperty property) {
    const GetPropertyInput input{.partition_id = 0, .property = property, .reserved = 0};
    return call_for<uint64_t>(HypercallCode::kGetPartitionProperty, input);
}

Result<void> HypercallPort::set_property(PartitionProperty property, uint64_t value) {
    const SetPropertyInput input{
        .partition_id = 0, .property = property, .reserved = 0, .value = value};
    return call(HypercallCode::kSetPartitionProperty, input);
}

}  // namespace halcyon::mshv
