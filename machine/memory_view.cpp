#include "machine/memory_view.h"

#include <algorithm>
#include <limits>

namespace halcyon {

namespace {

uint64_t end_of(const MemoryBlock& block) {
    return block.start.value() + block.bytes.size();
}

/// The guest may be writing there, which in C++ would be a data race: so not by an access of C++.
void copy_from_guest(std::byte* to, std::span<const std::byte> from) {
    const std::byte* source = from.data();
    size_t count = from.size();
    asm volatile("rep movsb" : "+D"(to), "+S"(source), "+c"(count) : : "memory");
}

}  // namespace

MemoryView::MemoryView(std::vector<MemoryBlock> blocks) {
    std::ranges::sort(blocks, {}, &MemoryBlock::start);
    for (const MemoryBlock& block : blocks) {
        if (!blocks_.empty() && end_of(blocks_.back()) == block.start.value() &&
            blocks_.back().bytes.data() + blocks_.back().bytes.size() == block.bytes.data()) {
            MemoryBlock& last = blocks_.back();
            last.bytes = {last.bytes.data(), last.bytes.size() + block.bytes.size()};
        } else if (!block.bytes.empty()) {
            blocks_.push_back(block);
        }
    }
}

uint64_t MemoryView::size() const {
    uint64_t size = 0;
    for (const MemoryBlock& block : blocks_) {
        size += block.bytes.size();
    }
    return size;
}

MemoryView MemoryView::clipped(uint64_t begin, uint64_t length) const {
    const uint64_t end = begin + std::min(length, std::numeric_limits<uint64_t>::max() - begin);
    MemoryView view;
    for (const MemoryBlock& block : blocks_) {
        const uint64_t from = std::max(begin, block.start.value());
        const uint64_t to = std::min(end, end_of(block));
        if (from < to) {
            view.blocks_.push_back(
                {Gpa(from), block.bytes.subspan(from - block.start.value(), to - from)});
        }
    }
    return view;
}

bool MemoryView::read(uint64_t address, std::span<std::byte> out) const {
    std::ranges::fill(out, std::byte{0});
    const MemoryView found = clipped(address, out.size());
    for (const MemoryBlock& block : found.blocks_) {
        copy_from_guest(out.data() + (block.start.value() - address), block.bytes);
    }
    return found.size() == out.size();
}

}  // namespace halcyon
