#include "tools/mshv-emulator/program_check.h"

#include <elf.h>
#include <errno.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <vector>

namespace halcyon::emulator {
namespace {

/// Scripts run by scripts; the kernel's own limit (fs/exec.c).
constexpr int kMostInterpreters = 5;

/// 0 when `path` is a file that may be run.
int check_executable(const std::string& path) {
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) {
        return errno;
    }
    if (S_ISDIR(status.st_mode)) {
        return EISDIR;
    }
    return S_ISREG(status.st_mode) && access(path.c_str(), X_OK) == 0 ? 0 : EACCES;
}

/// Privileges that make the dynamic linker drop LD_PRELOAD.
bool gains_privileges(const std::string& path) {
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) {
        return false;
    }
    const bool setuid = (status.st_mode & S_ISUID) != 0 && status.st_uid != getuid();
    const bool setgid = (status.st_mode & S_ISGID) != 0 && status.st_gid != getgid();
    const bool capabilities =
        getuid() != 0 && getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
    return setuid || setgid || capabilities;
}

template <typename T>
bool read_at(std::ifstream& file, uint64_t offset, T& value) {
    file.seekg(static_cast<std::streamoff>(offset));
    return static_cast<bool>(file.read(reinterpret_cast<char*>(&value), sizeof(value)));
}

std::string check_elf(std::ifstream& file) {
    Elf64_Ehdr header{};
    if (!read_at(file, 0, header)) {
        return "is not a whole program";
    }
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64) {
        return "is no program for 64-bit x86";
    }
    for (unsigned index = 0; index < header.e_phnum; ++index) {
        Elf64_Phdr segment{};
        if (!read_at(file, header.e_phoff + index * sizeof(segment), segment)) {
            return "is not a whole program";
        }
        if (segment.p_type == PT_INTERP) {
            return {};
        }
    }
    return "is statically linked; only dynamically linked programs take a preloaded library";
}

/// The program of a script's first line.
std::string interpreter(std::string_view line) {
    line.remove_prefix(2);
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    return std::string(line.substr(0, line.find_first_of(" \t\r")));
}

}  // namespace

int find_program(const std::string& program, std::string& path) {
    if (program.find('/') != std::string::npos) {
        path = program;
        return check_executable(program);
    }
    const char* variable = getenv("PATH");
    std::string_view rest = variable == nullptr ? "/bin:/usr/bin" : variable;
    int result = ENOENT;
    while (true) {
        const size_t colon = rest.find(':');
        const std::string directory(rest.substr(0, colon));
        path = (directory.empty() ? "." : directory) + "/" + program;
        const int error = program.empty() ? ENOENT : check_executable(path);
        if (error == 0) {
            return 0;
        }
        if (error != ENOENT && error != ENOTDIR) {
            result = error;
        }
        if (colon == std::string_view::npos) {
            return result;
        }
        rest.remove_prefix(colon + 1);
    }
}

std::string why_not_preloadable(const std::string& path) {
    std::string at = path;
    for (int count = 0; count < kMostInterpreters; ++count) {
        const std::string where = at == path ? "" : "is run by " + at + ", which ";
        if (gains_privileges(at)) {
            return where + "runs with more rights than its user; no library is preloaded into that";
        }
        std::ifstream file(at, std::ios::binary);
        std::array<char, 4> magic{};
        if (!file || !read_at(file, 0, magic)) {
            return {};  // not to be read, or short: exec says what is wrong
        }
        if (memcmp(magic.data(), ELFMAG, SELFMAG) == 0) {
            const std::string problem = check_elf(file);
            return problem.empty() ? problem : where + problem;
        }
        if (magic[0] != '#' || magic[1] != '!') {
            return {};
        }
        file.seekg(0);
        std::string line;
        std::getline(file, line);
        at = interpreter(line);
    }
    return {};
}

}  // namespace halcyon::emulator
