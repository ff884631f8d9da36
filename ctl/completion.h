/// Completion of a command line, for the shell and for bash.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ctl/qmp_schema.h"

namespace halcyon {

/// What the word `partial` can become after the finished `words`: sorted, each beginning with
/// `partial`. What ends in '=' or '.' goes on without a space.
///
/// The first word is one of `own_commands` or of the schema's; the others are the command's
/// arguments: names that are not given yet, then for enumerations and booleans values.
[[nodiscard]] std::vector<std::string> complete(const QmpSchema& schema,
                                                std::span<const std::string_view> own_commands,
                                                std::span<const std::string> words,
                                                std::string_view partial);

}  // namespace halcyon
