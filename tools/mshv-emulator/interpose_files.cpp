/// The C library's functions by which a program opens /dev/mshv, sees whether it is there, and maps
/// a VP's pages. Each does what the kernel would for the driver's files, and is the C library's own
/// for all others. They are defined under other names: the C library's headers may have macros and
/// inline functions of these.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdarg>

#include "tools/mshv-emulator/device.h"
#include "tools/mshv-emulator/device_path.h"
#include "tools/mshv-emulator/emulated_file.h"
#include "tools/mshv-emulator/next.h"
#include "tools/mshv-emulator/options.h"

namespace halcyon::emulator {
namespace {

constexpr uint64_t kPageSize = 4096;
/// A misc device of a dynamic minor.
constexpr unsigned kMajor = 10;
constexpr unsigned kMinor = 122;

using Open = int(const char*, int, ...);
using OpenAt = int(int, const char*, int, ...);
using Map = void*(void*, size_t, int, int, int, off_t);

/// A system call's result as the C library gives it.
template <typename T>
T as_result(T result) {
    if (result < 0) {
        errno = static_cast<int>(-result);
        return -1;
    }
    return result;
}

/// The device node as stat shows it: of the program's own user, who may open it.
struct stat device_status() {
    struct stat status {};
    status.st_mode = S_IFCHR | 0600;
    status.st_nlink = 1;
    status.st_uid = geteuid();
    status.st_gid = getegid();
    status.st_rdev = makedev(kMajor, kMinor);
    status.st_blksize = kPageSize;
    return status;
}

struct statx device_statx() {
    struct statx status {};
    status.stx_mask = STATX_TYPE | STATX_MODE | STATX_NLINK | STATX_UID | STATX_GID;
    status.stx_mode = S_IFCHR | 0600;
    status.stx_nlink = 1;
    status.stx_uid = geteuid();
    status.stx_gid = getegid();
    status.stx_rdev_major = kMajor;
    status.stx_rdev_minor = kMinor;
    status.stx_blksize = kPageSize;
    return status;
}

int device_access(int mode) {
    return as_result((mode & X_OK) != 0 ? -EACCES : 0);
}

/// The driver's answer to a mapping of its files' page; 0 when it may be had.
int check_map(const EmulatedFile& file, uint64_t offset) {
    constexpr uint64_t kLastPage = 2;  // MSHV_VP_MMAP_OFFSET_GHCB
    const uint64_t page = offset / kPageSize;
    const size_t count = emulated_file_page_count(file);
    if (count != 0 && page > kLastPage) {
        return EINVAL;
    }
    const bool absent = page == 0 && !options().register_page;
    return page >= count || absent ? ENODEV : 0;
}

/// Maps one page of ours again and again, as the driver's fault handler does.
void* map_page(Map* map, void* address, size_t length, int protection, int flags, int fd,
               off_t offset) {
    void* const result = map(address, length, protection, flags, fd, offset);
    for (size_t at = kPageSize; result != MAP_FAILED && at < length; at += kPageSize) {
        map(static_cast<char*>(result) + at, kPageSize, protection,
            (flags & ~MAP_FIXED_NOREPLACE) | MAP_FIXED, fd, offset);
    }
    return result;
}

void* do_map(Map* map, void* address, size_t length, int protection, int flags, int fd,
             off_t offset) {
    const std::shared_ptr<EmulatedFile> file =
        fd < 0 || (flags & MAP_ANONYMOUS) != 0 ? nullptr : find_emulated_file(fd);
    if (file == nullptr) {
        return map(address, length, protection, flags, fd, offset);
    }
    if (const int error = check_map(*file, static_cast<uint64_t>(offset)); error != 0) {
        errno = error;
        return MAP_FAILED;
    }
    return map_page(map, address, length, protection, flags, fd, offset);
}

/// What stat and its kin do; `next` for paths that are not the device.
template <typename Status, typename Call>
int do_stat(int directory, const char* path, Status* status, Call next) {
    if (!path_is_device(directory, path)) {
        return next();
    }
    const struct stat device = device_status();
    memcpy(status, &device, sizeof(device));
    return 0;
}
static_assert(sizeof(struct stat) == sizeof(struct stat64));

/// The *xstat family of older C libraries, which newer ones have for older programs only.
int old_stat(int directory, const char* path, struct stat* status, int flags) {
    return do_stat(directory, path, status, [&] {
        return static_cast<int>(
            as_result(raw_syscall(SYS_newfstatat, directory, reinterpret_cast<long>(path),
                                  reinterpret_cast<long>(status), flags)));
    });
}

/// The mode that follows the flags of an open.
#define TAKE_MODE(flags)                                              \
    mode_t mode = 0;                                                  \
    if (((flags)&O_CREAT) != 0 || ((flags)&O_TMPFILE) == O_TMPFILE) { \
        va_list arguments;                                            \
        va_start(arguments, flags);                                   \
        mode = va_arg(arguments, mode_t);                             \
        va_end(arguments);                                            \
    }

}  // namespace

#define EXPORT extern "C" [[gnu::visibility("default")]]

// ---- Opening -----------------------------------------------------------------------------------

#define INTERPOSE_OPEN(symbol)                                                     \
    EXPORT int interposed_##symbol(const char* path, int flags, ...) asm(#symbol); \
    int interposed_##symbol(const char* path, int flags, ...) {                    \
        static constinit Next<Open> next{#symbol};                                 \
        TAKE_MODE(flags)                                                           \
        return path_is_device(AT_FDCWD, path) ? as_result(open_device(flags))      \
                                              : next(path, flags, mode);           \
    }
#define INTERPOSE_OPENAT(symbol)                                                                  \
    EXPORT int interposed_##symbol(int directory, const char* path, int flags, ...) asm(#symbol); \
    int interposed_##symbol(int directory, const char* path, int flags, ...) {                    \
        static constinit Next<OpenAt> next{#symbol};                                              \
        TAKE_MODE(flags)                                                                          \
        return path_is_device(directory, path) ? as_result(open_device(flags))                    \
                                               : next(directory, path, flags, mode);              \
    }

INTERPOSE_OPEN(open)
INTERPOSE_OPEN(open64)
INTERPOSE_OPEN(__open)
INTERPOSE_OPEN(__open64)
INTERPOSE_OPEN(__open_2)
INTERPOSE_OPEN(__open64_2)
INTERPOSE_OPENAT(openat)
INTERPOSE_OPENAT(openat64)
INTERPOSE_OPENAT(__openat_2)
INTERPOSE_OPENAT(__openat64_2)

EXPORT long interposed_syscall(long number, ...) asm("syscall");
long interposed_syscall(long number, ...) {
    static constinit Next<long(long, ...)> next{"syscall"};
    va_list arguments;
    va_start(arguments, number);
    long a[6];
    for (long& argument : a) {
        argument = va_arg(arguments, long);
    }
    va_end(arguments);
    const auto is_device = [](long directory, long path) {
        return path_is_device(static_cast<int>(directory), reinterpret_cast<const char*>(path));
    };
    if (number == SYS_open && is_device(AT_FDCWD, a[0])) {
        return as_result(open_device(static_cast<int>(a[1])));
    }
    if (number == SYS_openat && is_device(a[0], a[1])) {
        return as_result(open_device(static_cast<int>(a[2])));
    }
    if (number == SYS_openat2 && is_device(a[0], a[1])) {
        return as_result(open_device(static_cast<int>(*reinterpret_cast<const uint64_t*>(a[2]))));
    }
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

// ---- Looking -----------------------------------------------------------------------------------

#define INTERPOSE_ACCESS(symbol)                                                        \
    EXPORT int interposed_##symbol(const char* path, int mode) asm(#symbol);            \
    int interposed_##symbol(const char* path, int mode) {                               \
        static constinit Next<int(const char*, int)> next{#symbol};                     \
        return path_is_device(AT_FDCWD, path) ? device_access(mode) : next(path, mode); \
    }
#define INTERPOSE_STAT(symbol)                                                          \
    EXPORT int interposed_##symbol(const char* path, struct stat* status) asm(#symbol); \
    int interposed_##symbol(const char* path, struct stat* status) {                    \
        static constinit Next<int(const char*, struct stat*)> next{#symbol};            \
        return do_stat(AT_FDCWD, path, status, [&] { return next(path, status); });     \
    }
#define INTERPOSE_FSTATAT(symbol)                                                              \
    EXPORT int interposed_##symbol(int directory, const char* path, struct stat* status,       \
                                   int flags) asm(#symbol);                                    \
    int interposed_##symbol(int directory, const char* path, struct stat* status, int flags) { \
        static constinit Next<int(int, const char*, struct stat*, int)> next{#symbol};         \
        return do_stat(directory, path, status,                                                \
                       [&] { return next(directory, path, status, flags); });                  \
    }
#define INTERPOSE_OLD_STAT(symbol, flags)                                                    \
    EXPORT int interposed_##symbol(int, const char* path, struct stat* status) asm(#symbol); \
    int interposed_##symbol(int, const char* path, struct stat* status) {                    \
        return old_stat(AT_FDCWD, path, status, flags);                                      \
    }
#define INTERPOSE_OLD_FSTATAT(symbol)                                                         \
    EXPORT int interposed_##symbol(int, int directory, const char* path, struct stat* status, \
                                   int flags) asm(#symbol);                                   \
    int interposed_##symbol(int, int directory, const char* path, struct stat* status,        \
                            int flags) {                                                      \
        return old_stat(directory, path, status, flags);                                      \
    }

