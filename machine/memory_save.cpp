#include "machine/memory_save.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <utility>
#include <vector>

#include "machine/output_file.h"
#include "machine/page_walk.h"

namespace halcyon {

namespace {

constexpr uint64_t kPieceSize = 256_KiB;
constexpr uint64_t kEferLongModeActive = uint64_t{1} << 10;  // Intel SDM 3A 2.2.1
/// As fopen() makes files.
constexpr unsigned kFileMode = 0666;

/// Writes what `fetch(address, out)` gives, piece by piece; no piece crosses a multiple of
/// `piece_size`.
template <typename Fetch>
Result<void> save(uint64_t start, uint64_t size, uint64_t piece_size, const std::string& path,
                  const std::atomic<bool>& cancelled, Fetch fetch) {
    OutputFile file = TRY(OutputFile::create(path, kFileMode, cancelled));
    std::vector<std::byte> buffer(piece_size);
    while (size != 0) {
        const uint64_t length = std::min(size, piece_size - start % piece_size);
        const std::span<std::byte> piece(buffer.data(), length);
        TRY(fetch(start, piece));
        if (auto written = file.write(piece, cancelled); !written) {
            return std::move(written).error().with_context("An IO error has occurred");
        }
        start += length;
        size -= length;
    }
    return {};
}

}  // namespace

Result<void> save_physical(const MemoryView& memory, uint64_t start, uint64_t size,
                           const std::string& path, const std::atomic<bool>& cancelled) {
    return save(start, size, kPieceSize, path, cancelled,
                [&](uint64_t address, std::span<std::byte> out) -> Result<void> {
                    memory.read(address, out);
                    return {};
                });
}

Result<void> save_virtual(const MemoryView& memory, const VcpuRegisters& registers, uint64_t start,
                          uint64_t size, const std::string& path,
                          const std::atomic<bool>& cancelled) {
    const ReadPhysical read = [&](Gpa address, std::span<std::byte> out) -> Result<void> {
        if (memory.read(address.value(), out)) {
            return {};
        }
        return Error("no memory");
    };
    // A linear address has 32 bits outside of long mode; what does not fit is nowhere.
    const bool long_mode = (registers.efer & kEferLongModeActive) != 0;
    return save(start, size, kPageSize, path, cancelled,
                [&](uint64_t address, std::span<std::byte> out) -> Result<void> {
                    if ((long_mode || address <= 0xffff'ffff) &&
                        read_linear(registers, address, out, read)) {
                        return {};
                    }
                    char text[96];
                    std::snprintf(text, sizeof(text),
                                  "Invalid addr 0x%016" PRIx64 "/size %" PRIu64 " specified", start,
                                  size);
                    return Error(text, ErrorCode::kInvalidArgument);
                });
}

}  // namespace halcyon
