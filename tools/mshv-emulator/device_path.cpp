#include "tools/mshv-emulator/device_path.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "tools/mshv-emulator/trap.h"

namespace halcyon::emulator {
namespace {

constexpr std::string_view kDevice = "/dev/mshv";
constexpr std::string_view kName = "mshv";

/// Without "//", "." and "..".
std::string normalized(std::string_view path) {
    std::vector<std::string_view> parts;
    while (!path.empty()) {
        const size_t slash = std::min(path.find('/'), path.size());
        const std::string_view part = path.substr(0, slash);
        path.remove_prefix(std::min(slash + 1, path.size()));
        if (part == ".." && !parts.empty()) {
            parts.pop_back();
        } else if (!part.empty() && part != "." && part != "..") {
            parts.push_back(part);
        }
    }
    std::string result;
    for (const std::string_view part : parts) {
        result.append("/").append(part);
    }
    return result;
}

/// The directory's own path; empty where the kernel does not say.
std::string directory_path(int directory) {
    std::array<char, 32> link{"/proc/self/cwd"};
    if (directory != AT_FDCWD) {
        snprintf(link.data(), link.size(), "/proc/self/fd/%d", directory);
    }
    std::array<char, PATH_MAX> path;
    const long length =
        raw_syscall(SYS_readlinkat, AT_FDCWD, reinterpret_cast<long>(link.data()),
                    reinterpret_cast<long>(path.data()), static_cast<long>(path.size()));
    return length < 0 ? std::string{} : std::string(path.data(), static_cast<size_t>(length));
}

}  // namespace

bool path_is_device(int directory, const char* path) {
    if (path == nullptr) {
        return false;
    }
    const std::string_view text = path;
    // Nearly all paths end here.
    if (!text.ends_with(kName) || text.size() >= PATH_MAX) {
        return false;
    }
    if (text.front() == '/') {
        return text == kDevice || normalized(text) == kDevice;
    }
    return normalized(directory_path(directory) + "/" + path) == kDevice;
}

bool program_path_is_device(int directory, uint64_t path) {
    // The string's end is found page by page: what follows its page need not be there.
    std::array<char, PATH_MAX> text;
    size_t used = 0;
    while (used < text.size()) {
        const size_t to_page_end = 4096 - (path + used) % 4096;
        const size_t piece = std::min(text.size() - used, to_page_end);
        if (copy_from_program(text.data() + used, path + used, piece) < 0) {
            return false;
        }
        if (memchr(text.data() + used, 0, piece) != nullptr) {
            return path_is_device(directory, text.data());
        }
        used += piece;
    }
    return false;
}

}  // namespace halcyon::emulator
