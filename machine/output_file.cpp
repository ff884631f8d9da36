#include "machine/output_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace halcyon {

namespace {

/// How long a wait for a reader takes before it is seen that nobody wants the rest.
constexpr int kPollMilliseconds = 50;

/// Whether open(2) failed with `error` because nobody has opened a pipe for reading yet. ENXIO is
/// also what a device that is not there gives. Leaves errno as it was.
bool lacks_reader(const std::string& path, int error) {
    struct stat status {};
    const bool lacks =
        error == ENXIO && ::stat(path.c_str(), &status) == 0 && S_ISFIFO(status.st_mode);
    errno = error;
    return lacks;
}

}  // namespace

Result<OutputFile> OutputFile::create(const std::string& path, unsigned mode,
                                      const std::atomic<bool>& cancelled) {
    // Without O_NONBLOCK, a wait for a reader could not be cancelled.
    const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    UniqueFd fd(::open(path.c_str(), flags, mode));
    while (!fd && lacks_reader(path, errno)) {
        if (cancelled.load(std::memory_order_relaxed)) {
            return Error("cancelled");
        }
        ::poll(nullptr, 0, kPollMilliseconds);
        fd.reset(::open(path.c_str(), flags, mode));
    }
    if (!fd) {
        return Error::from_errno("Could not open '" + path + "'");
    }
    return adopt(std::move(fd));
}

OutputFile OutputFile::adopt(UniqueFd fd) {
    struct stat status {};
    const bool regular = ::fstat(fd.get(), &status) == 0 && S_ISREG(status.st_mode);
    return OutputFile(std::move(fd), regular);
}

bool OutputFile::wait_until_writable() const {
    pollfd waiting{.fd = fd_.get(), .events = POLLOUT, .revents = 0};
    return ::poll(&waiting, 1, kPollMilliseconds) > 0;
}

Result<void> OutputFile::write(std::span<const std::byte> bytes,
                               const std::atomic<bool>& cancelled) {
    while (!bytes.empty()) {
        if (cancelled.load(std::memory_order_relaxed)) {
            return Error("cancelled");
        }
        if (!regular_ && !wait_until_writable()) {
            continue;
        }
        const size_t piece = regular_ ? bytes.size() : std::min(bytes.size(), kPipePiece);
        const ssize_t written = ::write(fd_.get(), bytes.data(), piece);
        if (written >= 0) {
            bytes = bytes.subspan(static_cast<size_t>(written));
        } else if (errno != EINTR && errno != EAGAIN) {
            const int error = errno;
            std::array<char, 128> text{};
            return Error(::strerror_r(error, text.data(), text.size()), ErrorCode::kSystem);
        }
    }
    return {};
}

}  // namespace halcyon
