/// Whether a path is the driver's device node.
#pragma once

#include <cstdint>

namespace halcyon::emulator {

/// Whether `path`, if relative then to the directory open as `directory` (or AT_FDCWD), is
/// /dev/mshv. Spelling only: no symbolic link leads to it. Any thread; keeps errno.
bool path_is_device(int directory, const char* path);

/// The same for a path that the kernel was given, which may be no memory at all.
bool program_path_is_device(int directory, uint64_t path);

}  // namespace halcyon::emulator
