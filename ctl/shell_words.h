/// Words of a line, quoted as in sh.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace halcyon {

/// Splits at spaces and tabs. In '...' everything is as it is; in "..." and outside of quotes a
/// backslash takes the next character as it is. Fails if a quote is not closed.
[[nodiscard]] Result<std::vector<std::string>> split_shell_words(std::string_view line);

}  // namespace halcyon
