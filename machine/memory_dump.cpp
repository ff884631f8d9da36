#include "machine/memory_dump.h"

#include <algorithm>
#include <utility>

#include "machine/elf_core.h"

namespace halcyon {

namespace {

/// How much is written before the progress is told.
constexpr size_t kPieceSize = 1_MiB;
/// Guest memory has secrets: for the owner alone.
constexpr unsigned kFileMode = 0600;

}  // namespace

Result<void> MemoryDump::open(const std::atomic<bool>& cancelled) {
    if (options_.fd) {
        file_ = OutputFile::adopt(std::move(options_.fd));
        return {};
    }
    file_ = TRY(OutputFile::create(options_.path, kFileMode, cancelled));
    return {};
}

Result<void> MemoryDump::prepare(const MemoryView& memory, std::vector<VcpuRegisters> vcpus) {
    memory_ =
        options_.range ? memory.clipped(options_.range->begin, options_.range->length) : memory;
    vcpus_ = std::move(vcpus);
    total_ = memory_.size();
    if (total_ == 0) {
        return Error("dump: no guest memory to dump", ErrorCode::kInvalidArgument);
    }
    return {};
}

Result<void> MemoryDump::write(const std::atomic<bool>& cancelled) {
    OutputFile file = std::move(file_);
    if (auto written = file.write(make_core_header(memory_, vcpus_), cancelled); !written) {
        return std::move(written).error().with_context("dump: failed to write elf header");
    }
    for (const MemoryBlock& block : memory_.blocks()) {
        std::span<const std::byte> left = block.bytes;
        while (!left.empty()) {
            const auto piece = left.first(std::min(left.size(), kPieceSize));
            if (auto written = file.write(piece, cancelled); !written) {
                return std::move(written).error().with_context("dump: failed to save memory");
            }
            left = left.subspan(piece.size());
            completed_.fetch_add(piece.size(), std::memory_order_relaxed);
        }
    }
    return {};
}

void MemoryDump::finish(const Result<void>& result) {
    state_ = result ? DumpStatus::State::kCompleted : DumpStatus::State::kFailed;
    error_ = result ? "" : result.error().message();
    // The machine's memory may go before this object.
    memory_ = MemoryView();
}

DumpStatus MemoryDump::status() const {
    return {.state = state_,
            .completed = completed_.load(std::memory_order_relaxed),
            .total = total_,
            .error = error_};
}

}  // namespace halcyon
