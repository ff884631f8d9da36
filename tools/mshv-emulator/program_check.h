/// Whether a library can be preloaded into a program, before it is tried in vain.
#pragma once

#include <string>

namespace halcyon::emulator {

/// The file that execvp would run for `program`: 0, or an errno.
int find_program(const std::string& program, std::string& path);

/// What keeps the dynamic linker from preloading into that file ("is ..."); empty when nothing
/// does. Follows scripts to what runs them.
std::string why_not_preloadable(const std::string& path);

}  // namespace halcyon::emulator
