/// -daemonize: a parent that waits until its child is up.
#pragma once

#include <utility>

#include "base/result.h"
#include "base/unique_fd.h"

namespace halcyon {

/// The child's end of the handshake. The child starts up with the parent's standard error, so that
/// its errors are seen there; the parent exits with 0 when the child says that it is ready, and
/// with 1 when the child ends before.
class DaemonHandshake {
public:
    /// Forks. Returns in the child, which has a session of its own; the parent does not return but
    /// exits. Before any thread exists.
    static Result<DaemonHandshake> fork_to_background();

    /// Lets go of the terminal and the working directory, then tells the parent.
    Result<void> report_ready();

private:
    explicit DaemonHandshake(UniqueFd parent) : parent_(std::move(parent)) {}

    UniqueFd parent_;
};

/// Opens /dev/null for each of the descriptors 0, 1 and 2 that is closed, so that nothing else
/// takes its place and is then mistaken for it.
Result<void> ensure_standard_descriptors();

}  // namespace halcyon
