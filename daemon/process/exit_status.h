/// ExitStatus: what the process's exit status says.
#pragma once

namespace halcyon {

/// docs/service.md has the table for users.
enum class ExitStatus {
    kEnded = 0,          ///< the machine ended as it was asked to, by a client, a signal, the guest
    kNotStarted = 1,     ///< there was no machine: an option, a file, the host
    kInternalError = 2,  ///< an accelerator could not go on with the guest
};

}  // namespace halcyon
