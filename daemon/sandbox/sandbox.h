/// Sandbox: which system calls each kind of thread may make (-sandbox, seccomp(2)).
#pragma once

#include <linux/filter.h>

#include <array>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "daemon/options/options.h"
#include "machine/machine_config.h"

namespace halcyon {

/// The kinds of threads, by what they may do.
enum class SandboxRole {
    kMain,  ///< the main thread, and those it starts after it has entered
    kVcpu,
};

/// Some calls that a role may make, and why.
struct SandboxCalls {
    std::string_view reason;
    /// Separated by spaces. Behind a colon: only with this first argument ("tgkill:self": our own
    /// threads).
    std::string_view names;
};

/// All that a role may call. What is common to all comes first.
[[nodiscard]] std::vector<SandboxCalls> sandbox_calls(SandboxRole role);

/// The filters of one process, made before its threads. A call that is not in the list fails with
/// EPERM, or is only logged by the kernel (-sandbox log). Filters stay for a thread's life, are
/// inherited by the threads it starts, and only ever add up.
class Sandbox {
public:
    /// The filters, and no new privileges from now on. Null for -sandbox off. Fails where the
    /// kernel has no seccomp filters. Main thread, before there are others.
    static Result<std::unique_ptr<Sandbox>> create(SandboxMode mode);

    /// Restricts the calling thread. A kernel that does not do it any more, though it could before,
    /// ends the process: no thread runs on without what it was promised to have.
    void enter(SandboxRole role) const;

private:
    using Program = std::vector<sock_filter>;
    static constexpr size_t kRoles = 2;

    explicit Sandbox(std::array<Program, kRoles> programs) : programs_(std::move(programs)) {}

    std::array<Program, kRoles> programs_;
};

/// Whether this build can have a sandbox; without libseccomp it cannot.
[[nodiscard]] bool sandbox_is_built_in();

}  // namespace halcyon
