#include "tools/mshv-emulator/file_backing.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace halcyon::emulator {
namespace {

constexpr size_t kPageSize = 4096;
constexpr uint32_t kWatched = IN_OPEN | IN_CLOSE_WRITE | IN_CLOSE_NOWRITE;

long raw_open(const char* path, int flags) {
    return raw_syscall(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path), flags | O_CLOEXEC, 0600);
}

long raw_close(long fd) {
    return raw_syscall(SYS_close, fd);
}

std::string descriptor_path(long fd) {
    return "/proc/self/fd/" + std::to_string(fd);
}

/// A new file in memory: a descriptor to make it with, and a path by which to open it.
class Source {
public:
    long create(const char* name) {
        fd_ = raw_syscall(SYS_memfd_create, reinterpret_cast<long>(name), MFD_CLOEXEC);
        if (fd_ >= 0) {
            path_ = descriptor_path(fd_);
            if (raw_syscall(SYS_faccessat, AT_FDCWD, reinterpret_cast<long>(path_.c_str()), 0) ==
                0) {
                return 0;
            }
            raw_close(fd_);
        }
        return fd_ == -EMFILE || fd_ == -ENFILE ? fd_ : create_in_directory();
    }

    [[nodiscard]] long fd() const { return fd_; }
    [[nodiscard]] const char* path() const { return path_.c_str(); }

    /// Only `fd` and mappings are left: watches that. -errno when it cannot.
    long finish(long fd, int inotify) {
        // Without its own descriptor, whose closing is not the program's.
        raw_close(fd_);
        const std::string path = linked_ ? path_ : descriptor_path(fd);
        const long watch = fd < 0 ? fd
                                  : raw_syscall(SYS_inotify_add_watch, inotify,
                                                reinterpret_cast<long>(path.c_str()), kWatched);
        if (linked_) {
            raw_syscall(SYS_unlinkat, AT_FDCWD, reinterpret_cast<long>(path_.c_str()), 0);
        }
        return watch;
    }

private:
    /// Where there is no /proc, or no memfd.
    long create_in_directory() {
        static std::atomic<unsigned> count{0};
        const char* runtime_dir = getenv("XDG_RUNTIME_DIR");
        for (const char* directory : {"/dev/shm", runtime_dir, "/tmp"}) {
            if (directory == nullptr) {
                continue;
            }
            path_ = std::string(directory) + "/mshv-emulator." +
                    std::to_string(raw_syscall(SYS_getpid)) + "." + std::to_string(count++);
            fd_ = raw_open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW);
            if (fd_ >= 0) {
                linked_ = true;
                return 0;
            }
        }
        return fd_;
    }

    long fd_ = -1;
    bool linked_ = false;
    std::string path_;
};

/// Moves a descriptor to the lowest free number.
long to_lowest(long fd) {
    const long lowest = raw_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0);
    if (lowest < 0) {
        return fd;
    }
    if (lowest > fd) {
        raw_close(lowest);
        return fd;
    }
    raw_close(fd);
    return lowest;
}

}  // namespace

long file_id(int fd, FileId& id) {
    struct stat status {};
    const long error = raw_syscall(SYS_fstat, fd, reinterpret_cast<long>(&status));
    id = {status.st_dev, status.st_ino};
    return error;
}

FileBacking::~FileBacking() {
    if (created_) {
        object_->released();
    }
    if (object_->pages_ != nullptr) {
        raw_syscall(SYS_munmap, reinterpret_cast<long>(object_->pages_),
                    static_cast<long>(object_->page_count_ * kPageSize));
    }
}

long FileBacking::map_pages(int fd, size_t pages) {
    const auto length = static_cast<long>(pages * kPageSize);
    long result = raw_syscall(SYS_ftruncate, fd, length);
    if (result < 0 || pages == 0) {
        return result;
    }
    result = raw_syscall(SYS_mmap, 0, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (result < 0) {
        return result;
    }
    object_->pages_ = reinterpret_cast<void*>(result);
    object_->page_count_ = pages;
    return 0;
}

long FileBacking::create(size_t pages, const char* name, int inotify, NewFile& file) {
    Source source;
    long error = source.create(name);
    if (error < 0) {
        return error;
    }
    error = map_pages(static_cast<int>(source.fd()), pages);
    // The program's description is another than that of the mapping, which stays.
    long fd = error < 0 ? error : raw_open(source.path(), O_RDWR);
    if (fd >= 0) {
        file_id(static_cast<int>(fd), file.id);
    }
    const long watch = source.finish(fd, inotify);
    if (watch < 0) {
        if (fd >= 0) {
            raw_close(fd);
        }
        return watch;
    }
    created_ = true;
    fd = to_lowest(fd);
    file.fd = static_cast<int>(fd);
    file.watch = static_cast<int>(watch);
    return 0;
}

}  // namespace halcyon::emulator
