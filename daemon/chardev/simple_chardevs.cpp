// The back ends without a life of their own: null, file and ringbuf; and the factory of all kinds.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "daemon/chardev/kinds.h"

namespace halcyon {

NullChardev::NullChardev(std::string id, MainLoop& loop) : Chardev(std::move(id), loop) {
    open_sink();
}

namespace {

bool is_regular(const UniqueFd& file) {
    struct stat status {};
    return fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode);
}

/// Opens the path, or takes the descriptor, so that nobody waits who writes.
Result<UniqueFd> open_output(const FileChardevOptions& options) {
    // Non-blocking matters for a FIFO or a device; a FIFO that nobody reads is refused.
    const int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK |
                      (options.append ? O_APPEND : O_TRUNC);
    UniqueFd file(options.fd >= 0 ? options.fd : ::open(options.path.c_str(), flags, 0666));
    if (!file) {
        return Error::from_errno("cannot open '" + options.path + "'");
    }
    if (!is_regular(file)) {
        // A pipe that a client passed must not hold up the main thread.
        fcntl(file.get(), F_SETFL, fcntl(file.get(), F_GETFL) | O_NONBLOCK);
    }
    return file;
}

}  // namespace

Result<std::unique_ptr<Chardev>> FileChardev::create(std::string id,
                                                     const FileChardevOptions& options,
                                                     MainLoop& loop) {
    UniqueFd file = TRY(open_output(options));
    auto chardev = std::unique_ptr<FileChardev>(
        new FileChardev(std::move(id), loop, is_regular(file) ? file.get() : -1));
    TRY(chardev->open_stream(UniqueFd(), std::move(file)));
    return std::unique_ptr<Chardev>(std::move(chardev));
}

size_t FileChardev::write(std::span<const std::byte> data) {
    if (regular_file_ < 0) {
        return Chardev::write(data);
    }
    log(data);
    for (size_t done = 0; done < data.size() && failure_.load(std::memory_order_relaxed) == 0;) {
        const ssize_t count = ::write(regular_file_, data.data() + done, data.size() - done);
        if (count >= 0) {
            done += static_cast<size_t>(count);
        } else if (errno != EINTR) {
            int none = 0;
            if (failure_.compare_exchange_strong(none, errno)) {
                post(static_cast<void (Chardev::*)()>(&FileChardev::report_failure));
            }
        }
    }
    return data.size();
}

void FileChardev::on_output_error(int error) {
    spdlog::warn("chardev '{}': {}; further output is discarded", id(), strerror(error));
}

RingbufChardev::RingbufChardev(std::string id, const RingbufChardevOptions& options, MainLoop& loop)
    : Chardev(std::move(id), loop), ring_(options.size) {
    open_sink();
}

size_t RingbufChardev::write(std::span<const std::byte> data) {
    const std::lock_guard lock(ring_mutex_);
    log(data);
    for (const std::byte byte : data) {
        ring_[produced_++ & (ring_.size() - 1)] = byte;
    }
    consumed_ = std::max(consumed_, produced_ - std::min<uint64_t>(produced_, ring_.size()));
    return data.size();
}

std::string RingbufChardev::read(size_t size) {
    const std::lock_guard lock(ring_mutex_);
    std::string bytes;
    for (; bytes.size() < size && consumed_ < produced_; ++consumed_) {
        bytes += static_cast<char>(ring_[consumed_ & (ring_.size() - 1)]);
    }
    return bytes;
}

namespace {

struct ChardevFactory {
    const ChardevOptions& options;
    MainLoop& loop;

    Result<std::unique_ptr<Chardev>> operator()(const NullChardevOptions&) const {
        return std::unique_ptr<Chardev>(std::make_unique<NullChardev>(options.id, loop));
    }
    Result<std::unique_ptr<Chardev>> operator()(const SocketChardevOptions& socket) const {
        return SocketChardev::create(options.id, socket, loop);
    }
    Result<std::unique_ptr<Chardev>> operator()(const StdioChardevOptions& stdio) const {
        return StdioChardev::create(options.id, stdio, loop);
    }
    Result<std::unique_ptr<Chardev>> operator()(const FileChardevOptions& file) const {
        return FileChardev::create(options.id, file, loop);
    }
    Result<std::unique_ptr<Chardev>> operator()(const PtyChardevOptions&) const {
        return PtyChardev::create(options.id, loop);
    }
    Result<std::unique_ptr<Chardev>> operator()(const RingbufChardevOptions& ringbuf) const {
        return std::unique_ptr<Chardev>(
            std::make_unique<RingbufChardev>(options.id, ringbuf, loop));
    }
};

}  // namespace

Result<std::unique_ptr<Chardev>> create_chardev(const ChardevOptions& options, MainLoop& loop) {
    Result<UniqueFd> log = options.log ? open_output(*options.log) : UniqueFd();
    Result<std::unique_ptr<Chardev>> chardev =
        std::visit(ChardevFactory{options, loop}, options.kind);
    if (!chardev || !log) {
        return Error(chardev ? log.error() : chardev.error()).with_context(options.origin);
    }
    (*chardev)->set_log(*std::move(log));
    return chardev;
}

}  // namespace halcyon
