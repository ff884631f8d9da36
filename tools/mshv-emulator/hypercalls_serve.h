/// The hypercalls themselves, behind the driver's checks. For hypercalls*.cpp only.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "accel/mshv/mshv_abi.h"
#include "accel/mshv/mshv_hypercalls.h"

namespace halcyon::emulator {

class Partition;

/// One call: its pages, as the driver hands them to the hypervisor. What the program did not give
/// of the input is zero.
struct Hypercall {
    mshv::HypercallCode code;
    uint32_t wanted = 0;  ///< list elements to do; 0 for a call without a list
    uint32_t done = 0;    ///< of them
    alignas(8) std::array<uint8_t, mshv::kHvPageSize> input{};
    alignas(8) std::array<uint8_t, mshv::kHvPageSize> output{};

    template <typename T>
    [[nodiscard]] T read(size_t offset = 0) const {
        T value{};
        std::memcpy(&value, input.data() + offset, sizeof(value));
        return value;
    }
    template <typename T>
    void write(size_t offset, const T& value) {
        std::memcpy(output.data() + offset, &value, sizeof(value));
    }
};

/// Carries a call out. `done` counts the list elements that were, also on failure.
mshv::HvStatus serve_hypercall(Partition& partition, Hypercall& call);
mshv::HvStatus serve_host_hypercall(Hypercall& call);

/// Those of hypercalls_registers.cpp.
mshv::HvStatus serve_get_registers(Partition& partition, Hypercall& call);
mshv::HvStatus serve_set_registers(Partition& partition, Hypercall& call);
mshv::HvStatus serve_translate(Partition& partition, Hypercall& call);
mshv::HvStatus serve_install_intercept(Partition& partition, const Hypercall& call);
mshv::HvStatus serve_register_result(Partition& partition, const Hypercall& call);
mshv::HvStatus serve_get_cpuid(Partition& partition, Hypercall& call);

}  // namespace halcyon::emulator
