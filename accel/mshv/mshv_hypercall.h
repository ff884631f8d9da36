/// HypercallPort: a descriptor of the driver as a way to the hypervisor.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "accel/mshv/mshv_driver.h"
#include "accel/mshv/mshv_hypercalls.h"
#include "base/result.h"

namespace halcyon::mshv {

/// What became of a hypercall. The driver's errno merges most of the hypervisor's statuses; whoever
/// has to tell them apart looks here.
struct HypercallOutcome {
    int error = 0;  ///< errno; 0 is success
    /// kSuccess together with an error: the driver refused, and the hypervisor was not asked.
    HvStatus status = HvStatus::kSuccess;
    /// Elements of the list that were done, in order from the first.
    size_t done = 0;

    [[nodiscard]] bool ok() const { return error == 0; }
    /// Whether the hypervisor itself said no.
    [[nodiscard]] bool refused() const { return status != HvStatus::kSuccess; }
    [[nodiscard]] Result<void> to_result(HypercallCode code) const;
};

/// Calls made, repetitions included. Any thread.
struct HypercallCounters {
    std::atomic<uint64_t> calls{0};
    std::atomic<uint64_t> repeated{0};  ///< of those, because of EAGAIN or EINTR
};

/// Hypercalls through one descriptor: the device's, a partition's or a VP's (MSHV_ROOT_HVCALL). A
/// call is repeated while the driver answers EINTR or EAGAIN, and a list that was done in part goes
/// on behind that part; both at most kMaxAttempts times. Any thread; calls on a VP's descriptor
/// wait for its MSHV_RUN_VP to end.
class HypercallPort {
public:
    /// Neither owns the descriptor nor looks whether it is open.
    HypercallPort(Driver& driver, int fd) : driver_(driver), fd_(fd) {}
    HypercallPort(const HypercallPort&) = delete;
    HypercallPort& operator=(const HypercallPort&) = delete;

    /// One call without a list. Sizes as the hypervisor has them; empty `output` for none.
    HypercallOutcome try_call(HypercallCode code, std::span<const std::byte> input,
                              std::span<std::byte> output = {});

    /// A call with a list: `header`, then `count` elements of the given sizes; output size 0 for
    /// none.
    struct List {
        std::span<const std::byte> header;
        std::span<const std::byte> input;
        size_t input_element = 1;
        std::span<std::byte> output = {};
        size_t output_element = 0;
    };
    HypercallOutcome try_call(HypercallCode code, const List& list);

    template <typename Input>
    Result<void> call(HypercallCode code, const Input& input) {
        return try_call(code, std::as_bytes(std::span(&input, 1))).to_result(code);
    }
    template <typename Output, typename Input>
    Result<Output> call_for(HypercallCode code, const Input& input) {
        Output output{};
        const auto outcome = try_call(code, std::as_bytes(std::span(&input, 1)),
                                      std::as_writable_bytes(std::span(&output, 1)));
        TRY(outcome.to_result(code));
        return output;
    }

    Result<uint64_t> property(PartitionProperty property);
    /// On a partition's descriptor.
    Result<void> set_property(PartitionProperty property, uint64_t value);

    [[nodiscard]] const HypercallCounters& counters() const { return counters_; }

private:
    int call_once(RootHypercall& call);

    Driver& driver_;
    const int fd_;
    HypercallCounters counters_;
};

/// "GET_VP_REGISTERS".
[[nodiscard]] const char* to_string(HypercallCode code);

}  // namespace halcyon::mshv
