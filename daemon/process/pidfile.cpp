#include "daemon/process/pidfile.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <utility>

namespace halcyon {
namespace {

/// What the file says of its owner, for the error.
std::string read_owner(int file) {
    std::array<char, 32> text{};
    const ssize_t length = pread(file, text.data(), text.size(), 0);
    std::string owner(text.data(), length > 0 ? static_cast<size_t>(length) : 0);
    return owner.substr(0, owner.find('\n'));
}

/// Whether the path still names the open file: a former owner may have removed it meanwhile.
bool still_names(const std::string& path, int file) {
    struct stat by_path {};
    struct stat by_file {};
    return stat(path.c_str(), &by_path) == 0 && fstat(file, &by_file) == 0 &&
           by_path.st_dev == by_file.st_dev && by_path.st_ino == by_file.st_ino;
}

/// Opens and locks the file, which may be one that was left behind.
Result<UniqueFd> open_locked(const std::string& path) {
    while (true) {
        UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644));
        if (!file) {
            return Error::from_errno("cannot open '" + path + "'");
        }
        struct flock lock {};
        lock.l_type = F_WRLCK;
        lock.l_whence = SEEK_SET;
        // The same lock that QEMU takes, so that one does not start on the other's file.
        if (fcntl(file.get(), F_OFD_SETLK, &lock) != 0) {
            if (errno == EAGAIN || errno == EACCES) {
                return Error("'" + path + "' belongs to process " + read_owner(file.get()) +
                             ", which is alive");
            }
            return Error::from_errno("cannot lock '" + path + "'");
        }
        if (still_names(path, file.get())) {
            return file;
        }
    }
}

}  // namespace

Result<std::unique_ptr<Pidfile>> Pidfile::create(const std::string& path) {
    UniqueFd file = TRY(open_locked(path));
    const std::string text = std::to_string(getpid()) + "\n";
    if (ftruncate(file.get(), 0) != 0 ||
        pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
        return Error::from_errno("cannot write '" + path + "'");
    }
    std::error_code ignored;
    const std::string absolute = std::filesystem::absolute(path, ignored).string();
    return std::unique_ptr<Pidfile>(new Pidfile(absolute, std::move(file)));
}

Pidfile::~Pidfile() {
    unlink(path_.c_str());
}

}  // namespace halcyon
