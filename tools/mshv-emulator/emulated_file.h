/// EmulatedFile: what stands behind a file descriptor of the emulated driver, and the table that
/// finds it.
///
/// Each object is a real, unlinked file in memory, so that dup, SCM_RIGHTS, mmap, fork,
/// close-on-exec and close work as the kernel has them, with none of these calls trapped; its
/// (device, inode) is the object's identity. The program has one open file description of it. When
/// the last descriptor and mapping of that are gone, inotify reports one close, and the object is
/// released. The emulator's own mapping is of another description, opened and closed before.
#pragma once

#include <cstddef>
#include <memory>

#include "tools/mshv-emulator/trap.h"

namespace halcyon::emulator {

class EmulatedFile {
public:
    EmulatedFile() = default;
    EmulatedFile(const EmulatedFile&) = delete;
    EmulatedFile& operator=(const EmulatedFile&) = delete;
    virtual ~EmulatedFile() = default;

    /// Serves one ioctl: its result, or -errno. On the calling thread, inside the trap.
    virtual long ioctl(unsigned long request, unsigned long argument,
                       const TrapContext& context) = 0;
    /// The last descriptor and mapping are gone, and no ioctl is under way. Once; on the table's
    /// own thread or on that of the last ioctl, which then drops the table's reference.
    virtual void released() {}

private:
    friend class FileBacking;
    friend void* emulated_file_pages(const EmulatedFile& object);
    friend size_t emulated_file_page_count(const EmulatedFile& object);
    void* pages_ = nullptr;
    size_t page_count_ = 0;
};

/// Makes the file for `object`, of `pages` pages of 4 KiB (0 for one that cannot be mapped), and
/// gives its close-on-exec descriptor, the lowest that is free, or -errno. The table holds a
/// reference to `object` until it is released; with an error there is none. `name` is what
/// /proc/PID/fd shows. Any thread.
int open_emulated_file(std::shared_ptr<EmulatedFile> object, size_t pages,
                       const char* name = "mshv");

/// The emulator's own shared mapping of that file's pages, zero at first; null without pages. Does
/// not keep the object from being released. From when open_emulated_file has returned until
/// `released` has.
void* emulated_file_pages(const EmulatedFile& object);
size_t emulated_file_page_count(const EmulatedFile& object);

/// The object behind a descriptor of this process; null when it is none of ours. It is not released
/// while the caller holds on to what it got. Any thread.
std::shared_ptr<EmulatedFile> find_emulated_file(int fd);

}  // namespace halcyon::emulator
