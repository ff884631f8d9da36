/// MemoryDump: one dump-guest-memory, from its request to its end.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "accel/vcpu.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "machine/memory_view.h"
#include "machine/output_file.h"

namespace halcyon {

/// What is to be dumped where.
struct DumpOptions {
    std::string path = {};
    /// An open descriptor instead of the path.
    UniqueFd fd = UniqueFd();
    /// Only the memory in this range.
    struct Range {
        uint64_t begin = 0;
        uint64_t length = 0;
    };
    std::optional<Range> range = std::nullopt;
    /// The request completes when the dump has begun.
    bool detach = false;
};

/// How the latest dump stands, as `query-dump` tells it.
struct DumpStatus {
    enum class State { kNone, kActive, kCompleted, kFailed };

    State state = State::kNone;
    uint64_t completed = 0;  ///< bytes of memory written
    uint64_t total = 0;      ///< bytes of memory to write
    std::string error = {};  ///< for kFailed
};

/// Made and asked on the main thread; `open` and `write` run on the thread of a BackgroundTask, one
/// after the other.
class MemoryDump {
public:
    explicit MemoryDump(DumpOptions options) : options_(std::move(options)) {}

    [[nodiscard]] const DumpOptions& options() const { return options_; }

    /// Creates the file, or takes the descriptor. Waits for a pipe's reader.
    Result<void> open(const std::atomic<bool>& cancelled);
    /// What to write, when the guest has stopped. Fails when nothing of the memory is in the range.
    Result<void> prepare(const MemoryView& memory, std::vector<VcpuRegisters> vcpus);
    /// Writes it and closes the file.
    Result<void> write(const std::atomic<bool>& cancelled);
    /// What became of it, for `status`.
    void finish(const Result<void>& result);

    [[nodiscard]] DumpStatus status() const;

private:
    DumpOptions options_;
    OutputFile file_;
    MemoryView memory_;
    std::vector<VcpuRegisters> vcpus_;
    std::atomic<uint64_t> completed_{0};
    uint64_t total_ = 0;
    DumpStatus::State state_ = DumpStatus::State::kActive;
    std::string error_;
};

}  // namespace halcyon
