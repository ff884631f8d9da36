/// What a shell needs to complete halcyond's options, out of their table.
#pragma once

#include <string>

namespace halcyon {

/// The names of all options, aliases too, without dashes, separated by blanks.
[[nodiscard]] std::string completion_names();

/// Branches of a shell's `case`, one for each option that takes an argument. They set the variables
/// `words`, `keys`, `switches` and `files` that the template explains.
[[nodiscard]] std::string completion_arguments();

}  // namespace halcyon
