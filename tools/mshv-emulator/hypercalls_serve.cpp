#include "tools/mshv-emulator/hypercalls_serve.h"

#include <algorithm>
#include <vector>

#include "tools/mshv-emulator/partition.h"
#include "tools/mshv-emulator/properties.h"

namespace halcyon::emulator {

namespace {

using mshv::HvStatus;
using mshv::HypercallCode;

/// A list hypercall's header and elements, in bytes.
struct ListShape {
    uint32_t header;
    uint32_t input_element;
    uint32_t output_element;
};

/// Null for a call without a list.
const ListShape* list_shape(HypercallCode code) {
    static constexpr ListShape kGetRegisters{sizeof(mshv::VpRegistersInput), 4, 16};
    static constexpr ListShape kSetRegisters{sizeof(mshv::VpRegistersInput),
                                             sizeof(mshv::RegisterAssociation), 0};
    static constexpr ListShape kPageStates{24, 0, 1};
    static constexpr ListShape kCpuidValues{sizeof(mshv::GetCpuidInput), sizeof(mshv::CpuidLeaf),
                                            sizeof(mshv::CpuidValues)};
    switch (code) {
        case HypercallCode::kGetVpRegisters:
            return &kGetRegisters;
        case HypercallCode::kSetVpRegisters:
            return &kSetRegisters;
        case HypercallCode::kGetGpaPagesAccessStates:
            return &kPageStates;
        case HypercallCode::kGetVpCpuidValues:
            return &kCpuidValues;
        default:
            return nullptr;
    }
}

/// The hypervisor's check of a list: there must be one where the call has one, and it must fit.
bool has_valid_list(const Hypercall& call) {
    const ListShape* shape = list_shape(call.code);
    if (shape == nullptr) {
        return call.wanted == 0;
    }
    return call.wanted != 0 &&
           shape->header + call.wanted * shape->input_element <= mshv::kHvPageSize &&
           call.wanted * shape->output_element <= mshv::kHvPageSize;
}

HvStatus get_property(Partition& partition, Hypercall& call) {
    uint64_t value = 0;
    const auto property = call.read<mshv::GetPropertyInput>().property;
    const HvStatus status = partition.properties().get(partition, property, value);
    call.write(0, value);
    return status;
}

HvStatus get_property_ex(Hypercall& call) {
    const auto input = call.read<mshv::SetPropertyInput>();
    std::vector<uint8_t> value;
    const HvStatus status = get_host_property_ex(input.property, input.value, value);
    std::copy(value.begin(), value.end(), call.output.begin());
    return status;
}

HvStatus assert_interrupt(Partition& partition, const Hypercall& call) {
    const auto input = call.read<mshv::AssertInterruptInput>();
    return partition.interrupts().assert_interrupt(partition, input);
}

/// struct hv_input_signal_event_direct.
struct SignalEventInput {
    uint64_t partition_id;
    uint32_t vp_index;
    uint8_t vtl;
    uint8_t sint;
    uint16_t flag;
};
static_assert(sizeof(SignalEventInput) == 16);

HvStatus signal_event_direct(Partition& partition, Hypercall& call) {
    const auto input = call.read<SignalEventInput>();
    bool newly_signalled = false;
    const HvStatus status =
        signal_event(partition, input.vp_index, input.sint, input.flag, newly_signalled);
    call.write(0, static_cast<uint8_t>(newly_signalled ? 1 : 0));
    return status;
}

HvStatus post_message_direct(Partition& partition, const Hypercall& call) {
    // struct hv_input_post_message_direct.
    constexpr size_t kVpIndex = 8;
    constexpr size_t kSint = 16;
    constexpr size_t kMessage = 20;
    return post_message(partition, call.read<uint32_t>(kVpIndex), call.read<uint32_t>(kSint),
                        call.read<std::array<uint8_t, 256>>(kMessage));
}

HvStatus page_states(Partition& partition, Hypercall& call) {
    // struct hv_input_get_gpa_pages_access_state.
    constexpr size_t kFlags = 8;
    constexpr size_t kFirstPage = 16;
    uint64_t done = 0;
    const HvStatus status =
        partition.memory().page_states(call.read<uint64_t>(kFirstPage), call.wanted,
                                       call.read<uint64_t>(kFlags), call.output.data(), done);
    call.done = static_cast<uint32_t>(done);
    return status;
}

}  // namespace

HvStatus serve_hypercall(Partition& partition, Hypercall& call) {
    if (!has_valid_list(call)) {
        return HvStatus::kInvalidHypercallInput;
    }
    switch (call.code) {
        case HypercallCode::kGetPartitionProperty:
            return get_property(partition, call);
        case HypercallCode::kSetPartitionProperty: {
            const auto input = call.read<mshv::SetPropertyInput>();
            return partition.properties().set(partition, input.property, input.value);
        }
        case HypercallCode::kInstallIntercept:
            return serve_install_intercept(partition, call);
        case HypercallCode::kGetVpRegisters:
            return serve_get_registers(partition, call);
        case HypercallCode::kSetVpRegisters:
            return serve_set_registers(partition, call);
        case HypercallCode::kTranslateVirtualAddress:
            return serve_translate(partition, call);
        case HypercallCode::kClearVirtualInterrupt:
            partition.interrupts().clear_ext_int();
            return HvStatus::kSuccess;
        case HypercallCode::kRegisterInterceptResult:
            return serve_register_result(partition, call);
        case HypercallCode::kAssertVirtualInterrupt:
            return assert_interrupt(partition, call);
        case HypercallCode::kSignalEventDirect:
            return signal_event_direct(partition, call);
        case HypercallCode::kPostMessageDirect:
            return post_message_direct(partition, call);
        case HypercallCode::kGetGpaPagesAccessStates:
            return page_states(partition, call);
        case HypercallCode::kGetVpCpuidValues:
            return serve_get_cpuid(partition, call);
        case HypercallCode::kGetPartitionPropertyEx:
            return get_property_ex(call);
    }
    return HvStatus::kInvalidHypercallCode;
}

HvStatus serve_host_hypercall(Hypercall& call) {
    if (!has_valid_list(call)) {
        return HvStatus::kInvalidHypercallInput;
    }
    if (call.code == HypercallCode::kGetPartitionPropertyEx) {
        return get_property_ex(call);
    }
    uint64_t value = 0;
    const HvStatus status = get_host_property(call.read<mshv::GetPropertyInput>().property, value);
    call.write(0, value);
    return status;
}

}  // namespace halcyon::emulator
