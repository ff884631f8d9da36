/// OutputFile: a file that is written where waiting is allowed.
#pragma once

#include <atomic>
#include <cstddef>
#include <span>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace halcyon {

/// A file, or a pipe with a reader. On the thread of a BackgroundTask.
class OutputFile {
public:
    OutputFile() = default;
    /// Creates or empties `path`, with permissions `mode` less the umask. Waits for a pipe's
    /// reader. Fails with "Could not open 'PATH': REASON".
    static Result<OutputFile> create(const std::string& path, unsigned mode,
                                     const std::atomic<bool>& cancelled);

    /// Takes what somebody else opened for writing, whether or not it waits in write(2).
    static OutputFile adopt(UniqueFd fd);

    /// Writes all of `bytes`, waiting for a slow reader. The Error is the host's reason alone.
    Result<void> write(std::span<const std::byte> bytes, const std::atomic<bool>& cancelled);

private:
    OutputFile(UniqueFd fd, bool regular) : fd_(std::move(fd)), regular_(regular) {}
    /// Whether the descriptor takes `kPipePiece` bytes without waiting.
    [[nodiscard]] bool wait_until_writable() const;

    /// What a pipe takes at once when poll(2) says that it takes something: a page (pipe(7)).
    static constexpr size_t kPipePiece = 4096;

    UniqueFd fd_;
    bool regular_ = true;  ///< writing never waits for a reader
};

}  // namespace halcyon
