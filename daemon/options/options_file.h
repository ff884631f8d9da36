/// The file of -options-file: options as on the command line, one a line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace halcyon {

/// One option of a file, as it stands there.
struct OptionLine {
    /// Counted from 1.
    size_t number = 0;
    /// The first word: "-smp".
    std::string option;
    /// The rest of the line without the space around it; empty when there is none.
    std::string argument;
};

/// The largest file read: far more than anybody writes, and an end to what has none.
inline constexpr size_t kMaxOptionsFile = 1024 * 1024;

/// Splits the text of a file. Empty lines and those that begin with '#' are left out; nothing is
/// quoted or escaped. Fails on control characters with the line's number in front: "3: ...".
[[nodiscard]] Result<std::vector<OptionLine>> split_option_lines(std::string_view text);

/// Reads and splits a file. The Error begins with its path, and where it can with the line:
/// "vm.conf:3: ...".
[[nodiscard]] Result<std::vector<OptionLine>> read_options_file(const std::string& path);

}  // namespace halcyon
