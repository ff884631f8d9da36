/// daemon_main: all of the program but its list of accelerators.
#pragma once

#include <span>

#include "accel/accelerator.h"

namespace halcyon {

/// Runs the daemon with the command line of `main` and the accelerators that `-accel` can name.
/// Returns the process's exit code: 0 after the machine's end, -help and -version; 1 when the
/// command line is wrong or the start fails, after one line on standard error.
int daemon_main(int argc, char** argv, std::span<const Accelerator* const> accelerators);

}  // namespace halcyon
