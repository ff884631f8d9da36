#include "daemon/options/options_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/unique_fd.h"

namespace halcyon {
namespace {

constexpr std::string_view kBlank = " \t\r";

std::string_view trim(std::string_view text) {
    const size_t begin = text.find_first_not_of(kBlank);
    if (begin == std::string_view::npos) {
        return {};
    }
    return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

/// What no option has: a NUL byte would cut a path off, and errors are one line.
bool is_control(char character) {
    const auto byte = static_cast<unsigned char>(character);
    return (byte < 0x20 && character != '\t') || byte == 0x7f;
}

Result<std::string> read_all(const std::string& path) {
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!file) {
        return Error::from_errno("cannot open it");
    }
    std::string text;
    std::array<char, 4096> chunk{};
    while (text.size() <= kMaxOptionsFile) {
        const ssize_t got = ::read(file.get(), chunk.data(), chunk.size());
        if (got == 0) {
            return text;
        }
        if (got > 0) {
            text.append(chunk.data(), static_cast<size_t>(got));
        } else if (errno != EINTR) {
            return Error::from_errno("cannot read it");
        }
    }
    return Error("is larger than " + std::to_string(kMaxOptionsFile) + " bytes",
                 ErrorCode::kInvalidArgument);
}

}  // namespace

Result<std::vector<OptionLine>> split_option_lines(std::string_view text) {
    std::vector<OptionLine> lines;
    for (size_t number = 1; !text.empty(); ++number) {
        const size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = trim(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.empty() || line.front() == '#') {
            continue;
        }
        if (std::ranges::any_of(line, is_control)) {
            return Error(std::to_string(number) + ": has a control character",
                         ErrorCode::kInvalidArgument);
        }
        const size_t blank = std::min(line.find_first_of(kBlank), line.size());
        lines.push_back({.number = number,
                         .option = std::string(line.substr(0, blank)),
                         .argument = std::string(trim(line.substr(blank)))});
    }
    return lines;
}

Result<std::vector<OptionLine>> read_options_file(const std::string& path) {
    Result<std::string> text = read_all(path);
    if (!text) {
        return std::move(text).error().with_context(path);
    }
    Result<std::vector<OptionLine>> lines = split_option_lines(*text);
    if (!lines) {
        return Error(path + ":" + lines.error().message(), ErrorCode::kInvalidArgument);
    }
    return lines;
}

}  // namespace halcyon
