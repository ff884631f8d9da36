/// FileBacking: the unlinked file in memory behind one of the program's descriptors.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>

#include "tools/mshv-emulator/emulated_file.h"

namespace halcyon::emulator {

/// What identifies a file.
struct FileId {
    dev_t device = 0;
    ino_t inode = 0;
    bool operator==(const FileId&) const = default;
};

/// The file that `fd` is of; -errno.
long file_id(int fd, FileId& id);

/// The program's new descriptor, and what the table needs to know about it.
struct NewFile {
    int fd = -1;
    int watch = -1;  ///< of its closing, in the table's inotify instance
    FileId id;
};

/// Holds an object and the emulator's mapping of its file's pages. When it goes, which is when the
/// table and the last ioctl have dropped it, the object is released.
class FileBacking {
public:
    explicit FileBacking(std::shared_ptr<EmulatedFile> object) : object_(std::move(object)) {}
    FileBacking(const FileBacking&) = delete;
    FileBacking& operator=(const FileBacking&) = delete;
    ~FileBacking();

    /// Makes the file, maps its pages, and watches it with `inotify`. 0, or -errno and nothing is
    /// left. Once.
    long create(size_t pages, const char* name, int inotify, NewFile& file);

    [[nodiscard]] EmulatedFile* object() const { return object_.get(); }

private:
    long map_pages(int fd, size_t pages);

    std::shared_ptr<EmulatedFile> object_;
    /// Whether the program has had a descriptor.
    bool created_ = false;
};

}  // namespace halcyon::emulator
