/// Accelerator: one way to run guests on this host, and the list of all that were built in.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "accel/partition.h"
#include "base/result.h"

namespace halcyon {

/// A backend's front. Stateless; lives as long as the process. Main thread.
class Accelerator {
public:
    virtual ~Accelerator() = default;

    /// The name `-accel` takes.
    [[nodiscard]] virtual std::string_view name() const = 0;
    /// Whether guests can run here now; the Error says in one line why not and what would help.
    [[nodiscard]] virtual Result<void> probe() const = 0;
    virtual Result<std::unique_ptr<Partition>> create_partition(
        const PartitionConfig& config) const = 0;
    /// How a running vCPU is stopped, in a few words, for diagnostics ("signal, immediate exit").
    [[nodiscard]] virtual std::string_view kick_mechanism() const = 0;
};

/// Every backend of this build, best first: mshv, kvm, soft. Adding one is a folder and a row in
/// registry.cpp.
[[nodiscard]] std::span<const Accelerator* const> accelerators();

/// The backend of that name; null when this build has none.
[[nodiscard]] const Accelerator* find_accelerator(std::string_view name);

}  // namespace halcyon
