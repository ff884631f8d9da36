#include "tools/mshv-emulator/emulated_file.h"

#include <errno.h>
#include <pthread.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <utility>

#include "tools/mshv-emulator/file_backing.h"

namespace halcyon::emulator {
namespace {

struct FileIdHash {
    size_t operator()(const FileId& id) const noexcept { return id.inode * 31 + id.device; }
};

/// How many emulated files there are: most programs have none for most of the time, and must not
/// come into the table from within their allocator, which the table itself uses.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
constinit std::atomic<size_t> g_file_count = 0;

/// All emulated files of the process. Its thread, started with the first of them, reads of their
/// closing.
class FileTable {
public:
    static FileTable& instance() {
        // Never destroyed: its thread goes on while the process exits.
        // NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
        static FileTable& table = *new FileTable;
        return table;
    }

    int open(std::shared_ptr<EmulatedFile> object, size_t pages, const char* name) {
        auto backing = std::make_shared<FileBacking>(std::move(object));
        NewFile file;
        const std::unique_lock lock(mutex_);
        long error = start_thread();
        if (error == 0) {
            error = backing->create(pages, name, inotify_, file);
        }
        if (error < 0) {
            return static_cast<int>(error);
        }
        files_[file.id] = Entry{std::move(backing), file.watch};
        watches_[file.watch] = file.id;
        ++g_file_count;
        return file.fd;
    }

    std::shared_ptr<EmulatedFile> find(int fd) {
        FileId id;
        if (file_id(fd, id) < 0) {
            return nullptr;
        }
        const std::shared_lock lock(mutex_);
        const auto found = files_.find(id);
        if (found == files_.end()) {
            return nullptr;
        }
        const std::shared_ptr<FileBacking>& backing = found->second.backing;
        return {backing, backing->object()};
    }

private:
    struct Entry {
        std::shared_ptr<FileBacking> backing;
        int watch = -1;
        /// Open file descriptions: one, unless the program opened its file in /proc/self/fd.
        int descriptions = 1;
    };

    FileTable() {
        pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                       [] { instance().after_fork(); });
    }

    /// In the child: the thread is the parent's, and so are its events. What the child inherited is
    /// not released; the child can do nothing with it but close it.
    void after_fork() {
        if (inotify_ >= 0) {
            raw_syscall(SYS_close, inotify_);
            inotify_ = -1;
        }
        watches_.clear();
        // Not unlocked but made anew: threads that only the parent has may be queued at it.
        std::construct_at(&mutex_);
    }

    long start_thread() {
        if (inotify_ >= 0) {
            return 0;
        }
        const long fd = raw_syscall(SYS_inotify_init1, IN_CLOEXEC);
        if (fd < 0) {
            return fd;
        }
        inotify_ = to_high_descriptor(static_cast<int>(fd));
        const long error = create_thread();
        if (error < 0) {
            raw_syscall(SYS_close, inotify_);
            inotify_ = -1;
        }
        return error;
    }

    /// With all signals blocked; with the trap this is so already.
    long create_thread() {
        const KernelSigset all = ~KernelSigset{0};
        KernelSigset before = 0;
        raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&all),
                    reinterpret_cast<long>(&before), sizeof(all));
        pthread_t thread{};
        const int error = pthread_create(
            &thread, nullptr,
            [](void* inotify) -> void* {
                instance().run(static_cast<int>(reinterpret_cast<intptr_t>(inotify)));
                return nullptr;
            },
            reinterpret_cast<void*>(static_cast<intptr_t>(inotify_)));
        if (error == 0) {
            pthread_detach(thread);
        }
        raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&before), 0,
                    sizeof(before));
        return -error;
    }

    void run(int inotify) {
        // The C library's own signals, 32 and 33: setuid and the like wait for all threads.
        const KernelSigset library_signals = KernelSigset{3} << 31;
        raw_syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, reinterpret_cast<long>(&library_signals), 0,
                    sizeof(library_signals));
        raw_syscall(SYS_prctl, PR_SET_NAME, reinterpret_cast<long>("mshv-emulator"));
        alignas(inotify_event) std::array<char, 4096> events;
        while (true) {
            const long length =
                raw_syscall(SYS_read, inotify, reinterpret_cast<long>(events.data()),
                            static_cast<long>(events.size()));
            if (length < 0 && length != -EINTR) {
                return;  // the program closed it, with all descriptors
            }
            for (long at = 0; at < length;) {
                inotify_event event{};
                memcpy(&event, events.data() + at, sizeof(event));
                on_event(event);
                at += static_cast<long>(sizeof(event)) + event.len;
            }
        }
    }

    void on_event(const inotify_event& event) {
        std::shared_ptr<FileBacking> closed;  // released after the lock
        const std::unique_lock lock(mutex_);
        const auto watch = watches_.find(event.wd);
        const auto entry = watch == watches_.end() ? files_.end() : files_.find(watch->second);
        if (entry == files_.end()) {
            return;
        }
        entry->second.descriptions += (event.mask & IN_OPEN) != 0 ? 1 : -1;
        if (entry->second.descriptions > 0) {
            return;
        }
        closed = std::move(entry->second.backing);
        raw_syscall(SYS_inotify_rm_watch, inotify_, event.wd);
        watches_.erase(watch);
        files_.erase(entry);
        --g_file_count;
    }

    std::shared_mutex mutex_;
    std::unordered_map<FileId, Entry, FileIdHash> files_;
    std::unordered_map<int, FileId> watches_;
    int inotify_ = -1;
};

}  // namespace

int open_emulated_file(std::shared_ptr<EmulatedFile> object, size_t pages, const char* name) {
    return FileTable::instance().open(std::move(object), pages, name);
}

void* emulated_file_pages(const EmulatedFile& object) {
    return object.pages_;
}

size_t emulated_file_page_count(const EmulatedFile& object) {
    return object.page_count_;
}

std::shared_ptr<EmulatedFile> find_emulated_file(int fd) {
    return FileTable::instance().find(fd);
}

}  // namespace halcyon::emulator