INTERPOSE_ACCESS(access)
INTERPOSE_ACCESS(euidaccess)
INTERPOSE_ACCESS(eaccess)
INTERPOSE_STAT(stat)
INTERPOSE_STAT(stat64)
INTERPOSE_STAT(lstat)
INTERPOSE_STAT(lstat64)
INTERPOSE_FSTATAT(fstatat)
INTERPOSE_FSTATAT(fstatat64)
INTERPOSE_OLD_STAT(__xstat, 0)
INTERPOSE_OLD_STAT(__xstat64, 0)
INTERPOSE_OLD_STAT(__lxstat, AT_SYMLINK_NOFOLLOW)
INTERPOSE_OLD_STAT(__lxstat64, AT_SYMLINK_NOFOLLOW)
INTERPOSE_OLD_FSTATAT(__fxstatat)
INTERPOSE_OLD_FSTATAT(__fxstatat64)

EXPORT int interposed_faccessat(int directory, const char* path, int mode,
                                int flags) asm("faccessat");
int interposed_faccessat(int directory, const char* path, int mode, int flags) {
    static constinit Next<int(int, const char*, int, int)> next{"faccessat"};
    return path_is_device(directory, path) ? device_access(mode)
                                           : next(directory, path, mode, flags);
}

EXPORT int interposed_statx(int directory, const char* path, int flags, unsigned mask,
                            struct statx* status) asm("statx");
int interposed_statx(int directory, const char* path, int flags, unsigned mask,
                     struct statx* status) {
    static constinit Next<int(int, const char*, int, unsigned, struct statx*)> next{"statx"};
    // A null status is how some look whether the call is there; it is no path of ours then either.
    if (status == nullptr || !path_is_device(directory, path)) {
        return next(directory, path, flags, mask, status);
    }
    *status = device_statx();
    return 0;
}

// ---- Mapping -----------------------------------------------------------------------------------

#define INTERPOSE_MMAP(symbol)                                                                 \
    EXPORT void* interposed_##symbol(void* address, size_t length, int protection, int flags,  \
                                     int fd, off_t offset) asm(#symbol);                       \
    void* interposed_##symbol(void* address, size_t length, int protection, int flags, int fd, \
                              off_t offset) {                                                  \
        static constinit Next<Map> next{#symbol};                                              \
        const auto call = [](void* a, size_t l, int p, int f, int d, off_t o) {                \
            return next(a, l, p, f, d, o);                                                     \
        };                                                                                     \
        return do_map(call, address, length, protection, flags, fd, offset);                   \
    }

INTERPOSE_MMAP(mmap)
INTERPOSE_MMAP(mmap64)

}  // namespace halcyon::emulator
