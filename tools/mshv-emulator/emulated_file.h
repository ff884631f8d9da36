/// EmulatedFile: what stands behind a file descriptor of the emulated driver, and the table that
/// finds it.
///
/// Each object is a real, unlinked file in memory, so that dup, SCM_RIGHTS, mmap, close-on-exec and
/// close work as the kernel has them, with none of these calls trapped; its (device, inode) is the
/// object's identity. When the kernel frees the inode, which is when the last descriptor and the
/// last mapping are gone, inotify says so and `released` is called.
#pragma once

#include <cstddef>
#include <memory>

#include "tools/mshv-emulator/trap.h"

namespace halcyon::emulator {

class EmulatedFile {
public:
    virtual ~EmulatedFile() = default;
    /// Serves one ioctl: its result, or -errno. On the calling thread, inside the trap.
    virtual long ioctl(unsigned long request, unsigned long argument,
                       const TrapContext& context) = 0;
    /// The last descriptor and mapping are gone. On the table's own thread; the table drops its
    /// reference afterwards.
    virtual void released() {}
};

/// Makes the file for `object`, of `pages` pages of 4 KiB (0 for one that cannot be mapped), and
/// gives its close-on-exec descriptor, or -errno. The table holds a reference to `object` until it
/// is released.
int open_emulated_file(std::shared_ptr<EmulatedFile> object, size_t pages);

/// The emulator's own shared mapping of that file's pages; null without pages. Does not keep the
/// object from being released. Valid until `released` returns.
void* emulated_file_pages(const EmulatedFile& object);

/// The object behind a descriptor of this process; null when it is none of ours.
std::shared_ptr<EmulatedFile> find_emulated_file(int fd);

}  // namespace halcyon::emulator
